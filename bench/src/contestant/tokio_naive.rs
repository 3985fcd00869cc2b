//! `tokio-naive`: what one writes first. A channel, a writer task, one flush per message.

use anyhow::Result;
use futures_util::SinkExt;
use tokio_util::codec::{FramedWrite, LengthDelimitedCodec};

use super::{Contestant, Course, framed};
use crate::child::Stage;
use crate::measure::Sent;
use crate::payload::Checker;
use crate::runtime::Flavor;

pub const NAME: &str = "tokio-naive";

pub const ENTRIES: &[&dyn Contestant] = &[&TokioNaive];

/// What tokio-util gives to a `FramedRead` when nothing is said.
const READ_BUFFER: usize = 8 * 1024;

struct TokioNaive;

impl Contestant for TokioNaive {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "mpsc and LengthDelimitedCodec on two workers, a flush after each message"
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        framed::receive(Flavor::MultiThread, READ_BUFFER, course, stage)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        framed::send(
            Flavor::MultiThread,
            course,
            |socket, mut queue| async move {
                let mut frames = FramedWrite::new(socket, LengthDelimitedCodec::new());
                while let Some(message) = queue.recv().await {
                    frames.send(message).await?;
                }
                Ok(frames.into_inner())
            },
        )
    }
}
