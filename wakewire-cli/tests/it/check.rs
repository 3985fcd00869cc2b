//! `wakewire check` as it is called.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn check(folder: &TempDir, text: &str, arguments: &[&str]) -> (String, String, Option<i32>) {
    std::fs::write(folder.path().join("services.toml"), text).unwrap();
    read(command(folder.path()).arg("check").args(arguments))
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wakewire"));
    command.current_dir(folder).env_remove("WAKEWIRE_CONFIG");
    command
}

fn read(command: &mut Command) -> (String, String, Option<i32>) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

#[test]
fn a_sound_file_is_drawn_as_a_tree() {
    let folder = TempDir::new().unwrap();
    let text = r#"
[services.a]
type = "direct"
endpoint = "tcp://127.0.0.1:7000"
buffer_size = 5
metadata = { password = "hunter2" }
[services.b]
type = "direct"
endpoint = "wss://example.com/feed?token=hunter2"
[services.left]
type = "composite"
pattern = "failover"
targets = ["a", "b"]
[services.right]
type = "composite"
pattern = "round_robin"
targets = ["a"]
[services.all]
type = "composite"
pattern = "fanout"
targets = ["left", "right"]
"#;
    let (stdout, stderr, code) = check(&folder, text, &[]);
    let expected = "\
all  composite fanout
├─ left  composite failover
│  ├─ a  direct tcp://127.0.0.1:7000 at_least_once
│  │     buffer_size = 5
│  │     metadata = { password = \"***\" }
│  └─ b  direct wss://example.com:443/feed at_most_once
└─ right  composite round_robin
   └─ a  direct tcp://127.0.0.1:7000 at_least_once  (shown above)
";
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), code),
        (expected, "", Some(0))
    );
}

#[test]
fn every_fault_is_drawn_below_its_line() {
    let folder = TempDir::new().unwrap();
    let text = "[services.größe]\r\ntype = \"relai\"\r\nbuffer_sise = 5\r\n";
    let (stdout, stderr, code) = check(&folder, text, &[]);
    let expected = "\
error: services.\"größe\".type: `relai` is none of `relay`, `direct`, `composite`
";
    assert!(stderr.is_empty() || !stderr.contains('\u{1b}'), "{stderr}");
    assert_eq!((stdout.as_str(), code), ("", Some(2)), "{stderr}");
    // A name with an umlaut needs quotes, which TOML says first.
    assert!(stderr.contains("services.toml:1:"), "{stderr}");

    let (_, stderr, _) = check(&folder, &text.replace("größe", "\"größe\""), &[]);
    let expected = format!(
        "{expected} --> services.toml:2:8
  |
2 | type = \"relai\"
  |        ^^^^^^^
  |
  = help: did you mean `relay`?

error: services.\"größe\".buffer_sise: there is no key `buffer_sise`
 --> services.toml:3:1
  |
3 | buffer_sise = 5
  | ^^^^^^^^^^^
  |
  = help: did you mean `buffer_size`?

`services.toml` is refused for 2 errors
"
    );
    assert_eq!(stderr, expected);
}

#[test]
fn a_secret_on_a_faulty_line_is_not_shown() {
    let folder = TempDir::new().unwrap();
    let text = "[services.a]\ntype = \"direct\"\nendpoint = \"tcp://me:hunter2@h:1\"\npassword = \"hunter2\"\n";
    for arguments in [&[][..], &["--json"]] {
        let (stdout, stderr, code) = check(&folder, text, arguments);
        assert_eq!(code, Some(2));
        assert!(
            !stdout.contains("hunter2") && !stderr.contains("hunter2"),
            "{stdout}{stderr}"
        );
    }
}

#[test]
fn programs_get_json() {
    let folder = TempDir::new().unwrap();
    let (stdout, stderr, code) = check(&folder, "\u{feff}[services.a]\ntype = 5\n", &["--json"]);
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (value["valid"].as_bool(), stderr.as_str(), code),
        (Some(false), "", Some(2))
    );
    let fault = &value["diagnostics"][0];
    assert_eq!(
        (fault["line"].as_u64(), fault["column"].as_u64()),
        (Some(2), Some(8))
    );
    assert_eq!(
        (fault["start"].as_u64(), fault["end"].as_u64()),
        (Some(23), Some(24))
    );
    assert_eq!(fault["key"], "services.a.type");
}

#[test]
fn the_file_is_as_said_or_as_the_environment_says_or_the_one_here() {
    let folder = TempDir::new().unwrap();
    let service =
        |name| format!("[services.{name}]\ntype = \"direct\"\nendpoint = \"tcp://h:1\"\n");
    for name in ["said", "environment", "services"] {
        std::fs::write(folder.path().join(format!("{name}.toml")), service(name)).unwrap();
    }
    let mut here = command(folder.path());
    assert!(read(here.arg("check")).0.starts_with("services "));
    let mut environment = command(folder.path());
    environment.env("WAKEWIRE_CONFIG", "environment.toml");
    assert!(read(environment.arg("check")).0.starts_with("environment "));
    let said = environment.args(["--config", "said.toml"]);
    assert!(read(said).0.starts_with("said "));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let (stdout, stderr, code) = read(command(folder.path()).arg("check"));
    assert_eq!((stdout.as_str(), code), ("", Some(2)));
    assert!(
        stderr.contains("cannot read `services.toml`") && stderr.contains("help: create it"),
        "{stderr}"
    );
}

#[test]
fn long_lines_and_many_faults_are_reported_in_time() {
    let folder = TempDir::new().unwrap();
    let keys: Vec<_> = (0..5000).map(|at| format!("key{at} = 1")).collect();
    let text = format!("services = {{ a = {{ {} }} }}", keys.join(", "));
    let (_, stderr, code) = check(&folder, &text, &[]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("services.toml:1:18") && stderr.contains("and 4001 more"),
        "{stderr}"
    );
}
