//! A receiver, which writes down what it was handed before it asks for more.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{CLOSE_WITHIN, Done, factory, told_to_end};
use crate::payload;
use crate::record::Record;
use crate::said::put;
use crate::stage::SERVICE;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The name by which a relay knows it; none for a listener.
    #[arg(long)]
    name: Option<String>,
    /// Where to write down what comes.
    #[arg(long)]
    log: PathBuf,
    /// Do one thing wrong, to see that it is found.
    #[arg(long)]
    plant: Option<Planted>,
}

/// What is done wrong, as if the library had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Planted {
    /// A message does not come.
    Lost,
    /// A message comes twice.
    Twice,
    /// Two messages change places.
    Swapped,
    /// A bit is another.
    Damaged,
}

pub(super) async fn run(services: &Path, arguments: Arguments) -> Done {
    let factory = factory(services)?;
    let mut source = factory.create_source(SERVICE).await?;
    if let Some(name) = arguments.name {
        source = source.named(name);
    }
    let mut log = File::options().append(true).open(&arguments.log)?;
    let mut book = Book {
        plant: arguments.plant,
        ..Book::default()
    };
    let ended = told_to_end();
    tokio::pin!(ended);
    let mut missed = 0;
    loop {
        tokio::select! {
            batch = source.recv_batch() => match batch? {
                Some(batch) => batch.iter().for_each(|message| book.take(message.payload())),
                None => break,
            },
            () = &mut ended => break,
        }
        let counted = source.stats().missed;
        log.write_all(book.text(counted - missed))?;
        missed = counted;
    }
    source.close(CLOSE_WITHIN).await;
    Ok(())
}

/// What is to be written down of a batch.
#[derive(Debug, Default)]
struct Book {
    /// What came in this order; none for what is damaged.
    came: Vec<Option<(u64, u64)>>,
    text: Vec<u8>,
    received: u64,
    plant: Option<Planted>,
}

impl Book {
    fn take(&mut self, payload: &[u8]) {
        let checked = payload::checked(payload);
        if checked.is_none() {
            // To see what it is made of.
            put(&format!("damaged: {payload:?}\n"));
        }
        self.came.push(checked);
    }

    /// Returns the records of what came since the last call.
    fn text(&mut self, missed: u64) -> &[u8] {
        self.received += self.came.len() as u64;
        if let Some(planted) = self.plant
            && self.received > PLANT_AT
            && self.came.len() > 2
        {
            plant(planted, &mut self.came);
            self.plant = None;
        }
        self.text.clear();
        if missed > 0 {
            let record = Record::Missed { count: missed };
            self.text.extend_from_slice(&record.encode());
        }
        let same = |a: &Option<(u64, u64)>, b: &Option<(u64, u64)>| match (a, b) {
            (Some((origin, number)), Some((next, n))) => origin == next && number + 1 == *n,
            (None, None) => true,
            _ => false,
        };
        for piece in self.came.chunk_by(same) {
            let record = match (piece.first(), piece.last()) {
                (Some(Some((origin, first))), Some(Some((_, last)))) => Record::Run {
                    origin: *origin,
                    first: *first,
                    last: *last,
                },
                _ => Record::Damaged {
                    count: piece.len() as u64,
                },
            };
            self.text.extend_from_slice(&record.encode());
        }
        self.came.clear();
        &self.text
    }
}

fn plant(planted: Planted, came: &mut Vec<Option<(u64, u64)>>) {
    match planted {
        Planted::Lost => drop(came.remove(1)),
        Planted::Twice => came.insert(1, came.first().copied().flatten()),
        Planted::Swapped => came.swap(0, 1),
        Planted::Damaged => came.insert(1, None),
    }
}

/// Well into the load.
const PLANT_AT: u64 = 5000;
