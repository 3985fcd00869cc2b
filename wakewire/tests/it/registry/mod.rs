//! `services.toml`: what is read, and what it means.

mod canary;
mod faults;
mod graph;
mod places;
mod protection;
mod random;

use std::time::Duration;

use wakewire::registry::{Diagnostic, Faults};
use wakewire::{
    CompositePattern, Delivery, Domain, LazyConfig, PrecisionContext, Registry, ServiceConfig,
    ServiceRegistry, SinkError, WhenFull, WithoutConsumers,
};

fn good(text: &str) -> ServiceRegistry {
    ServiceRegistry::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> Vec<Diagnostic> {
    let error = ServiceRegistry::from_toml(text).expect_err("should be refused");
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
    let cause = error.failure().source().expect("a cause");
    cause
        .downcast_ref::<Faults>()
        .expect("faults")
        .diagnostics()
        .to_vec()
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// A relay with one more line, and what is wrong with that line.
fn relay_with(line: &str) -> Vec<String> {
    lines(&faults(&format!("{RELAY}{line}\n")))
}

fn relay(line: &str) -> ServiceConfig {
    good(&format!("{RELAY}{line}\n"))
        .lookup("md")
        .unwrap()
        .clone()
}

const RELAY: &str = "[services.md]\ntype = \"relay\"\nendpoint = \"tcp://localhost:7000\"\n";

#[test]
fn defaults_are_those_of_the_reference() {
    let config = relay("");
    assert_eq!(
        config,
        ServiceConfig::relay("tcp://localhost:7000".parse().unwrap())
    );
    assert_eq!(config.delivery, Delivery::AtLeastOnce);
    assert_eq!((config.buffer_size, config.buffer_bytes), (10_000, 8 << 20));
    assert_eq!(
        (config.max_message_bytes, config.log_bytes),
        (1 << 20, 64 << 20)
    );
    assert_eq!(config.idle_timeout, Some(Duration::from_secs(50)));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.unnamed_deadline(), Duration::from_secs(30));
    assert_eq!(config.named_deadline(), None);
    assert_eq!(
        config.lazy_config(LazyConfig::default()),
        LazyConfig::default()
    );
}

#[test]
fn every_key_arrives_where_it_is_meant() {
    let config = relay(
        "delivery = \"at_most_once\"\nbuffer_size = 1_000\nbuffer_bytes = 0x200000\n\
         when_full = \"drop_oldest\"\nmax_message_bytes = 4096\nidle_timeout_secs = 0\n\
         drain_timeout_secs = 0.5\ndomain = \"signals\"\nprecision_context = \"dex_token\"\n\
         consumers = [\"a b\", \"ü\"]\nwithout_consumers = \"accept\"\n\
         consumer_deadline_secs = 7\nlog_bytes = 99\nmetadata = { owner = \"me\" }",
    );
    assert_eq!(config.delivery, Delivery::AtMostOnce);
    assert_eq!((config.buffer_size, config.buffer_bytes), (1000, 0x20_0000));
    assert_eq!(config.when_full, WhenFull::DropOldest);
    assert_eq!(config.max_message_bytes, 4096);
    assert_eq!(config.idle_timeout, None);
    assert_eq!(config.drain_timeout, Duration::from_millis(500));
    assert_eq!(config.domain, Some(Domain::Signals));
    assert_eq!(config.precision_context, PrecisionContext::DexToken);
    assert_eq!(config.consumers, ["a b", "ü"]);
    assert_eq!(config.without_consumers, WithoutConsumers::Accept);
    assert_eq!(config.named_deadline(), Some(Duration::from_secs(7)));
    assert_eq!(config.unnamed_deadline(), Duration::from_secs(7));
    assert_eq!(config.log_bytes, 99);
    assert_eq!(config.metadata["owner"], "me");
}

#[test]
fn three_ways_to_write_lazy_are_one() {
    let dotted = relay("lazy.max_retries = 7\nlazy.jitter = 0");
    let inline = relay("lazy = { max_retries = 7, jitter = 0.0 }");
    let table = relay("[services.md.lazy]\nmax_retries = 7\njitter = 0");
    assert_eq!(dotted, inline);
    assert_eq!(inline, table);
    let lazy = dotted.lazy_config(LazyConfig::default());
    assert_eq!((lazy.max_retries, lazy.jitter), (7, 0.0));
}

#[test]
fn lazy_is_over_the_short_keys_over_the_default_of_the_factory() {
    let config = relay(
        "max_retries = 7\nreconnect_delay_ms = 5\nconnect_timeout_secs = 0.25\nlazy.max_retries = 8",
    );
    let factory = LazyConfig {
        jitter: 0.5,
        max_retries: 1,
        ..LazyConfig::default()
    };
    let lazy = config.lazy_config(factory);
    assert_eq!((lazy.max_retries, lazy.jitter), (8, 0.5));
    assert_eq!(lazy.retry_delay, Duration::from_millis(5));
    assert_eq!(lazy.connect_timeout, Duration::from_millis(250));
}

#[test]
fn names_may_be_anything_that_can_be_read() {
    let registry = good(
        "[services.\"md.eu west\"]\ntype = \"relay\"\nendpoint = \"tcp://h:1\"\n\
         [services.'kurs ü']\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"md.eu west\"]\n",
    );
    assert!(registry.lookup("md.eu west").is_ok());
    assert!(registry.lookup("kurs ü").is_ok());
    let nested = lines(&faults("[services.md.eu]\ntype = \"relay\"\n"));
    assert!(
        nested
            .iter()
            .any(|line| line.contains("services.md.eu: there is no key `eu`")),
        "{nested:?}"
    );
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_nearest() {
    let mut text = String::new();
    for number in 0..30 {
        text += &format!(
            "[services.feed{number:02}]\ntype = \"relay\"\nendpoint = \"tcp://h:{}\"\n",
            number + 1
        );
    }
    let registry = good(&text);
    let error = registry.lookup("fed07").unwrap_err();
    assert!(matches!(error, SinkError::UnknownService(_)));
    assert!(error.is_permanent());
    let said = error.to_string();
    assert!(
        said.contains("there is no service `fed07`; there are `feed07`, "),
        "{said}"
    );
    assert!(
        said.contains("and 20 more") && said.ends_with("hint: did you mean `feed07`?"),
        "{said}"
    );
    let registry: Box<dyn Registry> = Box::new(registry);
    assert_eq!(registry.lookup("feed07").await.unwrap().buffer_size, 10_000);
    assert!(matches!(
        registry.lookup("x").await,
        Err(SinkError::UnknownService(_))
    ));
}

#[test]
fn a_relay_made_in_code_is_the_same_as_one_that_was_read() {
    let endpoint = "tcp://localhost:7000".parse().unwrap();
    let made = ServiceConfig {
        buffer_size: 5,
        ..ServiceConfig::relay(endpoint)
    };
    assert_eq!(made, relay("buffer_size = 5"));
    assert_eq!(
        made.settings_that_differ(),
        [("buffer_size", "5".to_owned())]
    );
    let all = ServiceConfig::composite(CompositePattern::Fanout, ["a", "b"]);
    assert_eq!(all.kind.name(), "composite");
    assert_eq!(all.endpoint, None);
}
