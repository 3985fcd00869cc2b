//! Bytes that are flipped, doubled or trade places on the way: the connection ends and heals, and no message is damaged.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wakewire::testing::{Checker, Faults, Network, Plan, Proxy, Sequence, assert_ledger};
use wakewire::{MessageSink, MessageSource, SinkError, SinkFactory};

use super::session::{Session, Through, Wire};
use crate::support::cases;

/// One sink, and what it has sent.
struct Sender {
    factory: SinkFactory,
    sink: Arc<dyn MessageSink>,
    sequence: Sequence,
}

/// In memory and in paused time: to wait in vain costs nothing, but must end.
struct Damaged {
    senders: Vec<Sender>,
    source: MessageSource,
    checker: Checker,
    proxy: Proxy,
    /// Connections that one strike damages: those of the senders and the consumer's.
    connections: u64,
    slowest: Duration,
    struck: u64,
}

impl Damaged {
    async fn start(kind: &str, senders: u64) -> Self {
        let network = Network::new();
        let text = format!(
            "[services.x]\nendpoint = 'unix:///x'\ntype = '{kind}'\n\
             lazy = {{ retry_delay_ms = 1, max_retry_delay_secs = 0.001, jitter = 0.0 }}"
        );
        let receiver = network.factory(&text).unwrap();
        let mut source = receiver.create_source("x").await.unwrap();
        let mut connections = senders;
        if kind == "relay" {
            let mut relay = receiver.create_relay("x").await.unwrap();
            relay.bind().await.unwrap();
            tokio::spawn(async move { relay.run().await.unwrap() });
            source = source.named("c");
            connections += 1;
        }
        let mut all = Vec::new();
        for number in 0..senders {
            let factory = network.factory(&text).unwrap();
            all.push(Sender {
                sink: factory.create_sink("x").await.unwrap(),
                factory,
                sequence: Sequence::of_sender(number),
            });
        }
        Self {
            senders: all,
            source,
            checker: Checker::new(),
            proxy: network.proxy("x").unwrap(),
            connections,
            slowest: Duration::ZERO,
            struck: 0,
        }
    }

    /// Sends over connections of which the first are damaged; everything arrives all the same.
    async fn strike(&mut self, up: Faults, down: Faults) {
        let damaged = self.proxy.connections() + self.connections;
        let plan = Plan::carry(up, down);
        let say = format!("{plan:?}");
        self.proxy.by(move |number| match number < damaged {
            true => plan.clone(),
            false => Plan::pass(),
        });
        self.proxy.sever();
        let since = Instant::now();
        for _ in 0..MESSAGES {
            for sender in &mut self.senders {
                sender.sink.send(sender.sequence.message(20)).await.unwrap();
            }
        }
        let healed = timeout(HEALED_WITHIN, self.arrived()).await;
        assert_eq!(healed, Ok(()), "{say}");
        self.slowest = self.slowest.max(since.elapsed());
        self.struck += 1;
    }

    async fn arrived(&mut self) {
        let is_there = |checker: &Checker, (number, sender): (u64, &Sender)| {
            checker.received(number) == sender.sequence.made()
        };
        while !(0..)
            .zip(&self.senders)
            .all(|sender| is_there(&self.checker, sender))
        {
            match self.source.recv().await {
                Ok(message) => drop(self.checker.receive(&message.expect("not closed"))),
                // What is damaged may look as if another protocol were spoken there: asked again, it tries again.
                Err(error) => assert!(matches!(error, SinkError::Protocol(_)), "{error}"),
            }
        }
        for sender in &self.senders {
            tokio::select! {
                biased;
                message = self.source.recv() => panic!("again: {message:?}"),
                report = sender.factory.flush(HEALED_WITHIN) => assert!(report.is_complete(), "{report:?}"),
            }
        }
    }

    async fn end(mut self, what: &str) {
        self.source.close(HEALED_WITHIN).await;
        for (number, sender) in (0..).zip(&self.senders) {
            self.checker.assert_all(number, sender.sequence.made());
            let report = sender.factory.close(HEALED_WITHIN).await;
            assert_ledger(&report);
            assert_eq!(report.delivered, sender.sequence.made());
        }
        println!(
            "{what}: {} damages, {} connections; the slowest healed after {:?}",
            self.struck,
            self.proxy.connections(),
            self.slowest
        );
    }
}

/// Flips every bit, or every `step`th, of the first so many bytes of a session, in both directions, and doubles and swaps
/// some.
async fn damage_everywhere(kind: &str, senders: u64, bytes: u64, step: usize) {
    let mut damaged = Damaged::start(kind, senders).await;
    let bits = 8 * bytes;
    for bit in (0..bits).step_by(step) {
        let flip = Faults::none().flip(bit);
        damaged.strike(flip.clone(), Faults::none()).await;
        damaged.strike(Faults::none(), flip).await;
    }
    for seed in 0..cases("WAKEWIRE_DAMAGES", bits / 8) {
        let faults = Faults::from_seed(seed, bytes);
        damaged.strike(faults.clone(), Faults::none()).await;
        damaged.strike(Faults::none(), faults).await;
    }
    damaged.end(kind).await;
}

/// A dialer that takes the other side for another protocol's rests for up to 75 s, and so does the next one if both are
/// damaged. A frame that does not end is given up after 15 s, when something comes, which it does every 5.
const HEALED_WITHIN: Duration = Duration::from_secs(250);

/// Of each sender.
const MESSAGES: usize = 2;

#[tokio::test(start_paused = true)]
async fn damage_to_any_bit_of_a_direct_connection_heals_and_none_is_delivered() {
    damage_everywhere("direct", 1, 300, 1).await;
}

#[tokio::test(start_paused = true)]
async fn damage_to_any_bit_of_a_relays_connections_heals_and_none_is_delivered() {
    // A third of the bits, where time matters; 1 for all of them.
    let step = usize::try_from(cases("WAKEWIRE_DAMAGE_STEP", 3)).unwrap();
    damage_everywhere("relay", 3, 600, step).await;
}

#[tokio::test]
async fn a_damaged_frame_over_tcp_closes_the_connection_and_is_sent_again() {
    for through in Through::ALL {
        let mut session = Session::start(Wire::Tcp, through).await;
        session.strike(&Plan::pass());
        session.deliver(8, 100).await;
        // Not what is said of it afterwards: behind that nothing more comes by which damage is noticed.
        let (up, down) = session.proxy.carried();
        session.settle().await;
        for seed in 0..cases("WAKEWIRE_TCP_DAMAGES", 100) {
            // In a payload, so that it is the checksum that notices.
            let at = match through {
                Through::Consumer => down,
                Through::Direct | Through::Producer => up,
            } - 1
                - seed % 100;
            let flip = Faults::none().flip(8 * at + seed % 8);
            let before = session.proxy.connections();
            session.strike(&match through {
                Through::Consumer => Plan::carry(Faults::none(), flip),
                Through::Direct | Through::Producer => Plan::carry(flip, Faults::none()),
            });
            session.exchange(8, 100).await;
            assert!(session.proxy.connections() >= before + 2, "{seed}: closed");
        }
        session.end().await;
    }
}
