//! `raw-each`: a blocking socket and a write for each frame; with large frames the limit, and the fastest way for one.

use std::io::Read;

use anyhow::Result;

use super::{Contestant, Course, raw};
use crate::address::Transport;
use crate::child::Stage;
use crate::frame::{self, HEADER};
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::socket::Connection;

pub const NAME: &str = "raw-each";

pub const ENTRIES: &[&dyn Contestant] = &[&RawEach];

struct RawEach;

impl Contestant for RawEach {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a blocking socket, a write for each frame"
    }

    fn carries(&self, _transport: Transport) -> bool {
        true
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        raw::receive(course, stage)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let mut socket = Connection::open(&course.address)?.blocking();
        let mut frame = vec![b'.'; HEADER + course.size];
        let payloads = Payloads::new(course);

        let stopwatch = Stopwatch::start();
        for sequence in 0..course.count {
            payloads.wait(sequence);
            frame::stamp(&mut frame, sequence, payloads.due(sequence));
            socket.write_all(&frame)?;
        }
        let mut confirmed = [0; 8];
        socket.read_exact(&mut confirmed)?;
        Ok(stopwatch.stop(u64::from_le_bytes(confirmed)))
    }
}
