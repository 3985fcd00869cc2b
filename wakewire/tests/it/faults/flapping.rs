//! Peers that refuse, accept and close, are silent, read nothing, or close after the welcome: each is dialled at the pace
//! of the backoff, and what is owed arrives when the peer is well again.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use wakewire::testing::{Faults, Network, Plan, Proxy, assert_ledger};
use wakewire::{LazyConfig, Message, MessageSink};

/// What a peer does, and what follows a connection to it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Peer {
    Refuses,
    Closes,
    Silent,
    Deaf,
    /// After its welcome, before its first acknowledgement.
    ClosesWelcomed,
    /// What it acknowledges is never heard.
    Unheard,
}

impl Peer {
    const ALL: [Self; 6] = [
        Self::Refuses,
        Self::Closes,
        Self::Silent,
        Self::Deaf,
        Self::ClosesWelcomed,
        Self::Unheard,
    ];

    fn act(self, proxy: &Proxy, welcome: u64) {
        let down = |faults| Plan::carry(Faults::none(), faults);
        match self {
            Self::Refuses => proxy.refuse(),
            Self::Closes => proxy.plan(Plan::Close),
            Self::Silent => proxy.plan(Plan::Silent),
            Self::Deaf => proxy.plan(Plan::Deaf),
            Self::ClosesWelcomed => proxy.plan(down(Faults::none().cut_after(welcome))),
            Self::Unheard => proxy.plan(down(Faults::none().stall_after(welcome))),
        }
    }
}

/// Attempts in an hour: some at first, then one each 30 s, less a jitter of a fifth.
fn most_in_an_hour() -> u64 {
    let config = LazyConfig::default();
    let growing = (1..)
        .take_while(|&failures| config.base_delay(failures) < config.max_retry_delay)
        .count() as u64;
    let least = config.max_retry_delay.mul_f64(1.0 - config.jitter);
    growing + HOUR.as_secs() / least.as_secs() + 2
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_dialled_at_the_pace_of_the_backoff_for_an_hour() {
    for kind in ["direct", "relay"] {
        for peer in Peer::ALL {
            let network = Network::new();
            let text = format!("[services.x]\ntype = '{kind}'\nendpoint = 'unix:///x'");
            let here = network.factory(&text).unwrap();
            let sender = network.factory(&text).unwrap();
            let mut source = here.create_source("x").await.unwrap();
            let sink = sender.create_sink("x").await.unwrap();
            let serving = if kind == "relay" {
                let mut relay = here.create_relay("x").await.unwrap();
                relay.bind().await.unwrap();
                Some(tokio::spawn(async move { relay.run().await.unwrap() }))
            } else {
                None
            };
            // It is there, and processes nothing meanwhile: otherwise the next welcome would say so.
            let nothing = timeout(Duration::from_secs(1), source.recv()).await;
            assert!(nothing.is_err());
            let proxy = network.proxy("x").unwrap();
            sink.connect().await.unwrap();
            let welcome = proxy.carried().1;
            peer.act(&proxy, welcome);
            proxy.sever();
            sink.send(Message::new("owed")).await.unwrap();
            let (before, since) = (proxy.connections(), Instant::now());
            sleep(HOUR).await;
            let attempts = proxy.connections() - before;
            println!("{kind}, {peer:?}: {attempts} connections in an hour");
            let most = match peer {
                // It lives until it is taken for dead, after 15 s, and that is no failure to connect.
                Peer::Unheard => HOUR.as_secs() / 15 + 2,
                _ => most_in_an_hour(),
            };
            // A consumer dials as well.
            let most = most * if kind == "relay" { 2 } else { 1 };
            assert!(attempts <= most, "{peer:?}: {attempts}, at most {most}");
            let goes_on = !matches!(peer, Peer::Refuses | Peer::Unheard);
            assert!(attempts > 60 || !goes_on, "{peer:?}: {attempts}");
            proxy.plan(Plan::pass());
            if peer == Peer::Unheard {
                proxy.sever();
            }
            let asked = tokio::spawn(async move {
                let mut texts = Vec::new();
                while let Some(message) = source.recv().await.unwrap() {
                    texts.push(message.payload);
                }
                texts
            });
            assert!(
                sink.flush(HOUR).await.unwrap().is_complete(),
                "{kind}, {peer:?}"
            );
            // The next attempt, of sink and of consumer, comes within 30 s and its jitter, and is the last one.
            assert!(since.elapsed() < HOUR + Duration::from_secs(90), "{peer:?}");
            here.close(Duration::from_secs(1)).await;
            let report = sender.close(Duration::from_secs(1)).await;
            assert_ledger(&report);
            assert_eq!(report.delivered, 1);
            assert_eq!(asked.await.unwrap(), ["owed"], "{kind}, {peer:?}");
            if let Some(serving) = serving {
                serving.abort();
            }
        }
    }
}
