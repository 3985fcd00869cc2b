//! Services with a password and with users, from services.toml alone; and no command says a password.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{CANARY, Place};

/// Runs a command that has the password in its environment; returns all that it says.
fn said(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_wakewire"))
        .args(arguments)
        .current_dir(place.path(""))
        .env_remove("WAKEWIRE_CONFIG")
        .env("RUST_LOG", "trace")
        .env("FEED_PASSWORD", CANARY)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout) + &text(stderr))
}

/// A service at the place's socket that finds its password there.
fn config(place: &Place, kind: &str, source: &str) -> String {
    let socket = place.path("ticks.sock");
    let text = format!(
        "[services.ticks]\ntype = '{kind}'\nendpoint = 'unix://{}'\nusername = 'feed'\n{source}\n\
         allow_uids = [{}]\nmax_connections = 5\n\
         lazy = {{ retry_delay_ms = 20, max_retry_delay_secs = 0.2 }}\n",
        socket.display(),
        rustix::process::geteuid().as_raw(),
    );
    place.file(&format!("{kind}-{}.toml", source.len()), text.as_bytes())
}

fn file_source(place: &Place, password: &str, name: &str) -> String {
    let path = place.file(name, format!("{password}\n").as_bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let only_ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(Path::new(&path), only_ours).unwrap();
    }
    format!("password_file = '{path}'")
}

#[test]
fn who_knows_the_password_is_let_in_and_nobody_else() {
    for kind in ["direct", "relay"] {
        let place = Place::unix(kind, "");
        let listening = config(&place, kind, &file_source(&place, CANARY, "password"));
        let knows = config(&place, kind, "password_env = 'FEED_PASSWORD'");
        let guesses = config(
            &place,
            kind,
            &file_source(&place, "guessed", "another-guess"),
        );
        let input = place.file("input", b"one\ntwo\n");
        let relay = (kind == "relay").then(|| {
            let relay = place.start(&["-vv", "relay", "ticks", "--config", &listening]);
            relay.says("relay listens");
            relay
        });
        let listen = [
            "-vv", "listen", "ticks", "--count", "2", "--config", &listening,
        ];
        let listener = place.start(&listen);

        let send = ["send", "ticks", "--input", &input, "--config"];
        let (code, guess) = said(
            &place,
            &[&send[..], &[&guesses, "--deadline", "2s"]].concat(),
        );
        assert_eq!(code, Some(1), "{guess}");
        assert!(
            guess.contains("`ticks` demands a user and a password"),
            "{guess}"
        );
        assert!(
            guess.contains("compare user, password and certificates"),
            "{guess}"
        );
        let (code, sent) = said(&place, &[&send[..], &[&knows]].concat());
        assert_eq!(code, Some(0), "{sent}");
        let listened = listener.end().expect(0);
        assert_eq!(listened.stdout, b"one\ntwo\n");

        let relayed = relay.map(|relay| relay.terminate().expect(0).stderr);
        for text in [guess, sent, listened.stderr, relayed.unwrap_or_default()] {
            assert!(
                !text.contains(CANARY) && !text.contains("guessed"),
                "{text}"
            );
        }
    }
}

#[test]
fn check_shows_how_a_service_is_protected_and_no_password() {
    let place = Place::unix("direct", "");
    let sound = config(&place, "direct", "password_env = 'FEED_PASSWORD'");
    let (code, drawn) = said(&place, &["check", "--config", &sound]);
    assert_eq!(code, Some(0), "{drawn}");
    for line in [
        "username = \"feed\"",
        "password_env = \"FEED_PASSWORD\"",
        "allow_uids = [",
        "max_connections = 5",
    ] {
        assert!(drawn.contains(line), "no `{line}`: {drawn}");
    }
    let mut all = drawn;
    for source in [
        format!("password = '{CANARY}'"),
        format!("password_env = '{CANARY}'"),
        format!("password_file = '{CANARY}'"),
        format!("pasword = \"\"\"{CANARY}\"\"\""),
        format!("password_env = ['{CANARY}'"),
    ] {
        let wrong = config(&place, "direct", &source);
        for further in [&[][..], &["--json"]] {
            let (code, refused) = said(&place, &[&["check", "--config", &wrong], further].concat());
            assert_eq!(code, Some(2), "{refused}");
            all += &refused;
        }
        for command in ["send", "listen"] {
            let (code, refused) = said(&place, &[command, "ticks", "--config", &wrong]);
            assert_eq!(code, Some(2), "{refused}");
            all += &refused;
        }
    }
    assert!(all.contains("this file holds no password") && all.contains("\"valid\": false"));
    assert!(!all.contains(CANARY), "{all}");
}
