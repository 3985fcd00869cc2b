//! A service with a proxy in one of its connections, over any transport: what the machines of this module work on.

use std::time::Duration;

use tokio::task::JoinHandle;
use wakewire::testing::{Checker, Plan, Proxy, Sequence, assert_ledger};
use wakewire::{MessageSource, Report, Security, ServiceConfig, ServiceRegistry, SinkFactory};

use crate::support::{PATIENCE, Place, factory_of, free_port, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Unix,
    Tcp,
    #[cfg(feature = "tls")]
    Tls,
    #[cfg(all(feature = "ws", feature = "tls"))]
    Ws,
}

/// Which connection goes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// From a sink to a listener.
    Direct,
    /// From a sink to a relay.
    Producer,
    /// From a consumer to a relay.
    Consumer,
}

impl Through {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Producer, Self::Consumer];
}

pub(super) struct Session {
    pub(super) proxy: Proxy,
    sender: SinkFactory,
    source: MessageSource,
    relay: Option<JoinHandle<()>>,
    pub(super) sequence: Sequence,
    pub(super) checker: Checker,
    _place: Place,
    #[cfg(feature = "tls")]
    _authority: Option<crate::tls::Authority>,
}

impl Session {
    pub(super) async fn start(wire: Wire, through: Through) -> Self {
        let place = Place::new();
        let port = free_port();
        let target = ([127, 0, 0, 1], port).into();
        let (proxy, near, far) = match wire {
            Wire::Unix => {
                let path = |name: &str| place.path().join(name);
                let proxy = Proxy::unix(path("far"), path("near")).unwrap();
                let at = |path: std::path::PathBuf| format!("unix://{}", path.display());
                (proxy, at(path("near")), at(path("far")))
            }
            wire => {
                let proxy = Proxy::tcp(target).unwrap();
                let scheme = match wire {
                    #[cfg(feature = "tls")]
                    Wire::Tls => "tls",
                    #[cfg(all(feature = "ws", feature = "tls"))]
                    Wire::Ws => "ws",
                    _ => "tcp",
                };
                let at = |port| format!("{scheme}://127.0.0.1:{port}");
                let far = at(proxy.port());
                (proxy, at(port), far)
            }
        };
        #[cfg(feature = "tls")]
        let authority = (wire == Wire::Tls).then(crate::tls::Authority::new);
        #[cfg(feature = "tls")]
        let security = authority
            .as_ref()
            .map_or_else(Security::default, |authority| {
                authority.security_with(&authority.here("peer"))
            });
        #[cfg(not(feature = "tls"))]
        let security = Security::default();
        let [near, far] = [near, far].map(|at| config(through, &at, &security));
        let (near, far) = (factory_of(near), factory_of(far));
        let relay = if through == Through::Direct {
            None
        } else {
            let mut relay = near.create_relay("x").await.unwrap();
            relay.bind().await.unwrap();
            Some(tokio::spawn(async move { relay.run().await.unwrap() }))
        };
        let (sender, receiver) = match through {
            Through::Direct | Through::Producer => (far, near),
            Through::Consumer => (near, far),
        };
        let source = receiver.create_source("x").await.unwrap();
        let mut session = Self {
            proxy,
            sender,
            source: if relay.is_some() {
                source.named("c")
            } else {
                source
            },
            relay,
            sequence: Sequence::default(),
            checker: Checker::new(),
            _place: place,
            #[cfg(feature = "tls")]
            _authority: authority,
        };
        session.exchange(1, 0).await;
        session
    }

    /// Ends what stands, does this to the next connection, and lets those after it pass.
    pub(super) fn strike(&self, plan: &Plan) {
        let (first, plan) = (self.proxy.connections(), plan.clone());
        let plan = move |number| {
            if number == first {
                plan.clone()
            } else {
                Plan::pass()
            }
        };
        self.proxy.by(plan);
        self.proxy.sever();
    }

    pub(super) async fn send(&mut self, messages: usize, bytes: usize) {
        let sink = self.sender.create_sink("x").await.unwrap();
        for _ in 0..messages {
            soon(sink.send(self.sequence.message(bytes))).await.unwrap();
        }
    }

    /// Sends messages of so many bytes, receives them, and waits until the sink knows it.
    pub(super) async fn exchange(&mut self, messages: usize, bytes: usize) {
        self.deliver(messages, bytes).await;
        self.settle().await;
    }

    /// Sends messages of so many bytes and receives them.
    pub(super) async fn deliver(&mut self, messages: usize, bytes: usize) {
        self.send(messages, bytes).await;
        while self.checker.received(0) < self.sequence.made() {
            let message = soon(self.source.recv()).await.unwrap();
            self.checker.receive(&message.expect("not closed"));
        }
    }

    /// Waits until the sink knows that everything was received.
    pub(super) async fn settle(&mut self) {
        // Asking is what says that the last one was processed.
        tokio::select! {
            biased;
            message = self.source.recv() => panic!("again: {message:?}"),
            report = self.sender.flush(PATIENCE) => assert!(report.is_complete(), "{report:?}"),
        }
    }

    /// How many bytes a whole session has up and down: greeting, so many messages, acknowledgements.
    pub(super) async fn measure(&mut self, messages: usize, bytes: usize) -> (u64, u64) {
        self.strike(&Plan::pass());
        self.exchange(messages, bytes).await;
        self.proxy.carried()
    }

    /// Closes both ends; everything must have arrived once and in order.
    pub(super) async fn end(mut self) -> Report {
        assert!(self.source.close(PATIENCE).await);
        let report = self.sender.close(Duration::from_secs(5)).await;
        if let Some(relay) = self.relay {
            relay.abort();
        }
        assert_ledger(&report);
        assert_eq!(
            (report.delivered, report.waiting),
            (self.sequence.made(), 0)
        );
        self.checker.assert_all(0, self.sequence.made());
        report
    }
}

fn config(through: Through, endpoint: &str, security: &Security) -> ServiceConfig {
    let kind = match through {
        Through::Direct => "type = 'direct'",
        Through::Producer | Through::Consumer => "type = 'relay'\nconsumers = ['c']",
    };
    let text = format!(
        "[services.x]\nendpoint = '{endpoint}'\n{kind}\ndelivery = 'at_least_once'\nmax_message_bytes = 4096\n\
         lazy = {{ retry_delay_ms = 1, max_retry_delay_secs = 0.001, jitter = 0.0 }}"
    );
    let text = text.replace("tls://127.0.0.1", "tls://localhost");
    let registry = ServiceRegistry::from_toml(&text).unwrap();
    ServiceConfig {
        security: security.clone(),
        ..registry.lookup("x").unwrap().clone()
    }
}
