//! A password is in no output: it is looked for in all that the registry, and what is made of it, can say.

use std::fmt::Debug;
use std::process::Command;
use std::time::Duration;

use wakewire::registry::Faults;
use wakewire::{
    Credentials, DirectSink, Message, MessageSink, Password, RelaySink, Security, ServiceConfig,
    ServiceRegistry, ServicesConfig, SinkError, SinkFactory,
};

use crate::support::factory_of;

const CANARY: &str = "s3cr3t-canary";

/// A process of its own: it has the password in its environment, and all that it says is read.
#[test]
fn no_output_of_the_registry_holds_a_password() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), format!("{CANARY}\n")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "registry::canary::everything_is_said",
            "--nocapture",
        ])
        .env("WAKEWIRE_CANARY", CANARY)
        .env("WAKEWIRE_TEST_LOG", "1")
        .env("WAKEWIRE_CANARY_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // It has said what it should, and known the password while it did.
    for part in [
        "all was said",
        "username: Some(\"feed\")",
        "`chmod 600`",
        "demands a user and a password",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    let line = said.lines().find(|line| line.contains(CANARY));
    assert_eq!(line, None);
}

#[tokio::test]
async fn everything_is_said() {
    // Only as the process above.
    let (Ok(password), Ok(folder)) = (
        std::env::var("WAKEWIRE_CANARY"),
        std::env::var("WAKEWIRE_CANARY_FOLDER"),
    ) else {
        return;
    };
    crate::support::log();
    read_rightly(&folder);
    read_wrongly(&password);
    made(&password);
    talked(&password, &folder).await;
    print("all was said");
}

fn say(what: &(impl Debug + ?Sized)) {
    print(&format!("{what:?}\n{what:#?}"));
}

#[expect(
    clippy::print_stdout,
    reason = "the process that started this one reads it"
)]
fn print(text: &str) {
    println!("{text}");
}

fn say_error(error: &SinkError) {
    print(&format!("{error}\n{error:#}"));
    say(error);
    if let Some(faults) = error
        .failure()
        .source()
        .and_then(|cause| cause.downcast_ref::<Faults>())
    {
        print(&format!("{faults}\n{}", faults.text()));
        say(faults);
    }
}

fn sources(folder: &str) -> [String; 2] {
    [
        "password_env = 'WAKEWIRE_CANARY'".to_owned(),
        format!("password_file = '{folder}/password'"),
    ]
}

fn read_rightly(folder: &str) {
    for source in sources(folder) {
        let text = format!(
            "[services.a]\ntype = 'relay'\nendpoint = 'unix://{folder}/a.sock'\nusername = 'feed'\n{source}\n"
        );
        let registry = ServiceRegistry::from_toml(&text).unwrap();
        say(&registry);
        say(registry.warnings());
        print(registry.text());
        say(&registry.config().services["a"].settings());
        say(&registry.config().services["a"].settings_that_differ());
        say(&SinkFactory::from_registry(registry));
    }
}

fn read_wrongly(password: &str) {
    for line in [
        format!("password = '{password}'"),
        format!("password = ['{password}']"),
        format!("password_env = '{password}'"),
        format!("password_file = '{password}'"),
        format!("password_env = {{ x = '{password}' }}"),
        format!("pasword = '{password}'"),
        format!("password_file = '{password}"),
        format!("lazy = {{ password = '{password}' }}"),
    ] {
        for endpoint in ["tcp://h:1".to_owned(), format!("tcp://feed:{password}@h:1")] {
            let text = format!(
                "[services.a]\ntype = 'direct'\nendpoint = '{endpoint}'\nusername = 'feed'\n{line}\n"
            );
            say_error(&ServiceRegistry::from_toml(&text).unwrap_err());
            say_error(&SinkFactory::from_config_str(&text).unwrap_err());
        }
    }
}

fn made(password: &str) {
    let security = given(password);
    say(&security);
    say(&security.password);
    say(&Credentials::new("feed", password));
    for endpoint in ["unix:///tmp/x.sock", "tcp://h:1", "udp://h:1"] {
        let config = ServiceConfig {
            security: security.clone(),
            ..ServiceConfig::direct(endpoint.parse().unwrap())
        };
        say(&config);
        say(&config.settings());
        say(&config.settings_that_differ());
        if let Err(error) = config.validate("a") {
            say_error(&error);
        }
        let mut all = ServicesConfig::default();
        all.services.insert("a".to_owned(), config);
        say(&all);
    }
}

fn given(password: &str) -> Security {
    Security {
        username: Some("feed".to_owned()),
        password: Some(Password::from(password.to_owned())),
        ..Security::default()
    }
}

/// A listener that knows another password than those who come, and one that is known to nobody else.
async fn talked(password: &str, folder: &str) {
    let endpoint = format!("unix://{folder}/talk.sock");
    let ends = [
        (format!("{password}-other"), password),
        (password.to_owned(), "wrong"),
    ];
    for (demanded, shown) in ends {
        let listening = factory_of(ServiceConfig {
            security: given(&demanded),
            ..ServiceConfig::direct(endpoint.parse().unwrap())
        });
        let mut source = listening.create_source("talk").await.unwrap();
        say(&source);
        let receiver =
            tokio::spawn(async move { source.recv().await.map(|message| message.is_none()) });
        let direct = DirectSink::secured(&endpoint, given(shown)).unwrap();
        let error = direct.connect().await.unwrap_err();
        assert!(matches!(error, SinkError::Unauthorized(_)), "{error:?}");
        say_error(&error);
        let relay = RelaySink::secured(&endpoint, 10, given(shown)).unwrap();
        relay.send(Message::new("x")).await.unwrap();
        for sink in [&direct as &dyn MessageSink, &relay] {
            say(&sink.metadata());
            say(&sink.close(Duration::from_millis(200)).await.unwrap());
        }
        say(&direct);
        say(&relay);
        say(&listening);
        listening.close(Duration::from_secs(5)).await;
        assert!(receiver.await.unwrap().unwrap(), "somebody got in");
    }
    // Where others could read it, nothing is opened.
    let error = DirectSink::secured("tcp://127.0.0.1:9", given(password)).unwrap_err();
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
    say_error(&error);
}
