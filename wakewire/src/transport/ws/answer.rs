//! What a dialer makes of the answer to its request (RFC 6455 §4.1). No I/O, no clock.

use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName};
use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;

use super::{MOST_HEADERS, SUBPROTOCOL};
use crate::endpoint::Authority;
use crate::error::Phase;
use crate::transport::unreached::Unreached;

/// Writes a request for `path`, with the key that the answer is to prove.
pub(super) fn request(
    authority: &Authority,
    default_port: u16,
    path: &str,
    key: &str,
) -> Result<String, Unreached> {
    if PathAndQuery::try_from(path).is_err() || !path.is_ascii() || path.contains('#') {
        let cause = format!("`{path}` cannot be asked for");
        return Err(Unreached::misconfigured(Phase::Handshake, cause)
            .hint("write the path of the endpoint percent-encoded"));
    }
    let mut host = authority.to_string();
    if authority.port == default_port {
        // As browsers write it; some servers compare.
        host.truncate(host.rfind(':').unwrap_or(host.len()));
    }
    Ok(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ))
}

/// Reads the answer; returns whether the peer speaks wakewire.
pub(super) fn is_peer(head: &[u8], path: &str, key: &str) -> Result<bool, Unreached> {
    let foreign = |what: String| Unreached::foreign(Phase::Handshake, what);
    let response = match Response::try_parse(head) {
        Ok(Some((_, response))) => response,
        Ok(None) => return Err(foreign("its answer is cut off".to_owned())),
        Err(error) => return Err(foreign(format!("its answer is no HTTP: {error}"))),
    };
    let headers = response.headers();
    if headers.len() > MOST_HEADERS {
        let what = format!("its answer has more than {MOST_HEADERS} headers");
        return Err(foreign(what));
    }
    let says = |name: HeaderName| headers.get(name).map(|value| shown(value.as_bytes()));
    if response.status() != 101 {
        let status = response.status();
        return Err(refused(
            status.as_u16(),
            &status.to_string(),
            path,
            says(header::LOCATION),
        ));
    }
    if says(header::SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes())) {
        let what = "its answer does not prove that it understood the request";
        return Err(foreign(what.to_owned()));
    }
    if says(header::SEC_WEBSOCKET_EXTENSIONS).is_some() {
        let what = "it wants extensions of WebSocket that were not offered";
        return Err(foreign(what.to_owned()));
    }
    match says(header::SEC_WEBSOCKET_PROTOCOL) {
        None => Ok(false),
        Some(name) if name == SUBPROTOCOL => Ok(true),
        Some(name) => Err(foreign(format!(
            "it speaks `{name}`, which was not offered"
        ))),
    }
}

/// Says what a server's refusal means, and what to do about it.
fn refused(code: u16, status: &str, path: &str, location: Option<String>) -> Unreached {
    let phase = Phase::Handshake;
    let answers = format!("the server answers {status} to the request for `{path}`");
    match code {
        300..=399 => {
            let hint = match location {
                Some(location) => format!("it points to `{location}`: make that the endpoint"),
                None => "it points elsewhere: ask where its endpoint is".to_owned(),
            };
            Unreached::foreign(phase, answers).hint(hint)
        }
        401 | 403 | 407 => Unreached::unauthorized(phase, answers)
            .hint("the server does not let us in: compare with its rules who may connect"),
        404 | 410 => Unreached::foreign(phase, answers)
            .hint("correct the path of the endpoint: nothing is served at this one"),
        408 | 429 | 500.. => Unreached::for_now(phase, answers)
            .hint("the server cannot serve it now; it is tried again"),
        _ => Unreached::foreign(phase, answers)
            .hint("is a WebSocket served at this path, and not a web page?"),
    }
}

/// Makes a peer's word fit to be shown.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars()
        .take(MOST_SHOWN)
        .flat_map(char::escape_debug)
        .collect()
}

/// Longer than any sound value.
const MOST_SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Failure, SinkError};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn error(answer: &str) -> SinkError {
        is_peer(answer.as_bytes(), "/feed", KEY)
            .unwrap_err()
            .error(Failure::new("ticks"))
    }

    #[test]
    fn the_subprotocol_says_who_it_is() {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}");
        let ends = |further: &str| format!("{answer}{further}\r\n");
        let judge = |answer: &str| is_peer(answer.as_bytes(), "/", KEY);
        assert!(judge(&ends("Sec-WebSocket-Protocol: wakewire.1\r\n")).unwrap());
        assert!(!judge(&ends("")).unwrap());
        assert!(judge(&ends("Sec-WebSocket-Protocol: chat\r\n")).is_err());
        assert!(judge(&ends("Sec-WebSocket-Extensions: permessage-deflate\r\n")).is_err());
        assert!(is_peer(ends("").as_bytes(), "/", "another").is_err());
    }

    #[test]
    fn each_refusal_says_its_status_and_what_to_do() {
        for (answer, permanent, words) in [
            ("404 Not Found\r\n", true, "correct the path"),
            ("401 Unauthorized\r\n", true, "does not let us in"),
            ("403 Forbidden\r\n", true, "does not let us in"),
            ("200 OK\r\n", true, "not a web page"),
            ("503 Service Unavailable\r\n", false, "tried again"),
            ("429 Too Many Requests\r\n", false, "tried again"),
            (
                "301 Moved Permanently\r\nLocation: wss://other/\r\n",
                true,
                "`wss://other/`",
            ),
        ] {
            let error = error(&format!("HTTP/1.1 {answer}\r\n"));
            let text = error.to_string();
            let status = answer.split("\r\n").next().unwrap();
            assert!(text.contains(status) && text.contains("`/feed`"), "{text}");
            assert!(text.contains(words), "{text}");
            assert_eq!(error.is_permanent(), permanent, "{text}");
        }
        let text = error("HTTP/1.1 302 Found\r\nLocation: \x7f\u{1b}[2J\r\n\r\n").to_string();
        assert!(
            !text.contains('\u{1b}') && !text.contains('\x7f'),
            "{text:?}"
        );
    }

    #[test]
    fn a_request_names_the_host_as_others_do() {
        let at = |host: &str, port| Authority {
            host: host.to_owned(),
            port,
        };
        let host = |authority: &Authority| {
            let text = request(authority, 443, "/a?b=c", KEY).unwrap();
            assert!(text.starts_with("GET /a?b=c HTTP/1.1\r\n"));
            text.lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(host(&at("h", 443)), "Host: h");
        assert_eq!(host(&at("::1", 443)), "Host: [::1]");
        assert_eq!(host(&at("h", 80)), "Host: h:80");
        for path in ["/a b", "/a#b", "/é"] {
            let error = request(&at("h", 80), 80, path, KEY).unwrap_err();
            let error = error.error(Failure::new("x"));
            assert!(matches!(error, SinkError::InvalidConfig(_)), "{path}");
        }
    }
}
