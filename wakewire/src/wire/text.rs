//! Texts of a peer, as they may be shown: what it says must forge no line of a log and move no cursor of a terminal.
//! No I/O, no clock.

use minicbor::Decoder;
use minicbor::decode::Error;

/// Reads a text for people: whatever would not stay on its line is escaped, and the rest of a long one is left out.
pub(super) fn remark<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<String, Error> {
    let text = d.str()?;
    let mut shown = String::with_capacity(text.len().min(REMARK_BYTES));
    for c in text.chars() {
        if shown.len() >= REMARK_BYTES {
            shown.push('…');
            break;
        }
        if moves(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Ok(shown)
}

/// Says what is wrong with the name of a service or consumer.
pub(crate) fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.len() > NAME_BYTES {
        Some("the name has more than 255 bytes")
    } else if name.chars().any(moves) {
        Some("the name contains a control character")
    } else {
        None
    }
}

/// Reads a name, which may be empty.
pub(super) fn name<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<String, Error> {
    let name = d.str()?;
    match bad_name(name) {
        Some(fault) if !name.is_empty() => Err(Error::message(fault)),
        _ => Ok(name.to_owned()),
    }
}

/// Reads a name that may be missing.
pub(super) fn maybe_name<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Option<String>, Error> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    name(d, context).map(Some)
}

/// Whether it does something to a terminal other than being seen: control characters, and those that turn the
/// direction of what follows.
fn moves(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The longest name, in bytes: it fits well into a hello, and into a line.
const NAME_BYTES: usize = 255;

/// Enough for a sentence and a hint.
const REMARK_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::SessionId;
    use super::super::frame::Kind;
    use super::super::hello::{self, Code, Consumer, Hello, Limits, Reject, Start};
    use super::super::refusal::{Reason, Refusal};
    use super::REMARK_BYTES;

    const EVIL: &str = "no\n2026-01-01 INFO all is well \u{1b}[2J\u{202e}\u{9b}31m";

    fn encoded(value: &impl minicbor::Encode<()>) -> Vec<u8> {
        minicbor::to_vec(value).unwrap()
    }

    fn rejected(text: &str) -> String {
        let reject = Reject {
            code: Code::Busy,
            text: text.to_owned(),
            retry_after_ms: 0,
        };
        let read: Reject = hello::decode(Kind::Reject, &encoded(&reject)).unwrap();
        read.text
    }

    #[test]
    fn what_a_peer_says_stays_on_its_line() {
        let refusal = Refusal {
            reason: Reason::Failed,
            text: EVIL.to_owned(),
        };
        let read: Refusal = hello::decode(Kind::Failure, &encoded(&refusal)).unwrap();
        for text in [read.text, rejected(EVIL)] {
            let shown = r"no\n2026-01-01 INFO all is well \u{1b}[2J\u{202e}\u{9b}31m";
            assert_eq!(text, shown);
        }
        assert_eq!(rejected("it's \"fine\", 100 µs"), "it's \"fine\", 100 µs");
    }

    #[test]
    fn names_that_move_the_cursor_are_refused() {
        let hello = |service: &str, consumer: Option<&str>| {
            let hello = Hello {
                oldest: 1,
                newest: 1,
                service: service.to_owned(),
                limits: Limits {
                    frame: 1,
                    idle_ms: 0,
                    ping_ms: 0,
                },
                producer: None,
                consumer: Some(Consumer {
                    name: consumer.map(str::to_owned),
                    id: SessionId(7),
                    at_most_once: false,
                    start: Start::Owed,
                    positions: 0,
                }),
                requester: None,
                probe: None,
                credentials: None,
                offer: None,
            };
            let read = hello::decode::<Hello>(Kind::Hello, &encoded(&hello));
            read.map(|read| assert_eq!(read, hello))
        };
        for name in ["", "a", "märkte 1", &"x".repeat(255)] {
            assert_eq!(hello(name, None), Ok(()));
            assert_eq!(hello("", Some(name)), Ok(()));
        }
        for name in ["a\nb", "\u{1b}[2J", "\u{202e}", &"x".repeat(256)] {
            assert!(hello(name, None).is_err(), "{name:?}");
            assert!(hello("", Some(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let most = "x".repeat(REMARK_BYTES);
        assert_eq!(rejected(&most), most);
        assert_eq!(rejected(&format!("{most}y")), format!("{most}…"));
        assert!(rejected(&"\n".repeat(4000)).len() <= REMARK_BYTES + 10);
    }
}
