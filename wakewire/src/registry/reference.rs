//! The reference in `docs` and the example at the root say what the code does.

use std::path::Path;

use super::keys::{KEYS, Key, LAZY_PREFIX, Shape};
use super::{CompositePattern, ServiceConfig, ServiceRegistry};

fn at_root(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// Returns the first four cells of the row that the reference should have for a key.
fn row(key: &Key) -> [String; 4] {
    let endpoint = "tcp://localhost:7000".parse().unwrap();
    let settings = ServiceConfig::relay(endpoint).settings();
    let default = settings.iter().find(|(name, _)| *name == key.name);
    let default = match (key.required, default) {
        (true, _) => "required".to_owned(),
        (false, Some((_, Some(value)))) => format!("`{value}`"),
        (false, Some((_, None))) => "none".to_owned(),
        (false, None) => {
            let same = key.name.replace("reconnect", "retry");
            format!("as `{LAZY_PREFIX}{same}`")
        }
    };
    [
        format!("`{}`", key.name),
        key.on.join(", "),
        key.shape.expected(),
        default,
    ]
}

#[test]
fn the_reference_lists_every_key_as_the_parser_knows_it() {
    let reference = at_root("docs/services-toml.md");
    let rows: Vec<Vec<&str>> = reference
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    for (key, cells) in KEYS.iter().zip(&rows) {
        let expected = row(key);
        assert_eq!(cells.len(), 5, "{cells:?}");
        assert_eq!(cells[..3], expected[..3], "{}", key.name);
        // Behind the default may stand where it differs.
        assert!(
            cells[3].starts_with(&expected[3]),
            "{}: {}",
            key.name,
            expected[3]
        );
        assert!(!cells[4].is_empty(), "{}: no reason", key.name);
    }
    assert_eq!(rows.len(), KEYS.len());
}

#[test]
fn the_examples_in_the_reference_load() {
    let reference = at_root("docs/services-toml.md");
    let examples: Vec<_> = reference.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let example = example.split("```").next().unwrap();
        ServiceRegistry::from_toml(example).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_example_at_the_root_loads_and_shows_every_key_and_its_default() {
    let text = at_root("services.toml");
    let registry = ServiceRegistry::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
    let warnings: Vec<_> = registry
        .warnings()
        .iter()
        .map(ToString::to_string)
        .collect();
    // The files of its certificates are nobody's.
    let files = |warning: &&String| warning.contains("there is no such file");
    assert_eq!(warnings.iter().find(|warning| !files(warning)), None);
    for key in KEYS {
        let name = key.name.strip_prefix(LAZY_PREFIX).unwrap_or(key.name);
        let written = text
            .lines()
            .any(|line| line.starts_with(&format!("{name} = ")));
        assert!(written, "{} is not shown", key.name);
    }
    let shown = registry.lookup("market_data_relay").unwrap();
    let keys: Vec<_> = shown
        .settings_that_differ()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    // Those that say themselves that they have no default, and the one that means more once it is written.
    let differ = ["domain", "consumers", "consumer_deadline_secs", "metadata"];
    assert_eq!(keys, differ);
}

#[test]
fn every_key_that_is_taken_changes_something() {
    for key in KEYS {
        let value = match &key.shape {
            Shape::Word(words) => format!("{:?}", words[usize::from(key.name == "delivery")]),
            Shape::Names => "[\"x\"]".to_owned(),
            Shape::Whole { least, .. } => (least + 1).to_string(),
            Shape::Decimal { most, .. } => most.to_string(),
            Shape::Flag => "false".to_owned(),
            Shape::Strings => "{ a = \"b\" }".to_owned(),
            Shape::Path => "\"/etc/x.pem\"".to_owned(),
            Shape::Name | Shape::Variable => "\"x\"".to_owned(),
            Shape::Uids => "[0, 4294967294]".to_owned(),
            Shape::Endpoint => continue,
        };
        let value = match key.name {
            "type" | "pattern" | "targets" => continue,
            "when_full" => "\"reject\"".to_owned(),
            "without_consumers" => "\"accept\"".to_owned(),
            _ => value,
        };
        // Some are taken in company only.
        let (endpoint, company) = match key.name {
            "allow_uids" => ("unix:///tmp/x.sock", ""),
            "fsync" => (TCP, "spool = '/tmp'"),
            "cert" => (TCP, "key = '/k'"),
            "key" => (TCP, "cert = '/c'"),
            "client_ca" => (TCP, "tls = 'require'\ncert = '/c'\nkey = '/k'"),
            "username" => (TCP, "tls = 'require'\npassword_env = 'P'"),
            "password_env" | "password_file" => (TCP, "tls = 'require'\nusername = 'u'"),
            _ => (TCP, ""),
        };
        let text = format!(
            "[services.a]\ntype = 'relay'\nendpoint = '{endpoint}'\n{} = {value}\n{company}",
            key.name
        );
        let registry = ServiceRegistry::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
        let settings = registry.lookup("a").unwrap().settings();
        let plain = ServiceConfig::relay(endpoint.parse().unwrap()).settings();
        assert_eq!(settings.len(), plain.len());
        // A short key has no setting of its own.
        let own =
            |(name, _): &&(&str, _)| *name == key.name || !plain.iter().any(|p| p.0 == key.name);
        let differ = (settings.iter().filter(own)).ne(plain.iter().filter(own));
        assert!(differ, "{} = {value} changes nothing", key.name);
        // What is written out is read again as the same.
        if let Some((_, Some(written))) = settings.iter().find(|setting| setting.0 == key.name) {
            let again = text.replace(
                &format!("{} = {value}", key.name),
                &format!("{} = {written}", key.name),
            );
            let again =
                ServiceRegistry::from_toml(&again).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again.config(), registry.config());
        }
    }
    let all = ServiceConfig::composite(CompositePattern::Failover, ["x"]).settings();
    assert_eq!(all[1], ("pattern", Some("\"failover\"".to_owned())));
    assert_eq!(all[2], ("targets", Some("[\"x\"]".to_owned())));
}

const TCP: &str = "tcp://localhost:7000";
