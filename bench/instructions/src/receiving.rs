//! What a receiver does with one message, from the read of the socket on.

use std::hint::black_box;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use wakewire::{MessageSource, SinkFactory};

use crate::peer::Peer;
use crate::region::counted;

/// Looking at the messages of a batch where they lie: type, number, time, priority, payload.
pub(crate) fn decode(size: usize) -> Result<u64> {
    receive(size, |runtime, source, expected, counts| {
        let mut left = expected;
        while left > 0 {
            let batch = runtime.block_on(source.recv_batch())?.context("closed")?;
            let look = || {
                for view in &batch {
                    black_box((view.message_type(), view.sequence()));
                    black_box((view.timestamp(), view.priority(), view.payload()));
                }
            };
            if counts {
                counted(look);
            } else {
                look();
            }
            left = left.saturating_sub(batch.len() as u64);
        }
        Ok(())
    })
}

/// `recv_batch`, and a look at each payload.
pub(crate) fn views(size: usize) -> Result<u64> {
    receive(size, |runtime, source, expected, counts| {
        let mut take = || {
            runtime.block_on(async {
                let mut left = expected;
                while left > 0 {
                    let batch = source.recv_batch().await?.context("closed")?;
                    for view in &batch {
                        black_box(view.payload());
                    }
                    left = left.saturating_sub(batch.len() as u64);
                }
                Ok(())
            })
        };
        if counts { counted(take) } else { take() }
    })
}

/// `recv`, and the end of each message.
pub(crate) fn owned(size: usize) -> Result<u64> {
    receive(size, |runtime, source, expected, counts| {
        let mut take = || {
            runtime.block_on(async {
                for _ in 0..expected {
                    black_box(source.recv().await?.context("closed")?);
                }
                Ok(())
            })
        };
        if counts { counted(take) } else { take() }
    })
}

/// Has chunk after chunk received; each lies in the socket before.
fn receive(
    size: usize,
    mut take: impl FnMut(&Runtime, &mut MessageSource, u64, bool) -> Result<()>,
) -> Result<u64> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("direct.sock");
    let text = format!(
        "[services.x]\ntype = 'direct'\nendpoint = 'unix://{}'",
        path.display()
    );
    let factory = SinkFactory::from_config_str(&text)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut source = runtime.block_on(factory.create_source("x"))?;
    let mut peer = runtime.block_on(async {
        tokio::select! {
            peer = Peer::producer(&path) => peer,
            _ = source.recv() => anyhow::bail!("nothing was sent yet"),
        }
    })?;
    let mut messages = 0;
    for round in 0..WARM_UP + ROUNDS {
        let counts = round >= WARM_UP;
        let expected = peer.send(size)?;
        take(&runtime, &mut source, expected, counts)?;
        if counts {
            messages += expected;
        }
        peer.forget_acks()?;
    }
    Ok(messages)
}

/// Until memory and buffers have the size that they keep.
const WARM_UP: usize = 20;

const ROUNDS: usize = 100;
