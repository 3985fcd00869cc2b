//! What a sender's task does to send one message over a connection that stands, up to where `send` is ready.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::runtime::Builder;
use wakewire::{
    DirectSink, LazyConfig, LazyMessageSink, Message, MessageSink, Sending, SinkFactory,
    SinkMetadata, TrySendError,
};

use crate::region::counted;

/// A sink made by itself, by its own type.
pub(crate) fn direct(size: usize) -> Result<u64> {
    over_a_socket(size, async |path| Ok(DirectSink::unix(path)?))
}

/// The sink that a factory has for a name.
pub(crate) fn by_name(size: usize) -> Result<u64> {
    over_a_socket(size, async |path| {
        Ok(factory(path)?.create_sink(SERVICE).await?)
    })
}

/// A lazy sink over one made by itself.
pub(crate) fn lazy(size: usize) -> Result<u64> {
    over_a_socket(size, async |path| {
        let path = path.to_owned();
        let open = move || std::future::ready(DirectSink::unix(&path));
        Ok(LazyMessageSink::new(open, LazyConfig::default()))
    })
}

/// A sink that does nothing with a message: what remains is making and dropping it.
pub(crate) fn taking(size: usize) -> Result<u64> {
    in_the_process(size, Taking)
}

/// A lazy sink over one that does nothing.
pub(crate) fn lazy_taking(size: usize) -> Result<u64> {
    let open = || std::future::ready(Ok(Taking));
    in_the_process(size, LazyMessageSink::new(open, LazyConfig::default()))
}

/// Takes everything at once.
#[derive(Debug)]
struct Taking;

impl MessageSink for Taking {
    fn send(&self, _: Message) -> Sending<'_> {
        Sending::ready(Ok(()))
    }

    fn try_send(&self, _: Message) -> Result<(), TrySendError> {
        Ok(())
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("taking", "none")
    }
}

fn over_a_socket<S: MessageSink>(
    size: usize,
    make: impl AsyncFnOnce(&str) -> Result<S>,
) -> Result<u64> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("direct.sock");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let path = path.to_str().unwrap_or_default();
        let mut source = factory(path)?.create_source(SERVICE).await?;
        let draining = tokio::spawn(async move {
            while let Ok(Some(batch)) = source.recv_batch().await {
                drop(batch);
            }
        });
        let sink = make(path).await?;
        let messages = rounds(&sink, size).await;
        draining.abort();
        messages
    })
}

fn in_the_process(size: usize, sink: impl MessageSink) -> Result<u64> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(rounds(&sink, size))
}

/// Sends a round, waits until everything is delivered, and so on; nobody else runs during a round.
async fn rounds<S: MessageSink>(sink: &S, size: usize) -> Result<u64> {
    sink.connect().await?;
    let message = Message::new(vec![7; size]);
    let mut messages = 0;
    for round in 0..WARM_UP + ROUNDS {
        let mut batch = vec![message.clone(); ROUND];
        // The first one wakes the task of the connection, which then finds the others by itself.
        sink.send(message.clone()).await?;
        let taken = if round < WARM_UP {
            send_all(sink, &mut batch)
        } else {
            counted(|| send_all(sink, &mut batch))
        };
        ensure!(taken == ROUND, "only {taken} were taken at once");
        if round >= WARM_UP {
            messages += taken as u64;
        }
        let report = sink.flush(PATIENCE).await?;
        ensure!(report.is_complete(), "not all was delivered: {report:?}");
    }
    Ok(messages)
}

#[inline(never)]
fn send_all<S: MessageSink>(sink: &S, batch: &mut Vec<Message>) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    batch
        .drain(..)
        .take_while(|message| {
            let sending = pin!(sink.send(message.clone()));
            matches!(sending.poll(&mut context), Poll::Ready(Ok(())))
        })
        .count()
}

fn factory(path: impl AsRef<Path>) -> Result<SinkFactory> {
    let path = path.as_ref().display();
    let text = format!(
        "[services.{SERVICE}]\ntype = 'direct'\nendpoint = 'unix://{path}'\nmax_retries = 20"
    );
    Ok(SinkFactory::from_config_str(&text)?)
}

const SERVICE: &str = "x";

/// Until memory and buffers have the size that they keep.
const WARM_UP: usize = 5;

const ROUNDS: usize = 40;

/// Messages in one round, which a buffer holds.
const ROUND: usize = 500;

const PATIENCE: Duration = Duration::from_secs(60);
