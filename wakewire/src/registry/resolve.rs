//! From `services.toml` as written to services as meant: what a key means, and which keys contradict each other.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::diagnostic::{enumerated, shown};
use super::findings::Findings;
use super::keys::{KEYS, LAZY_PREFIX};
use super::lazy::LazySettings;
use super::raw::RawService;
use super::service::{
    COMPOSITE, CompositePattern, DIRECT, RELAY, ServiceConfig, SinkType, WithoutConsumers,
};
use super::value::Value;
use super::{limits, protection, socket, spool};
use crate::delivery::{Delivery, Fsync, WhenFull};
use crate::domain::{Domain, PrecisionContext};
use crate::endpoint::{Endpoint, Scheme};
use crate::wire::text;

/// Finds out what one service means. `None` when not enough of it can be read, which has been said.
pub(super) fn service(raw: &RawService, findings: &mut Findings) -> Option<ServiceConfig> {
    let kind = kind(raw, findings);
    let endpoint = endpoint(raw, kind, findings);
    let mut config = match kind? {
        RELAY => ServiceConfig::with_defaults(SinkType::Relay, endpoint),
        DIRECT => ServiceConfig::with_defaults(SinkType::Direct, endpoint),
        _ => {
            let pattern = raw.one_of("pattern", CompositePattern::ALL, CompositePattern::name)?;
            ServiceConfig::composite(pattern, raw.names("targets")?)
        }
    };
    set(&mut config, raw);
    check_delays(&config, raw, findings);
    check_delivery(&config, raw, findings);
    check_sizes(&config, raw, findings);
    spool::check(&config, raw, findings);
    check_consumers(raw, findings);
    protection::check(&config, raw, findings);
    check_targets(raw, findings);
    let is_placed = config.endpoint.is_some() || matches!(config.kind, SinkType::Composite { .. });
    is_placed.then_some(config)
}

/// Reads the type, and holds every other key against it.
fn kind(raw: &RawService, findings: &mut Findings) -> Option<&'static str> {
    if !raw.has("type") {
        findings.absent(raw.span.clone(), raw.path(""), || {
            let message = "`type` is missing".to_owned();
            let hint = "add `type = \"relay\"`, `\"direct\"` or `\"composite\"`";
            (message, Some(hint.to_owned()))
        });
    }
    let kind = raw.text("type")?;
    let kind = [RELAY, DIRECT, COMPOSITE]
        .into_iter()
        .find(|&k| k == kind)?;
    for written in raw.written() {
        let key = written.key;
        if !key.on.contains(&kind) {
            findings.wrong(written.key_span.clone(), raw.path(key.name), || {
                let message = format!("`{}` has no effect on a {kind}", key.name);
                let hint = if key.on.contains(&COMPOSITE) {
                    "remove it, or make this a composite"
                } else if kind == COMPOSITE {
                    "remove it here and write it at the targets"
                } else {
                    "remove it, or make this a relay"
                };
                (message, Some(hint.to_owned()))
            });
        }
    }
    for key in KEYS.iter().filter(|key| key.required) {
        if key.on.contains(&kind) && !raw.has(key.name) {
            findings.absent(raw.span.clone(), raw.path(""), || {
                let message = format!("a {kind} needs `{}`", key.name);
                let hint = match key.name {
                    "endpoint" if kind == RELAY => "add `endpoint = \"unix:///path/to/socket\"`",
                    "endpoint" => "add `endpoint = \"tcp://host:port\"`",
                    "pattern" => "add `pattern = \"fanout\"`, `\"round_robin\"` or `\"failover\"`",
                    _ => "add `targets = [\"NAME\", \"NAME\"]`",
                };
                (message, Some(hint.to_owned()))
            });
        }
    }
    Some(kind)
}

/// Parses the endpoint and looks at its place in the file system; opens nothing.
fn endpoint(
    raw: &RawService,
    kind: Option<&'static str>,
    findings: &mut Findings,
) -> Option<Endpoint> {
    let text = raw.text("endpoint")?;
    if kind == Some(COMPOSITE) {
        return None; // Without effect, which has been said.
    }
    let span = raw.span_of("endpoint");
    let path = raw.path("endpoint");
    let refuse = |findings: &mut Findings, message: String, hint: String| {
        findings.wrong(span.clone(), path, || (message, Some(hint)));
    };
    if text.len() > limits::ENDPOINT_BYTES {
        let message = format!("the endpoint has {} bytes", text.len());
        let hint = format!("at most {} are taken", limits::ENDPOINT_BYTES);
        refuse(findings, message, hint);
        return None;
    }
    if text.contains('@') && !text.starts_with('/') && !text.starts_with("unix:///") {
        // Not echoed: it may hold a password.
        let message = "an endpoint takes no user or password".to_owned();
        let hint = "write host and port only, such as `tcp://127.0.0.1:7000`".to_owned();
        refuse(findings, message, hint);
        return None;
    }
    if text.starts_with('/') && kind == Some(DIRECT) {
        let message = "a bare path is taken for a relay only".to_owned();
        refuse(findings, message, format!("write `unix://{}`", shown(text)));
        return None;
    }
    let endpoint = match text.parse::<Endpoint>() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            refuse(findings, error.to_string(), error.hint().to_owned());
            return None;
        }
    };
    if let Endpoint::Unix(socket) = &endpoint {
        socket::check(socket, span.clone(), path, findings);
    }
    Some(endpoint)
}

/// Overrides the defaults by what is written.
fn set(config: &mut ServiceConfig, raw: &RawService) {
    fn put<T>(field: &mut T, written: Option<T>) {
        if let Some(value) = written {
            *field = value;
        }
    }
    put(
        &mut config.delivery,
        raw.one_of("delivery", Delivery::ALL, Delivery::name),
    );
    put(&mut config.buffer_size, raw.size("buffer_size"));
    put(&mut config.buffer_bytes, raw.size("buffer_bytes"));
    put(
        &mut config.when_full,
        raw.one_of("when_full", WhenFull::ALL, WhenFull::name),
    );
    config.spool = raw.file("spool");
    config.store_and_forward = raw.file("store_and_forward");
    config.fsync = raw.one_of("fsync", Fsync::ALL, Fsync::name);
    put(&mut config.max_message_bytes, raw.size("max_message_bytes"));
    let idle = raw.seconds("idle_timeout_secs");
    put(
        &mut config.idle_timeout,
        idle.map(|idle| (!idle.is_zero()).then_some(idle)),
    );
    put(&mut config.drain_timeout, raw.seconds("drain_timeout_secs"));
    config.domain = raw.one_of("domain", Domain::ALL, Domain::name);
    let context = raw.one_of(
        "precision_context",
        PrecisionContext::ALL,
        PrecisionContext::name,
    );
    put(&mut config.precision_context, context);
    put(&mut config.consumers, raw.names("consumers"));
    let without = raw.one_of(
        "without_consumers",
        WithoutConsumers::ALL,
        WithoutConsumers::name,
    );
    put(&mut config.without_consumers, without);
    config.consumer_deadline = raw.seconds("consumer_deadline_secs");
    put(&mut config.log_bytes, raw.size("log_bytes"));
    if let Some(Value::Strings(strings)) = raw.value("metadata") {
        config.metadata.clone_from(strings);
    }
    config.cursor = raw.file("cursor");
    config.lazy = lazy(raw);
    config.security = protection::security(raw);
    protection::set_limits(&mut config.limits, raw);
}

/// Reads the `lazy` table over the short keys.
fn lazy(raw: &RawService) -> LazySettings {
    let delay = [
        "lazy.retry_delay_ms",
        "retry_delay_ms",
        "reconnect_delay_ms",
    ];
    LazySettings {
        max_retries: (raw.whole("lazy.max_retries"))
            .or_else(|| raw.whole("max_retries"))
            .and_then(|retries| u32::try_from(retries).ok()),
        retry_delay: (delay.iter())
            .find_map(|key| raw.whole(key))
            .map(Duration::from_millis),
        backoff_multiplier: raw.decimal("lazy.backoff_multiplier"),
        max_retry_delay: raw.seconds("lazy.max_retry_delay_secs"),
        auto_reconnect: match raw.value("lazy.auto_reconnect") {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        },
        connect_timeout: raw
            .seconds("lazy.connect_timeout_secs")
            .or_else(|| raw.seconds("connect_timeout_secs")),
        wait_timeout: raw.seconds("lazy.wait_timeout_secs"),
        jitter: raw.decimal("lazy.jitter"),
    }
}

fn check_delays(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    let (retry, reconnect) = (raw.whole("retry_delay_ms"), raw.whole("reconnect_delay_ms"));
    if let (Some(retry), Some(reconnect)) = (retry, reconnect)
        && retry != reconnect
    {
        let span = raw.span_of("reconnect_delay_ms");
        findings.wrong(span, raw.path("reconnect_delay_ms"), || {
            let message = format!(
                "{reconnect} contradicts `retry_delay_ms = {retry}`, which is the same setting"
            );
            (message, Some("keep one of the two".to_owned()))
        });
    }
    if let (Some(first), Some(longest)) = (config.lazy.retry_delay, config.lazy.max_retry_delay)
        && first > longest
    {
        let key = format!("{LAZY_PREFIX}max_retry_delay_secs");
        findings.odd(raw.span_of(&key), raw.path(&key), || {
            let message = format!(
                "the longest wait is below the first, {} ms: every wait is the longest",
                first.as_millis()
            );
            (
                message,
                Some("lower `retry_delay_ms` or raise this".to_owned()),
            )
        });
    }
}

fn check_delivery(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    let scheme = config.endpoint.as_ref().map(Endpoint::scheme);
    if config.delivery != Delivery::AtLeastOnce {
        return;
    }
    if scheme == Some(Scheme::Udp) {
        findings.wrong(raw.span_of("delivery"), raw.path("delivery"), || {
            let message = "nothing is confirmed over udp, so at_least_once cannot be kept";
            let hint = "write `delivery = \"at_most_once\"`, or an endpoint with `tcp://`";
            (message.to_owned(), Some(hint.to_owned()))
        });
    }
    if config.when_full.is_lossy() {
        findings.wrong(raw.span_of("when_full"), raw.path("when_full"), || {
            let message = format!(
                "`{}` loses messages, which at_least_once does not allow",
                config.when_full
            );
            let hint = "write `block` or `reject`, or add `delivery = \"at_most_once\"`";
            (message, Some(hint.to_owned()))
        });
    }
}

fn check_sizes(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    let most = (config.endpoint.as_ref()).map_or(usize::MAX, Endpoint::largest_message);
    if config.max_message_bytes > most {
        let key = "max_message_bytes";
        findings.wrong(raw.span_of(key), raw.path(key), || {
            let message = format!("over udp a message is one datagram, of at most {most} bytes");
            let hint = format!("write {most} or less, or an endpoint with `tcp://`");
            (message, Some(hint))
        });
    }
    if config.buffer_bytes < config.max_message_bytes {
        let key = ["buffer_bytes", "max_message_bytes"]
            .into_iter()
            .find(|key| raw.has(key))
            .unwrap_or_default();
        findings.odd(raw.span_of(key), raw.path(key), || {
            let message = format!(
                "the buffer has {} bytes, less than the largest message, {}: such a message waits \
                 until the buffer is empty",
                config.buffer_bytes, config.max_message_bytes
            );
            let hint = format!(
                "write `buffer_bytes = {}` or more",
                config.max_message_bytes
            );
            (message, Some(hint))
        });
    }
}

fn check_consumers(raw: &RawService, findings: &mut Findings) {
    let Some(Value::Names(names)) = raw.value("consumers") else {
        return;
    };
    let mut seen = BTreeSet::new();
    for (name, span) in names {
        if let Some(why) = text::bad_name(name) {
            findings.wrong(span.clone(), raw.path("consumers"), || {
                let hint = "write the name that the consumer gives itself".to_owned();
                (why.to_owned(), Some(hint))
            });
        } else if !seen.insert(name) {
            findings.wrong(span.clone(), raw.path("consumers"), || {
                let message = format!("`{}` is named twice", shown(name));
                (message, Some("name every consumer once".to_owned()))
            });
        }
    }
}

fn check_targets(raw: &RawService, findings: &mut Findings) {
    let Some(Value::Names(names)) = raw.value("targets") else {
        return;
    };
    if names.is_empty() {
        findings.wrong(raw.span_of("targets"), raw.path("targets"), || {
            let message = "a composite without targets sends to nobody".to_owned();
            (message, Some("name at least one service".to_owned()))
        });
    }
}

/// Warns of services that share an endpoint: their messages arrive mixed.
pub(super) fn check_shared_endpoints<'r>(
    services: impl Iterator<Item = (&'r RawService, &'r ServiceConfig)>,
    findings: &mut Findings,
) {
    let mut first: HashMap<&Endpoint, &str> = HashMap::new();
    for (raw, config) in services {
        let Some(endpoint) = &config.endpoint else {
            continue;
        };
        let other = first.entry(endpoint).or_insert(&raw.name);
        if *other != raw.name {
            findings.odd(raw.span_of("endpoint"), raw.path("endpoint"), || {
                let message = format!("{} has the same endpoint", enumerated(&[*other], 1));
                let hint = "give each service its own, or use one name for both".to_owned();
                (message, Some(hint))
            });
        }
    }
}
