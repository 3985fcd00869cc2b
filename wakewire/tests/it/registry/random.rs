//! No text makes it panic, and every place lies in the text.

use proptest::prelude::*;
use wakewire::ServiceRegistry;
use wakewire::registry::Faults;

const SAMPLE: &str = "\u{feff}[services.md]\r\ntype = \"relay\"\r\nendpoint = \"/run/x.sock\"\r\nbuffer_size = 5\r\n\
    lazy = { jitter = 0.5, max_retries = 3 }\n[services.\"ü x\"]\ntype = \"composite\"\npattern = \"fanout\"\n\
    targets = [\"md\", \"b\"]\nmetadata = { password = \"p\" }\n[services.b.lazy]\njitter = nan\n";

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        check_faults(&text);
    }

    #[test]
    fn no_words_of_toml_make_it_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40)
    ) {
        check_faults(&words.concat());
    }

    #[test]
    fn no_slip_of_the_hand_makes_it_panic(
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<char>()), 1..8)
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (at, what, with) in slips {
            let at = at.index(text.len().max(1));
            if text.is_empty() {
                text.push(with);
            }
            match what {
                0 => { text.remove(at); }
                1 => text.insert(at, with),
                2 => text[at] = with,
                _ => text.truncate(at.max(1)),
            }
        }
        check_faults(&text.into_iter().collect::<String>());
    }
}

/// Whatever was read: places lie in the text, and what is shown is as long as what was written.
fn check_faults(text: &str) {
    let Err(error) = ServiceRegistry::from_toml(text) else {
        return;
    };
    let faults = error
        .failure()
        .source()
        .unwrap()
        .downcast_ref::<Faults>()
        .unwrap();
    assert_eq!(faults.text().len(), text.len());
    assert!(!faults.diagnostics().is_empty());
    for fault in faults.diagnostics() {
        assert!(
            fault.span.start <= text.len() && fault.span.start <= fault.span.end,
            "{fault:?}"
        );
        assert!(fault.line <= text.split('\n').count(), "{fault:?}");
        assert!(!fault.to_string().contains('\n'), "{fault:?}");
    }
}

const WORDS: &[&str] = &[
    "[services]",
    "[services.",
    "[[services]]",
    "services",
    "a",
    "b",
    "ü",
    "]",
    "\n",
    "\r\n",
    " = ",
    ".",
    "type",
    "\"relay\"",
    "\"direct\"",
    "\"composite\"",
    "endpoint",
    "\"tcp://h:1\"",
    "\"unix:///x\"",
    "targets",
    "[\"a\", \"b\"]",
    "pattern",
    "\"fanout\"",
    "lazy",
    "{",
    "}",
    ",",
    "jitter",
    "max_retries",
    "1e300",
    "nan",
    "-1",
    "9223372036854775807",
    "'",
    "\"",
    "\"\"\"",
    "#",
    "metadata",
    "password",
    "?",
    "@",
    "consumers",
    "[",
    "buffer_size",
    "=",
    "1979-05-27",
    "true",
    "\u{0}",
    "\u{feff}",
];
