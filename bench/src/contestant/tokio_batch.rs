//! `tokio-batch`: what a careful hand writes. A channel, a writer task that takes all there is, one flush for
//! it; buffers large enough for that to matter.

use anyhow::Result;
use bytes::Bytes;
use futures_util::SinkExt;
use tokio_util::codec::{FramedWrite, LengthDelimitedCodec};

use super::{Contestant, Course, framed};
use crate::child::Stage;
use crate::measure::Sent;
use crate::payload::Checker;
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[
    &TokioBatch {
        name: "tokio-batch-current",
        about: "mpsc, recv_many and one flush per batch, everything on one thread",
        flavor: Flavor::CurrentThread,
    },
    &TokioBatch {
        name: "tokio-batch-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
    },
];

/// Messages taken from the channel at once.
const BATCH: usize = 1024;
/// Bytes that are encoded before they are written, and that one read may take.
const BUFFER: usize = 64 * 1024;

struct TokioBatch {
    name: &'static str,
    about: &'static str,
    flavor: Flavor,
}

impl Contestant for TokioBatch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        framed::receive(self.flavor, BUFFER, course, stage)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        framed::send(self.flavor, course, |socket, mut queue| async move {
            let mut frames = FramedWrite::new(socket, LengthDelimitedCodec::new());
            frames.set_backpressure_boundary(BUFFER);
            let mut batch = Vec::with_capacity(BATCH);
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                for message in batch.drain(..) {
                    frames.feed(message).await?;
                }
                SinkExt::<Bytes>::flush(&mut frames).await?;
            }
            Ok(frames.into_inner())
        })
    }
}
