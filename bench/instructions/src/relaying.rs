//! What a relay does with one message, from one socket into others, acknowledgements and all.

use anyhow::{Result, bail};
use tokio::runtime::Builder;
use wakewire::SinkFactory;

use crate::peer::Peer;
use crate::region::{apart, counted};

pub(crate) fn to_one(size: usize) -> Result<u64> {
    relay(size, 1)
}

/// Per delivery.
pub(crate) fn to_eight(size: usize) -> Result<u64> {
    relay(size, 8)
}

fn relay(size: usize, consumers: u8) -> Result<u64> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("relay.sock");
    let text = format!(
        "[services.x]\ntype = 'relay'\nendpoint = 'unix://{}'",
        path.display()
    );
    let factory = SinkFactory::from_config_str(&text)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut producer, mut consumers) = runtime.block_on(async {
        let mut relay = factory.create_relay("x").await?;
        tokio::spawn(async move { relay.run().await });
        let producer = Peer::producer(&path).await?;
        let mut all = Vec::new();
        for number in 0..consumers {
            let mut consumer = Peer::consumer(&path, number).await?;
            consumer.gap().await?;
            all.push(consumer);
        }
        anyhow::Ok((producer, all))
    })?;
    let mut deliveries = 0;
    for round in 0..WARM_UP + ROUNDS {
        let count = producer.send(size)?;
        let received = async {
            for consumer in &mut consumers {
                consumer.receive(size).await?;
                // The relay meets it in the next round.
                consumer.acknowledge(ORIGIN)?;
            }
            anyhow::Ok(())
        };
        if round < WARM_UP {
            runtime.block_on(received)?;
        } else {
            counted(|| runtime.block_on(apart(received)))?;
            deliveries += count * consumers.len() as u64;
        }
        producer.forget_acks()?;
    }
    if deliveries == 0 {
        bail!("nothing came");
    }
    Ok(deliveries)
}

/// The number that a relay gives to its first producer.
const ORIGIN: u32 = 1;

/// Until memory and buffers have the size that they keep.
const WARM_UP: usize = 20;

const ROUNDS: usize = 100;
