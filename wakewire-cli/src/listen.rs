//! `wakewire listen`: each message is a line of the output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};
use wakewire::{
    Delivery, MessageSource, Registry, ServiceConfig, SinkError, SinkFactory, SinkType, Start,
};

use crate::configuration::Configuration;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::said::{DONE, LOST, REFUSED, Said};
use crate::send::now;
use crate::talk::{self, grouped};

/// What `wakewire listen` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The service.
    name: String,
    #[command(flatten)]
    configuration: Configuration,
    /// The name by which a relay knows this consumer.
    #[arg(long = "as", value_name = "CONSUMER")]
    consumer: Option<String>,
    /// Where to begin with what this consumer has not heard of.
    #[arg(long, value_enum)]
    from: Option<From>,
    /// End after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time without a message, also before the first.
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    idle: Option<Duration>,
    /// The file to append to; else stdout. With a cursor it holds each message once, whatever is killed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to keep how far this consumer has come, to go on there when it is started again.
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Say what was received as JSON, on stderr.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    /// What nobody has taken yet.
    Owed,
    /// What comes from now on.
    Latest,
    /// The oldest message that the relay still has.
    Earliest,
}

/// Why listening ended.
enum End {
    /// As many as were wanted, none for long enough, or told to.
    Done,
    /// Nobody reads on.
    Unread,
    /// The output cannot be written.
    Unwritten(io::Error),
    /// The output is stuck, and somebody wants to end.
    Stuck,
    /// The source says no.
    Source(Box<SinkError>),
}

/// Receives until there is enough, and acknowledges what was written.
pub(crate) async fn run(arguments: Arguments) -> Said {
    match prepared(&arguments).await {
        Ok(listener) => listener.run(arguments.json).await,
        Err(said) => said,
    }
}

async fn prepared(arguments: &Arguments) -> Result<Listener, Said> {
    let registry = arguments.configuration.clone().load()?;
    let config = registry.lookup(&arguments.name).cloned();
    let mut config = config.map_err(|error| Said::error(&error))?;
    if let Some(cursor) = &arguments.cursor {
        let cursor = std::path::absolute(cursor);
        config.cursor = Some(cursor.map_err(|error| unwritable(&arguments.cursor, &error))?);
    }
    let factory = SinkFactory::from_registry(Only(config.clone()));
    let source = factory.create_source(&arguments.name).await;
    let mut source = source.map_err(|error| Said::error(&error))?;
    if matches!(config.kind, SinkType::Direct)
        && (arguments.consumer.is_some() || arguments.from.is_some())
    {
        talk::say("`--as` and `--from` are for relays; this service is direct");
    }
    if let Some(consumer) = &arguments.consumer {
        source = source.named(consumer);
    }
    source = match arguments.from {
        None | Some(From::Owed) => source,
        Some(From::Latest) => source.starting(Start::Latest),
        Some(From::Earliest) => source.starting(Start::Earliest),
    };
    let output = open(arguments.output.as_deref());
    let output = output.map_err(|error| unwritable(&arguments.output, &error))?;
    let journal = match source.cursor() {
        Some(cursor) if arguments.output.is_some() => {
            let resumed = Journal::resume(&output, cursor.mark());
            resumed.map_err(|error| unwritable(&arguments.output, &error))?
        }
        _ => None,
    };
    Ok(Listener {
        service: arguments.name.clone(),
        source,
        // What is counted as missed was lost, unless it may be by choice.
        may_miss: config.delivery == Delivery::AtMostOnce
            || matches!(arguments.from, Some(From::Latest)),
        count: arguments.count,
        idle: arguments.idle,
        output: Some(output),
        journal,
        interrupt: Interrupt::new()?,
        start: now(),
        _factory: factory,
    })
}

struct Listener {
    service: String,
    source: MessageSource,
    may_miss: bool,
    count: Option<u64>,
    idle: Option<Duration>,
    /// Away while it is written to.
    output: Option<File>,
    /// What the cursor is told of the output; none without a cursor, or where nothing can be cut off.
    journal: Option<Journal>,
    interrupt: Interrupt,
    start: Instant,
    _factory: SinkFactory,
}

impl Listener {
    async fn run(mut self, json: bool) -> Said {
        let end = self.receive().await;
        let mut said = match end {
            End::Done => {
                if !self.source.close(CLOSE_WITHIN).await {
                    talk::say("what came last could not be acknowledged, and will come again");
                }
                Said::default()
            }
            // What was not written is not acknowledged: the source is dropped without a goodbye.
            End::Unread => Said::default(),
            End::Unwritten(error) => Said::fault(
                format!("cannot write: {error}"),
                Some("what was not written is not acknowledged, and will come again"),
                LOST,
            ),
            End::Stuck => Said::fault(
                "the output takes nothing",
                Some("what was not written is not acknowledged, and will come again"),
                LOST,
            ),
            End::Source(error) => Said::error(&error),
        };
        let stats = self.source.stats();
        if stats.missed > 0 && !self.may_miss && said.code == DONE {
            said.code = LOST;
        }
        let seconds = (now() - self.start).as_secs_f64();
        if json {
            let value = json!({
                "service": self.service,
                "received": stats.received,
                "missed": stats.missed,
                "connects": stats.connects,
                "seconds": seconds,
            });
            return said.also(value);
        }
        let missed = match stats.missed {
            0 => String::new(),
            missed => format!(", missed {}", grouped(missed)),
        };
        said.also(format!(
            "`{}`: received {}{missed}; connects {}, {seconds:.2} s",
            self.service,
            grouped(stats.received),
            stats.connects,
        ))
    }

    /// Writes what comes. Asking for the next batch acknowledges the one before, so that is written by then.
    async fn receive(&mut self) -> End {
        let mut text = Vec::new();
        let mut left = self.count;
        if let Err(error) = self.mark(&text) {
            return End::Source(Box::new(error));
        }
        loop {
            let most = left.map_or(usize::MAX, |left| {
                usize::try_from(left).unwrap_or(usize::MAX)
            });
            let received = tokio::select! {
                batch = self.source.recv_batch_up_to(most) => match batch {
                    Ok(Some(batch)) => {
                        for message in &batch {
                            text.extend_from_slice(message.payload());
                            text.push(b'\n');
                        }
                        batch.len() as u64
                    }
                    Ok(None) => return End::Done,
                    Err(error) => return End::Source(Box::new(error)),
                },
                () = passed(self.idle) => return End::Done,
                () = self.interrupt.came() => return End::Done,
            };
            // The library has warned of them, and counts them.
            drop(self.source.take_missed());
            let (returned, interrupted) = match self.write(text).await {
                Ok(written) => written,
                Err(end) => return end,
            };
            text = returned;
            if let Err(error) = self.mark(&text) {
                return End::Source(Box::new(error));
            }
            text.clear();
            left = left.map(|left| left.saturating_sub(received));
            if interrupted || left == Some(0) {
                return End::Done;
            }
        }
    }

    /// Has the cursor told of what was written, when the batch is confirmed: by asking for the next one, or by closing.
    fn mark(&mut self, written: &[u8]) -> Result<(), SinkError> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.add(written);
        self.source.set_mark(&journal.mark())
    }

    /// Writes a batch; returns it, and whether to end. Writing may block for as long as
    /// nobody reads, and must not keep anybody from ending this.
    async fn write(&mut self, text: Vec<u8>) -> Result<(Vec<u8>, bool), End> {
        let Some(mut output) = self.output.take() else {
            return Err(End::Stuck);
        };
        let mut writing = spawn_blocking(move || {
            let written = output.write_all(&text);
            (output, text, written)
        });
        let (done, interrupted) = tokio::select! {
            done = &mut writing => (done, false),
            () = self.interrupt.came() => match timeout(CLOSE_WITHIN, writing).await {
                Ok(done) => (done, true),
                Err(_) => return Err(End::Stuck),
            },
        };
        let (output, text, written) =
            done.map_err(|error| End::Unwritten(io::Error::other(error)))?;
        self.output = Some(output);
        match written {
            Ok(()) => Ok((text, interrupted)),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::Unread),
            Err(error) => Err(End::Unwritten(error)),
        }
    }
}

/// Opens where messages are written. A file is appended to: what was acknowledged once is never overwritten.
fn open(path: Option<&Path>) -> io::Result<File> {
    match path {
        // Not through the buffer and the lock of the standard library: what is written is written.
        None => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        // It is read to find out whether it is the one that the cursor belongs to.
        Some(path) => match options().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options().open(path),
            opened => opened,
        },
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options
}

fn unwritable(path: &Option<PathBuf>, error: &io::Error) -> Said {
    let shown = path
        .as_deref()
        .unwrap_or_else(|| "stdout".as_ref())
        .display();
    Said::fault(format!("cannot write `{shown}`: {error}"), None, REFUSED)
}

/// A registry of one service.
#[derive(Debug)]
struct Only(ServiceConfig);

impl Registry for Only {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// Waits for so long, or for ever.
async fn passed(time: Option<Duration>) {
    match time {
        Some(time) => sleep_until((now() + time).into()).await,
        None => std::future::pending().await,
    }
}

/// How long it takes at most to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
