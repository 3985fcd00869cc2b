//! WebSocket (RFC 6455), with TLS or without.
//!
//! Between wakewire peers, who agree on the subprotocol `wakewire.1`, one frame is one binary message, and everything
//! works as over TCP. A peer that does not know it is a foreign one: it says and is told plain payloads, and a
//! translator speaks wakewire in its place. Extensions are never agreed upon, so that nothing is decompressed.
//!
//! Pings of the peer are answered whenever it is read. Who is not read, because there is no room for what it sends, is
//! not answered either: its ping stands behind its messages. A wakewire peer is told by our own pings meanwhile that
//! we live; a foreign one may give us up, and connects again when it likes.

mod answer;
mod gauge;
mod gauged;
mod head;
mod request;
mod socket;
mod translator;

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::Role;

use self::head::{MOST_HEAD, NoHead};
use self::request::{Guest, Refusal, Site};
use self::socket::Socket;
use self::translator::Translator;
use super::budget::Share;
use super::line::Line;
use super::unreached::Unreached;
use crate::endpoint::Endpoint;
use crate::error::Phase;
use crate::randomness::random;
use crate::wire::SessionId;

/// What wakewire peers agree to speak.
const SUBPROTOCOL: &str = "wakewire.1";

/// Headers of a request or an answer.
const MOST_HEADERS: usize = 64;

/// Asks for the WebSocket of this endpoint over an open connection.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(super) async fn dial(line: Line, endpoint: &Endpoint) -> Result<Line, Unreached> {
    let Endpoint::WebSocket {
        secure,
        authority,
        path,
    } = endpoint
    else {
        let cause = format!("{endpoint} is no WebSocket");
        return Err(Unreached::misconfigured(Phase::Handshake, cause));
    };
    let since = Instant::now();
    let Line { mut stream, .. } = line;
    let key = generate_key();
    let request = answer::request(authority, if *secure { 443 } else { 80 }, path, &key)?;
    let said = say(&mut stream, request.as_bytes()).await;
    said.map_err(|error| Unreached::for_now(Phase::Handshake, error))?;
    let (head, ahead) = head::read(&mut stream, b"HTTP/").await.map_err(no_head)?;
    let is_peer = answer::is_peer(&head, path, &key)?;
    let translator = (!is_peer).then(|| {
        let id = SessionId(random());
        Translator::for_server(endpoint.to_string(), id, endpoint.is_checksummed())
    });
    let mut course = line.course;
    course.step(Phase::Handshake, since);
    let agreed = if is_peer {
        "WebSocket with `wakewire.1`"
    } else {
        "WebSocket with plain payloads: the peer is no wakewire peer"
    };
    course.chosen = if course.chosen.is_empty() {
        agreed.to_owned()
    } else {
        format!("{agreed}; {}", course.chosen)
    };
    let socket = Socket::new(stream, ahead, Role::Client, translator).await;
    Ok(Line {
        stream: Box::new(socket),
        course,
        ..line
    })
}

/// Hears a request for the WebSocket of this endpoint out, and lets it in or says why not.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(super) async fn accept(
    line: Line,
    endpoint: &Endpoint,
    share: Share,
) -> Result<Line, Unreached> {
    let Endpoint::WebSocket {
        authority, path, ..
    } = endpoint
    else {
        let cause = format!("{endpoint} is no WebSocket");
        return Err(Unreached::misconfigured(Phase::Handshake, cause));
    };
    let Line { mut stream, .. } = line;
    let admitted = match head::read(&mut stream, b"GET ").await {
        Ok((head, ahead)) if ahead.is_empty() => {
            let site = Site {
                host: &authority.host,
                path,
                is_private: line.is_private,
            };
            request::admit(&head, &site)
        }
        Ok(_) => {
            let text = "something follows the request before its answer";
            Err(Refusal::new(StatusCode::BAD_REQUEST, text))
        }
        Err(NoHead::TooLong) => {
            let text = format!("the request has more than {MOST_HEAD} bytes");
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            Err(Refusal::new(status, text))
        }
        Err(NoHead::NotHttp) => {
            let text = "this is a WebSocket: it is asked for with `GET`";
            Err(Refusal::new(StatusCode::BAD_REQUEST, text))
        }
        Err(error) => return Err(no_head(error)),
    };
    let (guest, answer) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let said = async {
                say(&mut stream, refusal.response().as_bytes()).await?;
                stream.shutdown().await
            };
            said.await
                .map_err(|error| Unreached::for_now(Phase::Handshake, error))?;
            return Err(Unreached::foreign(Phase::Handshake, refusal.text));
        }
    };
    say(&mut stream, &answer)
        .await
        .map_err(|error| Unreached::for_now(Phase::Handshake, error))?;
    let checksummed = endpoint.is_checksummed();
    let translator = match guest {
        Guest::Peer => None,
        Guest::Foreign {
            consumes,
            credentials,
        } => {
            let id = SessionId(random());
            Some(if consumes {
                Translator::for_consumer(id, credentials, checksummed)
            } else {
                Translator::for_producer(id, credentials, checksummed)
            })
        }
    };
    let socket = Socket::new(stream, BytesMut::new(), Role::Server, translator)
        .await
        .sharing(share);
    Ok(Line {
        stream: Box::new(socket),
        ..line
    })
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn no_head(error: NoHead) -> Unreached {
    match error {
        NoHead::Io(error) => Unreached::lost(error),
        NoHead::Closed => Unreached::for_now(Phase::Handshake, error),
        NoHead::NotHttp => Unreached::foreign(Phase::Handshake, error)
            .hint("a WebSocket begins with HTTP: is it another port, or a `tcp://` endpoint?"),
        NoHead::TooLong => Unreached::foreign(Phase::Handshake, error),
    }
}
