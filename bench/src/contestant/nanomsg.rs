//! `nng`: PUSH to PULL as libnng makes them, blocking.

use anyhow::{Context as _, Result, anyhow};
use nng::{Protocol, Socket};

use super::{Contestant, Course};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Slate};

pub const ENTRIES: &[&dyn Contestant] = &[&Nng];

struct Nng;

impl Contestant for Nng {
    fn name(&self) -> &'static str {
        "nng"
    }

    fn about(&self) -> &'static str {
        "libnng, PUSH to PULL"
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let socket = Socket::new(Protocol::Pull0)?;
        let address = course.address.with_port()?;
        socket.listen(&url(&address)?)?;
        stage.announce(&address)?;
        // The first message says where the confirmation is to go.
        let back = socket.recv()?;
        let confirm = Socket::new(Protocol::Push0)?;
        confirm.dial(std::str::from_utf8(&back)?)?;

        let mut checker = Checker::new(course);
        while !checker.is_done() {
            checker.check(&socket.recv()?)?;
        }
        send(&confirm, &checker.seen().to_le_bytes())?;
        stage.dismissal().blocking_recv()?;
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let confirmation = Socket::new(Protocol::Pull0)?;
        let back = course.address.beside().with_port()?;
        confirmation.listen(&url(&back)?)?;
        let socket = Socket::new(Protocol::Push0)?;
        socket.dial(&url(&course.address)?)?;
        send(&socket, url(&back)?.as_bytes())?;
        let mut slate = Slate::new(course);

        let stopwatch = Stopwatch::start();
        for sequence in 0..course.count {
            slate.payloads().wait(sequence);
            send(&socket, slate.write(sequence))?;
        }
        let confirmed = confirmation.recv()?;
        let confirmed = u64::from_le_bytes(*confirmed.first_chunk().context("too short")?);
        Ok(stopwatch.stop(confirmed))
    }
}

fn send(socket: &Socket, bytes: &[u8]) -> Result<()> {
    socket.send(bytes).map_err(|(_, error)| anyhow!(error))
}

fn url(address: &Address) -> Result<String> {
    address.behind("ipc://", "tcp://")
}
