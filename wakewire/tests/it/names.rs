//! From a name to a sink: the factory, over all kinds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use wakewire::{
    CompositePattern, ConnectionState, DirectSink, Message, MessageSink, Precision, Registry,
    RelaySink, Scheme, Security, ServiceConfig, SinkError, SinkFactory, TlsMode,
};

use crate::support::{
    PATIENCE, Place, eventually, expect, factory, free_port, number, numbered, soon,
};

const ALL: &str = "
[services.all]
type = 'composite'
pattern = 'fanout'
targets = ['direct', 'relay']
[services.either]
type = 'composite'
pattern = 'round_robin'
targets = ['direct', 'all']
[services.first]
type = 'composite'
pattern = 'failover'
targets = ['direct', 'relay']
";

fn every_kind(place: &Place) -> String {
    place.unix("direct", "direct", "") + &place.unix("relay", "relay", "") + ALL
}

#[tokio::test]
async fn nothing_is_opened_by_making_a_sink_or_a_source_of_any_kind() {
    let place = Place::new();
    let text = every_kind(&place);
    // Somebody who would notice.
    let direct = tokio::net::UnixListener::bind(place.path().join("direct.sock")).unwrap();
    let relay = tokio::net::UnixListener::bind(place.path().join("relay.sock")).unwrap();
    let factory = factory(&text);
    for (name, kind) in [
        ("direct", "direct"),
        ("relay", "relay"),
        ("all", "composite"),
        ("either", "composite"),
        ("first", "composite"),
    ] {
        let sink = factory.create_sink(name).await.unwrap();
        assert_eq!(sink.metadata().sink_type, kind);
        assert_eq!(sink.metadata().name, name);
        assert!(!sink.is_connected());
        assert_eq!(sink.metadata().state, ConnectionState::Disconnected);
    }
    factory.create_source("relay").await.unwrap();
    factory.create_source("direct").await.unwrap();
    for listener in [&direct, &relay] {
        let dialled = tokio::time::timeout(Duration::from_millis(50), listener.accept());
        assert!(dialled.await.is_err(), "somebody connected");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_one_sink_also_when_asked_for_at_the_same_time() {
    let place = Place::new();
    for name in ["direct", "relay", "all", "either", "first"] {
        let factory = Arc::new(factory(&every_kind(&place)));
        let asked: Vec<_> = (0..16)
            .map(|_| {
                let factory = Arc::clone(&factory);
                tokio::spawn(async move { factory.create_sink(name).await.unwrap() })
            })
            .collect();
        let first = factory.create_sink(name).await.unwrap();
        for sink in asked {
            assert!(Arc::ptr_eq(&first, &sink.await.unwrap()), "{name}");
        }
    }
}

/// A registry made by hand, as a control plane's would be; slow, so that look-ups overlap.
#[derive(Debug)]
struct Plane(Vec<(&'static str, ServiceConfig)>);

impl Registry for Plane {
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let found = self.0.iter().find(|(known, _)| *known == name);
            found.map(|(_, config)| config.clone()).ok_or_else(|| {
                SinkError::UnknownService(
                    wakewire::Failure::new(name).hint("ask the control plane"),
                )
            })
        })
    }
}

fn composite(targets: &[&str]) -> ServiceConfig {
    ServiceConfig::composite(CompositePattern::Fanout, targets.iter().copied())
}

#[tokio::test]
async fn a_registry_that_is_no_file_is_held_to_the_same_rules() {
    let endpoint = || "unix:///tmp/wakewire-nobody.sock".parse().unwrap();
    let plane = Plane(vec![
        ("leaf", ServiceConfig::direct(endpoint())),
        ("left", composite(&["leaf"])),
        ("right", composite(&["leaf"])),
        ("diamond", composite(&["left", "right"])),
        ("innocent", composite(&["leaf", "a"])),
        ("a", composite(&["b"])),
        ("b", composite(&["c"])),
        ("c", composite(&["a"])),
        ("dangling", composite(&["leaf", "nobody"])),
    ]);
    let factory = SinkFactory::from_registry(plane);
    factory.create_sink("diamond").await.unwrap();
    let error = factory.create_sink("innocent").await.unwrap_err();
    assert!(error.to_string().contains("a → b → c → a"), "{error}");
    let error = factory.create_sink("dangling").await.unwrap_err();
    assert!(matches!(error, SinkError::UnknownService(_)), "{error}");
    assert_eq!(error.failure().service(), "nobody");
    // Both branches of the diamond lead to the same leaf.
    let (left, leaf) = (
        factory.create_sink("diamond").await.unwrap(),
        factory.create_sink("leaf").await.unwrap(),
    );
    left.send(numbered(1)).await.unwrap();
    assert_eq!(leaf.metadata().messages_sent, 2);
    assert_eq!(factory.close(Duration::from_millis(1)).await.undelivered, 2);
    assert!(matches!(
        factory.create_sink("leaf").await,
        Err(SinkError::Closed(_))
    ));
}

#[tokio::test]
async fn endlessly_nested_composites_are_an_error_and_no_overflow() {
    #[derive(Debug)]
    struct Endless;
    impl Registry for Endless {
        fn lookup<'a>(
            &'a self,
            name: &'a str,
        ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
            let next = format!("{}", name.parse::<u64>().unwrap() + 1);
            Box::pin(std::future::ready(Ok(composite(&[&next]))))
        }
    }
    let error = SinkFactory::from_registry(Endless)
        .create_sink("0")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("nested more than 64 deep"),
        "{error}"
    );
}

#[tokio::test]
async fn domain_precision_and_size_are_checked_before_a_message_is_accepted() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "domain = 'signals'\nprecision_context = 'dex_token'\nmax_message_bytes = 100",
    );
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    let good = Message::new("x")
        .with_type(20)
        .with_precision(Precision::TokenNative);
    sink.send(good.clone()).await.unwrap();

    let error = sink.send(good.clone().with_type(19)).await.unwrap_err();
    assert!(matches!(error, SinkError::WrongDomain(_)));
    assert!(error.to_string().contains("20–39"), "{error}");
    assert_eq!(error.into_message().unwrap().message_type, 19);

    let error = sink
        .send(good.clone().with_precision(Precision::FixedPoint8))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::WrongPrecision(_)));
    assert!(error.to_string().contains("dex_token"), "{error}");

    let large = Message {
        payload: vec![0; 101].into(),
        ..good.clone()
    };
    let error = sink.send(large).await.unwrap_err();
    assert!(matches!(error, SinkError::MessageTooLarge(_)));
    assert!(
        error.to_string().contains("101") && error.to_string().contains("100"),
        "{error}"
    );
    let exact = Message {
        payload: vec![0; 100].into(),
        ..good
    };
    sink.send(exact).await.unwrap();

    let metadata = sink.metadata();
    assert_eq!((metadata.messages_sent, metadata.messages_failed), (2, 3));
}

#[tokio::test]
async fn what_is_not_built_in_is_named_when_a_sink_is_made() {
    let mut all: Vec<_> = Scheme::ALL.map(|scheme| (scheme, scheme, "")).to_vec();
    // Required TLS is never left out because a build has none.
    all.push((Scheme::Tcp, Scheme::Tls, "tls = 'require'"));
    for (scheme, needed, further) in all {
        let place = match scheme {
            Scheme::Unix => "/tmp/x.sock",
            _ => "localhost:7000",
        };
        let endpoint = format!("{}://{place}", scheme.name());
        let text = format!("[services.x]\ntype = 'direct'\nendpoint = '{endpoint}'\n{further}");
        let factory = factory(&text);
        let security = Security {
            tls: if further.is_empty() {
                TlsMode::Prefer
            } else {
                TlsMode::Require
            },
            ..Security::default()
        };
        let sinks = [
            factory.create_sink("x").await.map(drop),
            factory.create_source("x").await.map(drop),
            DirectSink::secured(&endpoint, security.clone()).map(drop),
            RelaySink::secured(&endpoint, 1, security).map(drop),
        ];
        for made in sinks {
            if needed.is_built_in() {
                made.unwrap();
                continue;
            }
            let error = made.unwrap_err();
            assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
            let said = error.to_string();
            assert!(
                said.contains(&format!("`{}` is not built into", needed.name())),
                "{said}"
            );
            assert!(
                said.contains("hint: this build has `unix://`, `tcp://`"),
                "{said}"
            );
        }
    }
}

#[tokio::test]
async fn sinks_made_without_a_name_reach_whichever_service_is_there() {
    let place = Place::new();
    let text = place.unix("direct", "direct", "")
        + &place.unix("relay", "relay", "lazy.retry_delay_ms = 1");
    let factory = factory(&text);
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();

    let mut source = factory.create_source("direct").await.unwrap();
    let sink = DirectSink::unix(&path("direct.sock")).unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;

    let mut relay = factory.create_relay("relay").await.unwrap();
    relay.bind().await.unwrap();
    let serving = tokio::spawn(async move { relay.run().await });
    let mut source = factory.create_source("relay").await.unwrap();
    let sink = RelaySink::new(&path("relay.sock"), 10).unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    assert!(source.close(Duration::from_secs(5)).await);
    eventually("acknowledged", || sink.ledger().is_complete()).await;
    serving.abort();

    assert!(RelaySink::new("relative/path", 10).is_err());
    assert!(RelaySink::new("unix:///tmp/x.sock", 0).is_err());
    let made = DirectSink::websocket("ws://localhost/");
    assert_eq!(made.is_ok(), Scheme::Ws.is_built_in());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_senders_on_one_sink_keep_each_senders_order() {
    let place = Place::new();
    let factory = Arc::new(factory(&place.unix("direct", "direct", "buffer_size = 50")));
    let mut source = factory.create_source("direct").await.unwrap();
    let senders: Vec<_> = (0..8_u64)
        .map(|sender| {
            let factory = Arc::clone(&factory);
            tokio::spawn(async move {
                let sink = factory.create_sink("direct").await.unwrap();
                for n in 0..2_000 {
                    sink.send(numbered(sender << 32 | n)).await.unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..16_000 {
        let number = number(&soon(source.recv()).await.unwrap().unwrap());
        let (sender, n) = ((number >> 32) as usize, number & 0xffff_ffff);
        assert_eq!(n, next[sender]);
        next[sender] += 1;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    source.close(Duration::from_secs(5)).await;
    let report = factory.close(Duration::from_secs(5)).await;
    assert_eq!(report.delivered, 16_000);
}

#[tokio::test]
async fn a_stream_acknowledges_in_any_order_and_only_what_was_acknowledged() {
    let place = Place::new();
    let factory = factory(&place.unix("direct", "direct", ""));
    let sink = factory.create_sink("direct").await.unwrap();
    for n in 0..5 {
        sink.send(numbered(n)).await.unwrap();
    }
    let mut stream = factory.create_source("direct").await.unwrap().into_stream();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(soon(stream.next()).await.unwrap().unwrap());
    }
    let third = held.remove(2);
    held.remove(1).ack();
    third.ack();
    held.remove(0).ack(); // now 0, 1 and 2 are past; 3 is dropped, 4 acknowledged behind it
    held.remove(1).ack();
    drop(held);
    assert!(stream.close(Duration::from_secs(5)).await);
    let mut again = factory.create_source("direct").await.unwrap();
    expect(&mut again, 3..5).await;
}

#[test]
fn without_a_runtime_a_message_is_refused_and_comes_back() {
    let sink = DirectSink::unix("/tmp/wakewire-nobody.sock").unwrap();
    let waker = std::task::Waker::noop();
    let mut sending = sink.send(numbered(7));
    let sent = Pin::new(&mut sending).poll(&mut std::task::Context::from_waker(waker));
    let std::task::Poll::Ready(Err(error)) = sent else {
        panic!("{sent:?}")
    };
    assert!(matches!(error, SinkError::NoRuntime(_)), "{error}");
    assert_eq!(number(&error.into_message().unwrap()), 7);
    assert_eq!(sink.ledger().accepted, 0);
}

#[test]
fn what_every_send_moves_stays_small() {
    assert_eq!(size_of::<SinkError>(), 16);
    assert_eq!(size_of::<Message>(), 80);
    assert_eq!(size_of::<wakewire::Sending<'_>>(), 24);
}

#[tokio::test]
async fn a_consumer_with_a_name_that_no_relay_takes_is_told_at_once() {
    let place = Place::new();
    for name in ["", "a\nb", "\u{1b}[2J", &"x".repeat(256)] {
        let factory = factory(&place.unix("relay", "relay", ""));
        let source = factory.create_source("relay").await.unwrap();
        let error = source.named(name).recv().await.unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
        assert!(error.to_string().contains("the name "), "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

/// Runs the relay of the service, if it has one.
async fn relay_of(factory: &SinkFactory, kind: &str) -> Option<JoinHandle<()>> {
    if kind != "relay" {
        return None;
    }
    let mut relay = factory.create_relay("ticks").await.unwrap();
    Some(tokio::spawn(async move { relay.run().await.unwrap() }))
}

/// Both ends of a service as they are configured in two files: who sends knows nothing of the domain.
async fn refused_where_it_arrives(kind: &str, endpoint: &str, is_type: bool) {
    let service = |further: &str| {
        let drained = "drain_timeout_secs = 0.05";
        format!("[services.ticks]\ntype = '{kind}'\nendpoint = '{endpoint}'\n{drained}\n{further}")
    };
    let knows = service("domain = 'market_data'\nprecision_context = 'dex_token'");
    let asks = service("");
    let (listens, sends) = (factory(&knows), factory(&asks));
    let running = relay_of(&listens, kind).await;
    let mut source = listens.create_source("ticks").await.unwrap();
    let sink = sends.create_sink("ticks").await.unwrap();
    let tick = |text: &str| Message::new(text.to_owned()).with_type(3);
    sink.send(tick("1")).await.unwrap();
    sink.send(tick("2")).await.unwrap();
    let wrong = if is_type {
        tick("wrong").with_type(25)
    } else {
        tick("wrong").with_precision(Precision::FixedPoint8)
    };
    sink.send(wrong.clone()).await.unwrap();
    // More than a socket takes: the reason is heard by one who is writing still.
    let further = "x".repeat(4000);
    for _ in 0..500 {
        sink.send(tick(&further)).await.unwrap();
    }
    sink.send(tick("3")).await.unwrap();
    for expected in ["1", "2"] {
        let message = source.recv().await.unwrap().unwrap();
        assert_eq!(message.payload, expected.as_bytes());
    }
    eventually("it is refused", || sink.metadata().last_error.is_some()).await;
    let said = sink.metadata().last_error.unwrap();
    let why = if is_type {
        "message type 25 is not of domain `market_data`, which is 1–19"
    } else {
        "amounts in FixedPoint8 do not belong on a service with `precision_context = \"dex_token\"`"
    };
    assert!(said.contains(why), "{said}");
    // Another sender is not concerned.
    let other = factory(&asks);
    let honest = other.create_sink("ticks").await.unwrap();
    honest
        .send(tick("4").with_precision(Precision::TokenNative))
        .await
        .unwrap();
    assert_eq!(source.recv().await.unwrap().unwrap().payload, "4");
    assert!(source.close(PATIENCE).await);
    assert!(other.close(PATIENCE).await.undelivered == 0);

    // Whoever listens is configured otherwise now: everything comes, in order and once.
    if let Some(running) = running {
        running.abort();
        drop(running.await);
    }
    drop(listens);
    let listens = factory(&asks);
    let running = relay_of(&listens, kind).await;
    let mut source = listens.create_source("ticks").await.unwrap();
    // A refusal for good is tried again after a minute, or when somebody asks.
    drop(sink.disconnect().await);
    let everything = async {
        let mut come = Vec::new();
        while come.last().is_none_or(|last| last != "3") {
            come.push(source.recv().await.unwrap().unwrap().payload);
        }
        come
    };
    let (connected, come) = soon(async { tokio::join!(sink.connect(), everything) }).await;
    connected.unwrap();
    // To a new consumer also what was not acknowledged before the refusal.
    let mut all = vec!["1", "2", "wrong"];
    all.extend([further.as_str()].repeat(500));
    all.push("3");
    let missed = all.len() - come.len();
    assert!(missed <= 2 && come == all[missed..], "{missed}");
    assert!(source.close(PATIENCE).await);
    let report = sends.close(PATIENCE).await;
    assert_eq!((report.undelivered, report.waiting), (0, 0));
    if let Some(running) = running {
        running.abort();
    }
}

async fn refused_over_each(kind: &str) {
    let place = Place::new();
    for is_type in [true, false] {
        let unix = format!("unix://{}/ticks.sock", place.path().display());
        refused_where_it_arrives(kind, &unix, is_type).await;
        let tcp = format!("tcp://127.0.0.1:{}", free_port());
        refused_where_it_arrives(kind, &tcp, is_type).await;
    }
}

#[tokio::test]
async fn a_relay_refuses_what_is_not_of_its_domain_or_context() {
    refused_over_each("relay").await;
}

#[tokio::test]
async fn a_listener_refuses_what_is_not_of_its_domain_or_context() {
    refused_over_each("direct").await;
}
