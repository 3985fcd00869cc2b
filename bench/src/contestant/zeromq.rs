//! `zeromq`: PUSH to PULL as libzmq makes them, blocking, one I/O thread each, its own limits of 1000 messages; there and
//! back between two PAIRs.

use std::time::Instant;

use anyhow::{Context as _, Result};
use zmq::{Context, PAIR, PULL, PUSH, Socket};

use super::round_trip::Trips;
use super::{Contestant, Course, Work};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Slate};

pub const ENTRIES: &[&dyn Contestant] = &[&ZeroMq, &RoundTrip];

struct ZeroMq;

impl Contestant for ZeroMq {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn about(&self) -> &'static str {
        "libzmq, PUSH to PULL"
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let context = Context::new();
        let socket = context.socket(PULL)?;
        let address = bind(&socket, &course.address)?;
        stage.announce(&address)?;
        // The first message says where the confirmation is to go.
        let back = socket.recv_string(0)?.ok().context("no address")?;
        let confirm = context.socket(PUSH)?;
        confirm.connect(&back)?;

        let mut checker = Checker::new(course);
        let mut message = zmq::Message::new();
        while !checker.is_done() {
            socket.recv(&mut message, 0)?;
            checker.check(&message)?;
        }
        confirm.send(checker.seen().to_le_bytes().as_slice(), 0)?;
        stage.dismissal().blocking_recv()?;
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let context = Context::new();
        let confirmation = context.socket(PULL)?;
        let back = bind(&confirmation, &course.address.beside())?;
        let socket = context.socket(PUSH)?;
        socket.connect(&url(&course.address)?)?;
        socket.send(url(&back)?.as_str(), 0)?;
        let mut slate = Slate::new(course);

        let stopwatch = Stopwatch::start();
        for sequence in 0..course.count {
            slate.payloads().wait(sequence);
            socket.send(slate.write(sequence), 0)?;
        }
        let confirmed = confirmation.recv_bytes(0)?;
        let confirmed = u64::from_le_bytes(*confirmed.first_chunk().context("too short")?);
        Ok(stopwatch.stop(confirmed))
    }
}

fn url(address: &Address) -> Result<String> {
    address.behind("ipc://", "tcp://")
}

struct RoundTrip;

impl Contestant for RoundTrip {
    fn name(&self) -> &'static str {
        "zeromq-rt"
    }

    fn about(&self) -> &'static str {
        "libzmq, PAIR to PAIR"
    }

    fn work(&self) -> Work {
        Work::RoundTrip
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let context = Context::new();
        let socket = context.socket(PAIR)?;
        stage.announce(&bind(&socket, &course.address)?)?;
        let mut checker = Checker::new(course);
        let mut message = zmq::Message::new();
        while !checker.is_done() {
            socket.recv(&mut message, 0)?;
            checker.check(&message)?;
            socket.send(&*message, 0)?;
        }
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let context = Context::new();
        let socket = context.socket(PAIR)?;
        socket.connect(&url(&course.address)?)?;
        let mut slate = Slate::new(course);
        let mut answer = zmq::Message::new();
        let mut trips = Trips::begin()?;
        for sequence in 0..course.count {
            let message = slate.write(sequence);
            let begun = Instant::now();
            socket.send(message, 0)?;
            socket.recv(&mut answer, 0)?;
            trips.note(begun);
        }
        Ok(trips.end())
    }
}

/// Binds, and returns where, with the port that the system chose.
fn bind(socket: &Socket, address: &Address) -> Result<Address> {
    let address = address.with_port()?;
    socket.bind(&url(&address)?)?;
    Ok(address)
}
