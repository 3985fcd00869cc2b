//! One adapter, moved from a relay to a direct service, to a fan-out and to another registry: only the services change.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use wakewire::{Failure, Registry, ServiceConfig, SinkError, SinkFactory};
use wakewire_polygon::adapter::Adapter;
use wakewire_polygon::follow::{Chain, follow};

use crate::chain::{Anvil, Market};
use crate::system::Place;
use crate::witness::Witness;

const RELAY: &str = "
[services.market_data_relay]
type = 'relay'
endpoint = 'unix://DIRECTORY/relay.sock'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

const DIRECT: &str = "
[services.market_data_relay]
type = 'direct'
endpoint = 'unix://DIRECTORY/direct.sock'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

const FAN_OUT: &str = "
[services.market_data_relay]
type = 'composite'
pattern = 'fanout'
targets = ['first', 'second']

[services.first]
type = 'direct'
endpoint = 'unix://DIRECTORY/first.sock'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }

[services.second]
type = 'direct'
endpoint = 'unix://DIRECTORY/second.sock'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_adapter_is_moved_by_its_services_alone() {
    let place = Place::new(RELAY);
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    market.mint_v2(100_000).await;
    market.mint_v3(5_000_000_000_000_000).await;
    let url = market.anvil.url();
    for (services, receivers) in [
        (RELAY, vec!["market_data_relay"]),
        (DIRECT, vec!["market_data_relay"]),
        (FAN_OUT, vec!["first", "second"]),
    ] {
        place.services(services);
        let relay = (services == RELAY).then(|| place.relay("market_data_relay"));
        let adapter = place.adapter(&url);
        let witnesses: Vec<_> = receivers
            .iter()
            .map(|name| Witness::of(&place, name, "witness"))
            .collect();
        for number in 0..6 {
            market.trade(number).await;
        }
        for witness in &witnesses {
            witness.has_all(&mut market).await;
        }
        adapter.end().await;
        // The next one begins anew.
        std::fs::remove_file(place.path().join("position")).unwrap();
        drop(relay);
    }

    // The same code, on a factory that asks somebody else.
    place.services(DIRECT);
    let endpoint = format!("unix://{}", place.path().join("direct.sock").display());
    let mut plane = ControlPlane::default();
    let config = ServiceConfig::direct(endpoint.parse().unwrap());
    plane.0.insert("market_data_relay".to_owned(), config);
    let factory = SinkFactory::from_registry(plane);
    let mut adapter = Adapter::to(&factory, "market_data_relay").await.unwrap();
    let chain = Chain {
        node: url,
        filter: market.filter(),
        from: Some(0),
        position: None,
    };
    let witness = Witness::of(&place, "market_data_relay", "witness");
    tokio::select! {
        ended = follow(&chain, &mut adapter) => panic!("{ended:?}"),
        () = witness.has_all(&mut market) => {}
    }
    assert_eq!(factory.close(Duration::from_secs(10)).await.undelivered, 0);
}

/// What a control plane has provisioned.
#[derive(Debug, Default)]
struct ControlPlane(HashMap<String, ServiceConfig>);

impl Registry for ControlPlane {
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        let found = self.0.get(name).cloned();
        Box::pin(ready(
            found.ok_or_else(|| SinkError::UnknownService(Failure::new(name))),
        ))
    }
}
