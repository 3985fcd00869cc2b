//! A consumer in the test's own process, which remembers all that it was told.

use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use wakewire::SinkFactory;
use wakewire_polygon::codec::PoolEvent;

use crate::chain::Market;
use crate::system::{Place, until};
use crate::truth::{self, Fact};

/// A consumer in this process: all that it was told, in order.
pub(crate) struct Witness {
    facts: Arc<Mutex<Vec<Fact>>>,
    hearing: JoinHandle<()>,
}

impl Witness {
    pub(crate) fn of(place: &Place, service: &str, name: &str) -> Self {
        let facts = Arc::new(Mutex::new(Vec::new()));
        let (heard, service, name) = (Arc::clone(&facts), service.to_owned(), name.to_owned());
        let services = place.path().join("services.toml");
        let hearing = tokio::spawn(async move {
            let factory = SinkFactory::from_config(services).unwrap();
            let mut source = factory.create_source(&service).await.unwrap().named(name);
            while let Some(message) = source.recv().await.unwrap() {
                let event = PoolEvent::read(message.message_type, &message.payload).unwrap();
                heard.lock().unwrap().push(truth::of_event(&event));
            }
        });
        Self { facts, hearing }
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.facts.lock().unwrap().clone()
    }

    /// Waits until it holds what the chain has, and nothing was told twice.
    pub(crate) async fn has_all(&self, market: &mut Market) {
        let chain: Vec<Fact> = market.logs().await.iter().map(truth::of_log).collect();
        until("the witness has what the chain has", || {
            held(&self.facts()) == chain
        })
        .await;
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

/// What is left of what was told: each comes once, and goes once if it was taken back.
pub(crate) fn held(told: &[Fact]) -> Vec<Fact> {
    let (held, repeated) = held_and_repeated(told);
    assert_eq!(repeated, [], "told twice");
    held
}

/// The same, and what was told although it was there.
pub(crate) fn held_and_repeated(told: &[Fact]) -> (Vec<Fact>, Vec<Fact>) {
    let (mut held, mut repeated) = (Vec::new(), Vec::new());
    for fact in told {
        let same = Fact {
            removed: false,
            ..fact.clone()
        };
        let place = held.iter().position(|other| *other == same);
        match (fact.removed, place) {
            (false, None) => held.push(same),
            (true, Some(place)) => drop(held.remove(place)),
            (false, Some(_)) => repeated.push(same),
            (true, None) => panic!("taken back and never there: {fact:?}"),
        }
    }
    (held, repeated)
}
