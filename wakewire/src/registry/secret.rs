//! Overwriting what may be secret, so that a line of the file can be shown beside a fault. No I/O, no clock.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Returns the text with every value overwritten that stands behind a key like `password`, every user and
/// password in an endpoint, and every query in one. Nothing moves: each byte becomes one `*`.
pub(super) fn masked(text: &str, start: usize, document: &DeTable<'_>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut hide = |range: Range<usize>| {
        let end = range.end.min(bytes.len());
        for byte in &mut bytes[range.start.min(end)..end] {
            if !matches!(*byte, b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    };
    // As parsed, which also finds what goes over several lines.
    let mut open: Vec<_> = document.iter().map(|entry| (entry, false)).collect();
    while let Some(((key, value), within)) = open.pop() {
        let secret = within || is_secret(key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => open.extend(table.iter().map(|entry| (entry, secret))),
            _ if secret => hide(value.span().start + start..value.span().end + start),
            _ => {}
        }
    }
    // As written, which also finds what could not be parsed.
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, _)) = line.split_once('=')
            && is_secret(key)
        {
            hide(offset + key.len() + 1..offset + line.len());
        }
        for part in private_parts(line) {
            hide(offset + part.start..offset + part.end);
        }
        offset += line.len();
    }
    // Whole characters are overwritten or kept, so this is text again.
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Returns where in a line an endpoint says more than a place: before an `@`, behind a `?`.
fn private_parts(line: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    for (quote, _) in line.match_indices(['"', '\'']) {
        let rest = line.get(quote + 1..).unwrap_or_default();
        let text = rest.split(['"', '\'']).next().unwrap_or_default();
        let start = quote + 1;
        let host = text.find("://").map_or(0, |colon| colon + 3);
        if let Some(at) = text.rfind('@')
            && at > host
        {
            parts.push(start + host..start + at);
        }
        if let Some(question) = text.find('?')
            && host > 0
        {
            parts.push(start + question + 1..start + text.len());
        }
    }
    parts
}

/// Returns whether what stands behind a key of this name is better not shown.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.as_bytes();
    let is_here = |rest: &[u8]| {
        WORDS.iter().any(|word| {
            let part = rest.get(..word.len());
            part.is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    (0..key.len())
        .any(|at| BEGINS[usize::from(key[at].to_ascii_lowercase())] && is_here(&key[at..]))
}

const WORDS: &[&str] = &[
    "pass",
    "pasw", // as people slip
    "pwd",
    "secret",
    "token",
    "credential",
    "auth",
    "apikey",
    "api_key",
    "private",
];

/// Whether a word begins with this byte: most keys of a large file have only a few of these.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let mut index = 0;
    while index < WORDS.len() {
        begins[WORDS[index].as_bytes()[0] as usize] = true;
        index += 1;
    }
    begins
};

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        let (document, _) = DeTable::parse_recoverable(text);
        masked(text, 0, document.get_ref())
    }

    #[test]
    fn secrets_are_overwritten_and_nothing_moves() {
        for text in [
            "password = \"hunter2\"\nb = 1",
            "pasword = \"hunter2\"",
            "a = { password = 'hunter2' }",
            "a.metadata.api_key = \"\"\"x\nhunter2é\r\n\"\"\"\n",
            "password = \"hunter2\nb = 1",
            "password hunter3 = hunter2",
            "[passwords]\na = 'hunter2'",
            "endpoint = \"tcp://me:hunter2@host:1\"",
            "endpoint = \"me:hunter2@host:1\"",
            "endpoint = 'wss://host/?t=hunter2'",
        ] {
            let masked = mask(text);
            assert!(!masked.contains("hunter2"), "{masked}");
            assert_eq!(masked.len(), text.len());
            let ends = |text: &str| {
                text.match_indices('\n')
                    .map(|(at, _)| at)
                    .collect::<Vec<_>>()
            };
            assert_eq!(ends(&masked), ends(text));
        }
    }

    #[test]
    fn a_word_is_found_anywhere_in_a_key_and_in_any_case() {
        for key in [
            "PassWord",
            "x-API_key",
            "my_tokEN",
            "PWD",
            "oauth",
            "preprivate ",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["", "p", "type", "endpoint", "pas", "toke", "tpass"] {
            assert_eq!(is_secret(key), key == "tpass", "{key}");
        }
    }

    #[test]
    fn the_rest_stays_readable() {
        let text = "[services.md]\ntype = \"relay\"\nendpoint = \"unix:///run/md.sock\"\n";
        assert_eq!(mask(text), text);
    }
}
