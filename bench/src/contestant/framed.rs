//! What the tokio contestants share: the receiving half, and the producer that fills the channel.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::Course;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;
use crate::socket::{AsyncDuplex, Connection, Listener};

/// Messages that the channel between application and writer holds.
const CHANNEL: usize = 1024;

/// Receives the run through a [`FramedRead`] with a read buffer of this size; confirms with the count.
pub fn receive(flavor: Flavor, buffer: usize, course: &Course, stage: Stage) -> Result<Checker> {
    let listener = Listener::bind(&course.address)?;
    stage.announce(&listener.address()?)?;
    let connection = listener.accept()?;
    let dismissal = stage.dismissal();
    let mut checker = Checker::new(course);
    flavor.run(async move {
        let socket = connection.under_tokio()?;
        let mut frames = FramedRead::with_capacity(socket, LengthDelimitedCodec::new(), buffer);
        while !checker.is_done() {
            let payload = frames.next().await.context("the sender left")??;
            checker.check(&payload)?;
        }
        let mut socket = frames.into_inner();
        socket.write_u64_le(checker.seen()).await?;
        socket.flush().await?;
        dismissal.await?;
        Ok(checker)
    })
}

/// Sends the run through a channel to this writer task, which gives the socket back once it has written
/// everything; then waits for the count.
pub fn send<W, F>(flavor: Flavor, course: &Course, writer: W) -> Result<Sent>
where
    W: FnOnce(Box<dyn AsyncDuplex>, mpsc::Receiver<Bytes>) -> F + Send + 'static,
    F: Future<Output = Result<Box<dyn AsyncDuplex>>> + Send + 'static,
{
    let connection = Connection::open(&course.address)?;
    let mut payloads = Payloads::new(course);
    let count = course.count;
    flavor.run(async move {
        let (messages, queue) = mpsc::channel(CHANNEL);
        let writer = tokio::spawn(writer(connection.under_tokio()?, queue));

        let stopwatch = Stopwatch::start();
        for sequence in 0..count {
            payloads.yielding(sequence).await;
            if messages.send(payloads.make(sequence)).await.is_err() {
                break; // the writer failed and says why
            }
        }
        drop(messages);
        let mut socket = writer.await??;
        let confirmed = socket.read_u64_le().await?;
        Ok(stopwatch.stop(confirmed))
    })
}
