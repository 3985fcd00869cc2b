//! What a listener makes of the request that opens a WebSocket (RFC 6455 §4.2). No I/O, no clock.

use core::net::IpAddr;

use data_encoding::BASE64;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{MOST_HEADERS, SUBPROTOCOL};
use crate::security::Credentials;

/// Who wants to come in.
#[derive(Debug)]
pub(super) enum Guest {
    /// Somebody who speaks wakewire.
    Peer,
    /// Somebody who does not.
    Foreign {
        /// It wants to be sent messages rather than to send them.
        consumes: bool,
        credentials: Option<Credentials>,
    },
}

/// Why somebody may not come in.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    /// Writes the answer.
    pub(super) fn response(&self) -> String {
        let Self { status, text } = self;
        let upgrade = if *status == StatusCode::UPGRADE_REQUIRED {
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{text}\n",
            text.len() + 1
        )
    }
}

/// What is served, and how it is reached.
pub(super) struct Site<'e> {
    pub(super) host: &'e str,
    pub(super) path: &'e str,
    pub(super) is_private: bool,
}

/// Reads a request for this site; returns who it is and the answer that lets it in.
pub(super) fn admit(head: &[u8], site: &Site<'_>) -> Result<(Guest, Vec<u8>), Refusal> {
    let request = parse(head)?;
    let headers = request.headers();
    let (served, _) = split(site.path);
    if request.uri().path() != served {
        let text = format!("nothing is served here, only at {served}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, text));
    }
    if !is_same_origin(headers, site.host) {
        let text = "pages of other sites may not open connections here";
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    let mut response = create_response(&request).map_err(refusal)?;
    let guest = if offers_wakewire(headers) {
        let name = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        Guest::Peer
    } else {
        Guest::Foreign {
            consumes: consumes(request.uri().query())?,
            // Who sends a password in the clear is not to think that it was good for anything.
            credentials: credentials(headers).filter(|_| site.is_private),
        }
    };
    let mut answer = Vec::new();
    write_response(&mut answer, &response).map_err(refusal)?;
    Ok((guest, answer))
}

fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let request = match Request::try_parse(head) {
        Ok(Some((_, request))) => request,
        Ok(None) => {
            let text = "the request is cut off";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
        Err(error) => return Err(refusal(error)),
    };
    if request.headers().len() > MOST_HEADERS {
        return Err(refusal(CapacityError::TooManyHeaders.into()));
    }
    Ok(request)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn refusal(error: Error) -> Refusal {
    let status = match error {
        Error::Capacity(CapacityError::TooManyHeaders) => {
            let text = format!("the request has more than {MOST_HEADERS} headers");
            return Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text);
        }
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        Error::Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(
        status,
        format!("this is a WebSocket, RFC 6455 version 13: {error}"),
    )
}

/// A browser says for which site it asks, and would let any page talk to a listener on this machine. Being the same
/// as `Host` is not enough: a page may have its own name lead here (DNS rebinding), so the name must be ours.
fn is_same_origin(headers: &HeaderMap, ours: &str) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (Some(authority), Some(host)) = (authority, host) else {
        return false;
    };
    let name = name_of(host);
    let is_ours = name.parse::<IpAddr>().is_ok()
        || [ours, "localhost"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
    is_ours && authority.eq_ignore_ascii_case(host)
}

/// Leaves the port out, and the brackets of an IPv6 address.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name)
}

fn offers_wakewire(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == SUBPROTOCOL)
}

/// Reads `role` of a query.
fn consumes(query: Option<&str>) -> Result<bool, Refusal> {
    let role = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("role="));
    match role {
        None | Some("producer") => Ok(false),
        Some("consumer") => Ok(true),
        Some(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "`role` is `producer` or `consumer`",
        )),
    }
}

/// Reads `Authorization: Basic` (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim().as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials::new(username, password))
}

/// Cuts an endpoint's path and its query apart.
fn split(path: &str) -> (&str, &str) {
    path.split_once('?').unwrap_or((path, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, further: &str) -> Vec<u8> {
        format!(
            "GET {target} HTTP/1.1\r\nHost: here:7000\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
        )
        .into_bytes()
    }

    fn admitted(head: &[u8], path: &str, is_private: bool) -> Result<(Guest, Vec<u8>), Refusal> {
        let site = Site {
            host: "here",
            path,
            is_private,
        };
        admit(head, &site)
    }

    fn status(head: &[u8]) -> u16 {
        admitted(head, "/feed", true).unwrap_err().status.as_u16()
    }

    #[test]
    fn a_peer_is_told_the_subprotocol_and_a_foreign_client_none() {
        let offer = "Sec-WebSocket-Protocol: chat, wakewire.1\r\n";
        let (guest, answer) = admitted(&request("/feed", offer), "/feed?x=1", false).unwrap();
        assert!(matches!(guest, Guest::Peer));
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "));
        assert!(answer.contains("sec-websocket-protocol: wakewire.1\r\n"));
        // The example of RFC 6455 §1.3.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let (guest, answer) = admitted(&request("/feed?a=b", extension), "/feed", false).unwrap();
        assert!(matches!(
            guest,
            Guest::Foreign {
                consumes: false,
                ..
            }
        ));
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(!answer.contains("sec-websocket-protocol") && !answer.contains("extensions"));
    }

    #[test]
    fn the_query_says_the_role() {
        let consumes = |target: &str| match admitted(&request(target, ""), "/feed", false) {
            Ok((Guest::Foreign { consumes, .. }, _)) => Some(consumes),
            Ok(_) | Err(_) => None,
        };
        assert_eq!(consumes("/feed?x=1&role=consumer"), Some(true));
        assert_eq!(consumes("/feed?role=producer"), Some(false));
        assert_eq!(consumes("/feed?role=other"), None);
    }

    #[test]
    fn a_password_counts_only_where_nobody_listens() {
        let header = "Authorization: Basic YWxpY2U6aHVudGVyMg==\r\n";
        let shown = |is_private| match admitted(&request("/feed", header), "/feed", is_private) {
            Ok((Guest::Foreign { credentials, .. }, _)) => credentials,
            other => panic!("{other:?}"),
        };
        let expected = Credentials::new("alice", "hunter2".to_owned());
        assert!(shown(true).is_some_and(|shown| expected.admit(&shown)));
        assert!(shown(false).is_none());
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_status() {
        assert_eq!(status(&request("/other", "")), 404);
        assert_eq!(status(&request("/feed/", "")), 404);
        assert_eq!(status(&request("/feed", "Origin: https://evil\r\n")), 403);
        assert!(
            admitted(
                &request("/feed", "Origin: http://here:7000\r\n"),
                "/feed",
                false
            )
            .is_ok()
        );
        // A name that leads here without being ours: `Origin` and `Host` agree, and the page is a stranger's.
        let ask = |host: &str| {
            let asked = request("/feed", &format!("Origin: http://{host}\r\n"));
            let asked = String::from_utf8(asked).unwrap().replace("here:7000", host);
            admitted(asked.as_bytes(), "/feed", false)
        };
        for ours in [
            "HERE:7000",
            "here",
            "localhost:7000",
            "127.0.0.1:7000",
            "[::1]:7000",
        ] {
            assert!(ask(ours).is_ok(), "{ours}");
        }
        for strange in [
            "rebound.evil:7000",
            "nothere:7000",
            "here.evil",
            "127.0.0.1.evil",
        ] {
            assert_eq!(ask(strange).unwrap_err().status, 403, "{strange}");
        }
        assert_eq!(status(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n"), 426);
        assert_eq!(status(b"POST /feed HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
        assert_eq!(status(b"GET /feed HTTP/1.1\r\n\0\r\n\r\n"), 400);
        assert_eq!(status(b"GET /feed HTTP/1.0\r\n\r\n"), 400);
        let refusal = Refusal::new(StatusCode::UPGRADE_REQUIRED, "no");
        let text = refusal.response();
        assert!(text.contains("426 Upgrade Required\r\n") && text.contains("Version: 13\r\n"));
        assert!(text.ends_with("Content-Length: 3\r\n\r\nno\n"));
    }

    #[test]
    fn as_many_headers_as_allowed_are_read_and_one_more_is_not() {
        // Five stand in the request already.
        let headers = |count: usize| {
            let further: String = (5..count).map(|at| format!("X-{at}: y\r\n")).collect();
            request("/feed", &further)
        };
        assert!(admitted(&headers(MOST_HEADERS), "/feed", false).is_ok());
        assert_eq!(status(&headers(MOST_HEADERS + 1)), 431);
        assert_eq!(status(&headers(MOST_HEADERS * 3)), 431);
    }
}
