//! `raw-batch`: the limit. A blocking socket, as many frames in one write as fit in 128 KiB, no messages at
//! all: the sender stamps sequences into a buffer that is already full, the receiver walks the headers.

use std::io::{Read, Write};

use anyhow::{Result, ensure};

use super::{Contestant, Course};
use crate::address::Transport;
use crate::child::Stage;
use crate::frame::{self, HEADER};
use crate::measure::{Sent, Stopwatch};
use crate::payload::Checker;
use crate::socket::{Connection, Listener};

pub const NAME: &str = "raw-batch";

pub const ENTRIES: &[&dyn Contestant] = &[&RawBatch];

/// Bytes of one write, and half of what one read may take.
const BATCH: usize = 128 * 1024;

struct RawBatch;

impl Contestant for RawBatch {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a blocking socket, 128 KiB of frames in one write: the limit"
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn carries(&self, _transport: Transport) -> bool {
        true
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        receive(course, stage)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let mut socket = Connection::open(&course.address)?.blocking();
        let frame = HEADER + course.size;
        let mut batch = vec![b'.'; (BATCH / frame).max(1) * frame];

        let stopwatch = Stopwatch::start();
        let mut sequences = 0..course.count;
        while !sequences.is_empty() {
            let mut stamped = 0;
            for (frame, sequence) in batch.chunks_exact_mut(frame).zip(&mut sequences) {
                frame::stamp(frame, sequence, 0);
                stamped += frame.len();
            }
            socket.write_all(&batch[..stamped])?;
        }
        let mut confirmed = [0; 8];
        socket.read_exact(&mut confirmed)?;
        Ok(stopwatch.stop(u64::from_le_bytes(confirmed)))
    }
}

/// Receives frames that are written in any pieces; confirms with the count.
pub fn receive(course: &Course, stage: Stage) -> Result<Checker> {
    let listener = Listener::bind(&course.address)?;
    stage.announce(&listener.address()?)?;
    let mut socket = listener.accept()?.blocking();

    let mut checker = Checker::new(course);
    let mut buffer = vec![0; 2 * BATCH.max(HEADER + course.size)];
    let mut filled = 0;
    while !checker.is_done() {
        let read = socket.read(&mut buffer[filled..])?;
        ensure!(read > 0, "the sender left after {}", checker.seen());
        filled += read;
        let mut rest = &buffer[..filled];
        while let Some((payload, after)) = frame::split_first(rest) {
            checker.check(payload)?;
            rest = after;
        }
        let walked = filled - rest.len();
        buffer.copy_within(walked..filled, 0);
        filled -= walked;
    }
    socket.write_all(&checker.seen().to_le_bytes())?;
    stage.dismissal().blocking_recv()?;
    Ok(checker)
}
