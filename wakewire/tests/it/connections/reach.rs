//! The properties of M37 that are about reaching a node: (1) whoever can be reached is, (7) over the best protocol.

use proptest::prelude::*;
use wakewire::connection::{
    Connection, ConnectionConfig, ConnectionManager, ConnectionSettings, PoolConfig, RetryConfig,
};
use wakewire::source::serve;
use wakewire::{Message, Password, Security, SinkError, TlsMode};

use super::properties::runtime;
use super::{LONG, asked};
use crate::support::{Place, soon};
use crate::tls::negotiation::Tap;
use crate::tls::{Authority, free_port, with_mode};

/// How the node is named.
#[derive(Clone, Copy, Debug)]
enum Form {
    UnixUrl,
    UnixPath,
    Address,
    Name,
    Url,
    Encrypted,
    EncryptedUrl,
}

fn any_form() -> impl Strategy<Value = Form> {
    use Form::{Address, Encrypted, EncryptedUrl, Name, UnixPath, UnixUrl, Url};
    prop::sample::select(vec![
        UnixUrl,
        UnixPath,
        Address,
        Name,
        Url,
        Encrypted,
        EncryptedUrl,
    ])
}

prop_compose! {
    fn any_pool()(max_connections in 1_usize..9)(
        max_connections in Just(max_connections),
        min_connections in 0..=max_connections,
        connection_timeout_ms in 5000_u64..60_000,
        idle_timeout_ms in 1_u64..100_000,
        max_lifetime_ms in 1_u64..10_000_000,
    ) -> PoolConfig {
        PoolConfig { min_connections, max_connections, connection_timeout_ms, idle_timeout_ms, max_lifetime_ms }
    }
}

prop_compose! {
    fn any_retry()(
        max_retries in 0_u32..1000,
        initial_backoff_ms in 1_u64..10_000,
        more in 0_u64..10_000,
        backoff_multiplier in 1.0..100.0,
    ) -> RetryConfig {
        RetryConfig { max_retries, initial_backoff_ms, max_backoff_ms: initial_backoff_ms + more, backoff_multiplier }
    }
}

/// M37 (1): any valid configuration with a host that can be reached connects; hosts that cannot are passed over.
#[test]
fn any_valid_configuration_with_a_reachable_host_connects() {
    let runtime = runtime();
    let authority = Authority::new();
    let security = authority.security_with(&authority.here("server"));
    let with_user = |security: Security| Security {
        username: Some("desk".to_owned()),
        password: Some(Password::from("secret".to_owned())),
        ..security
    };
    let place = Place::new();
    let unix = place.path().join("s.sock").display().to_string();
    let (clear, encrypted) = (free_port(), free_port());
    let start = |url: String, security: Security| {
        let server = serve(url.as_str(), |request| async move {
            let text = request.peer().identity().len() as u64;
            Ok(Message::new(text.to_le_bytes().to_vec()))
        });
        runtime
            .block_on(server.with_security(security).start())
            .unwrap()
    };
    let servers = [
        start(format!("unix://{unix}"), with_user(Security::default())),
        start(format!("tcp://127.0.0.1:{clear}"), Security::default()),
        start(
            format!("tls://127.0.0.1:{encrypted}"),
            with_user(security.clone()),
        ),
    ];
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    proptest!(config, |(
        form in any_form(),
        pool_config in any_pool(),
        retry_config in any_retry(),
        timeout_ms in 5000_u64..60_000,
        dead in 0_usize..3,
        at in 0_usize..3,
    )| {
        let is_encrypted = matches!(form, Form::Encrypted | Form::EncryptedUrl);
        let knows_us = is_encrypted || matches!(form, Form::UnixUrl | Form::UnixPath);
        let mut hosts: Vec<_> = (0..dead).map(|n| match (knows_us, n) {
            (true, 0) => place.path().join("nobody").display().to_string(),
            (true, _) if !is_encrypted => place.path().join("nobody else").display().to_string(),
            (_, _) => format!("127.0.0.1:{}", free_port()),
        }).collect();
        hosts.insert(at.min(dead), match form {
            Form::UnixUrl => format!("unix://{unix}"),
            Form::UnixPath => unix.clone(),
            Form::Address => format!("127.0.0.1:{clear}"),
            Form::Name => format!("localhost:{clear}"),
            Form::Url => format!("tcp://127.0.0.1:{clear}"),
            Form::Encrypted => format!("127.0.0.1:{encrypted}"),
            Form::EncryptedUrl => format!("tls://localhost:{encrypted}"),
        });
        let config = ConnectionConfig {
            hosts,
            username: knows_us.then(|| "desk".to_owned()),
            password: knows_us.then(|| "secret".into()),
            enable_tls: is_encrypted,
            timeout_ms,
            ca: is_encrypted.then(|| authority.ca()),
            pool_config,
            retry_config,
            ..ConnectionConfig::default()
        };
        config.validate().unwrap();
        runtime.block_on(async {
            let manager = ConnectionManager::new(&config).unwrap();
            drop(soon(manager.get_connection()).await.unwrap());
            for _ in 0..3 {
                asked(&manager, "x").await.unwrap();
            }
            assert!(manager.disconnect(LONG).await.finished, "{config:?}");
        });
    });
    runtime.block_on(async {
        for server in servers {
            server.close(LONG).await;
        }
    });
}

/// M37 (7): over `tcp` the highest protocol is chosen that both sides speak, and nothing at all below the floor of
/// either; seen by somebody who listens on the way.
#[test]
fn the_highest_common_protocol_is_chosen() {
    let runtime = runtime();
    let authority = Authority::new();
    let (with_cert, without) = (
        authority.security_with(&authority.here("server")),
        authority.security(),
    );
    let modes = || prop::sample::select(vec![TlsMode::Off, TlsMode::Prefer, TlsMode::Require]);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    proptest!(config, |(listens in modes(), dials in modes(), has_cert in any::<bool>())| {
        let security = if has_cert { &with_cert } else { &without };
        runtime.block_on(async {
            let port = free_port();
            let server = serve(format!("tcp://127.0.0.1:{port}").as_str(), |request| async move { Ok(request.message) });
            let server = server.with_security(with_mode(security.clone(), listens)).start().await;
            let server = match server {
                Ok(server) => server,
                // It could let nobody in.
                Err(error) => return assert!(listens == TlsMode::Require && !has_cert, "{error}"),
            };
            let tap = Tap::start(port).await;
            let settings = ConnectionSettings {
                security: with_mode(without.clone(), dials),
                ..ConnectionSettings::default()
            };
            let opened = soon(Connection::open(format!("tcp://127.0.0.1:{}", tap.port), settings)).await;
            let can = (listens != TlsMode::Off && has_cert, dials != TlsMode::Off);
            let must = listens == TlsMode::Require || dials == TlsMode::Require;
            let secret = "c4nary";
            match opened {
                Ok(connection) => {
                    soon(connection.send_request(Message::new(secret))).await.unwrap();
                    assert!(can == (true, true) || !must, "{listens:?} {dials:?} {has_cert}");
                    assert_eq!(tap.has_heard(secret), can != (true, true), "{listens:?} {dials:?} {has_cert}");
                }
                Err(error) => {
                    assert!(must && can != (true, true), "{listens:?} {dials:?} {has_cert}: {error}");
                    assert!(matches!(error, SinkError::Protocol(_) | SinkError::Unauthorized(_) | SinkError::InvalidConfig(_)), "{error}");
                }
            }
            drop(server);
        });
    });
}
