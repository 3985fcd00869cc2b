//! What is spoken over a `tcp` endpoint: both sides say what they can, and the safest common protocol is chosen.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::line::{Duplex, Line, Offers, part};
use super::rewound::Rewound;
use super::tls::{self, Keys};
use super::unreached::Unreached;
use crate::error::Phase;
use crate::security::TlsMode;
use crate::wire::ProtocolError;
use crate::wire::frame::{HEADER, Header, Kind};
use crate::wire::hello::{self, Code, Reject};
use crate::wire::negotiation::{NoCommonProtocol, ProtocolNegotiation, ProtocolType};
use crate::wire::scan::{Piece, Scanner};

/// Agrees with whom we have dialled, and encrypts if that is what both can. With [`TlsMode::Require`] nothing is
/// asked: it is TLS from the first byte.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(super) async fn dial(
    mut line: Line,
    host: &str,
    mode: TlsMode,
    keys: &Keys,
) -> Result<Line, Unreached> {
    match mode {
        TlsMode::Off => {
            "TCP in the clear, since `tls = \"off\"`".clone_into(&mut line.course.chosen);
            return Ok(line);
        }
        TlsMode::Require => {
            "TLS 1.3, since `tls = \"require\"`".clone_into(&mut line.course.chosen);
            return keys.connect(line, host).await;
        }
        TlsMode::Prefer => {}
    }
    let ours = offer(mode, tls::IS_BUILT_IN);
    send(&mut line.stream, Kind::Negotiate, &ours).await?;
    let (kind, body) = read_frame(&mut line.stream).await?;
    let theirs: ProtocolNegotiation = match kind {
        Kind::Negotiate => hello::decode(kind, &body).map_err(foreign)?,
        Kind::Reject => {
            let Reject { code, text, .. } = hello::decode(kind, &body).map_err(foreign)?;
            return Err(Unreached::refused(code, text));
        }
        kind => return Err(foreign(ProtocolError::Unexpected { kind })),
    };
    let chosen = ours.choose(&theirs).map_err(nothing_in_common)?;
    line.course.chosen = match chosen {
        ProtocolType::Tls => "TLS 1.3: both sides can".to_owned(),
        other => format!("{other} in the clear: this side offers {ours}, the peer {theirs}"),
    };
    line.offers = Some(Offers { ours, theirs });
    if chosen != ProtocolType::Tls {
        return Ok(line);
    }
    be_quiet(&mut line.stream).await?;
    keys.connect(line, host).await
}

/// Finds out what a newcomer wants to speak, by its first bytes, and agrees with it.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(super) async fn accept(mut line: Line, mode: TlsMode, keys: &Keys) -> Result<Line, Unreached> {
    // A greeting has at least a header, and a TLS record that begins a handshake is longer.
    let mut front = [0; HEADER];
    let read = line.stream.read_exact(&mut front).await;
    read.map_err(|error| Unreached::for_now(Phase::Tls, error))?;
    let can_encrypt = mode != TlsMode::Off && keys.can_serve();
    let kind = Header::parse(&front).map(|header| header.kind);
    if is_tls(&front) {
        if !can_encrypt {
            let told = line.stream.write_all(&HANDSHAKE_FAILURE).await;
            told.map_err(|error| Unreached::for_now(Phase::Tls, error))?;
            part(line.stream).await;
            let cause = "the peer speaks TLS, and there is no `cert` and `key` here";
            return Err(Unreached::for_now(Phase::Tls, cause));
        }
        line.stream = Box::new(Rewound::new(front.to_vec(), line.stream));
        return keys.accept(line).await;
    }
    if kind != Ok(Kind::Negotiate) {
        if mode == TlsMode::Require {
            let text = "TLS is required here: set `tls = \"require\"`, or leave `tls` out";
            return refuse(line, text.to_owned()).await;
        }
        // The door deals with it, whatever it is.
        line.stream = Box::new(Rewound::new(front.to_vec(), line.stream));
        return Ok(line);
    }
    let (_, body) = read_rest(&mut line.stream, front).await?;
    let theirs: ProtocolNegotiation = hello::decode(Kind::Negotiate, &body).map_err(foreign)?;
    let ours = offer(mode, can_encrypt);
    let Ok(chosen) = ours.choose(&theirs) else {
        // As the peer sees it.
        let text = NoCommonProtocol {
            ours: theirs,
            theirs: ours,
        };
        return refuse(line, text.to_string()).await;
    };
    if chosen == ProtocolType::Tls {
        be_quiet(&mut line.stream).await?;
    }
    send(&mut line.stream, Kind::Negotiate, &ours).await?;
    line.offers = Some(Offers { ours, theirs });
    if chosen == ProtocolType::Tls {
        return keys.accept(line).await;
    }
    Ok(line)
}

/// Returns what we offer on a byte stream: never datagrams, nothing below the floor.
fn offer(mode: TlsMode, can_encrypt: bool) -> ProtocolNegotiation {
    let floor = match mode {
        TlsMode::Require => ProtocolType::Tls,
        TlsMode::Prefer | TlsMode::Off => ProtocolType::Tcp,
    };
    let tls = (can_encrypt && mode != TlsMode::Off).then_some(ProtocolType::Tls);
    ProtocolNegotiation::offering(tls.into_iter().chain([ProtocolType::Tcp])).within(floor, false)
}

/// A handshake record (RFC 8446, 5.1). As a length this would be far beyond what a greeting may have, so no frame
/// looks like it.
fn is_tls(front: &[u8; HEADER]) -> bool {
    matches!(front, [22, 3, 1..=4, ..])
}

async fn send(
    stream: &mut Box<dyn Duplex>,
    kind: Kind,
    body: &impl minicbor::Encode<()>,
) -> Result<(), Unreached> {
    let mut bytes = BytesMut::new();
    hello::encode(kind, body, true, &mut bytes);
    let sent = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error| Unreached::for_now(Phase::Tls, error))
}

async fn refuse(mut line: Line, text: String) -> Result<Line, Unreached> {
    let reject = Reject {
        code: Code::Unprotected,
        text: text.clone(),
        retry_after_ms: 0,
    };
    send(&mut line.stream, Kind::Reject, &reject).await?;
    part(line.stream).await;
    Err(Unreached::for_now(Phase::Tls, text))
}

/// Reads one frame and not a byte of what follows: that may be another layer's.
async fn read_frame(stream: &mut Box<dyn Duplex>) -> Result<(Kind, Bytes), Unreached> {
    let mut front = [0; HEADER];
    let read = stream.read_exact(&mut front).await;
    read.map_err(|error| Unreached::for_now(Phase::Tls, error))?;
    read_rest(stream, front).await
}

async fn read_rest(
    stream: &mut Box<dyn Duplex>,
    front: [u8; HEADER],
) -> Result<(Kind, Bytes), Unreached> {
    let scanner = Scanner::new(true);
    let mut frame = BytesMut::from(&front[..]);
    loop {
        match scanner.next(&mut frame).map_err(foreign)? {
            Some(Piece::Control { header, body }) => return Ok((header.kind, body)),
            Some(Piece::Run { .. }) => {
                return Err(foreign(ProtocolError::Unexpected { kind: Kind::Data }));
            }
            None => {
                let (have, missing) = (frame.len(), scanner.missing(&frame));
                frame.resize(have + missing, 0);
                let read = stream.read_exact(&mut frame[have..]).await;
                read.map_err(|error| Unreached::for_now(Phase::Tls, error))?;
            }
        }
    }
}

/// Refuses what came behind a negotiation: the other side waits now, so somebody else put it there, and it must
/// never be taken for something that was said under encryption. What comes later is no TLS, and ends the handshake.
async fn be_quiet(stream: &mut Box<dyn Duplex>) -> Result<(), Unreached> {
    let mut byte = [0];
    let injected = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(true)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    });
    if injected
        .await
        .map_err(|error: io::Error| Unreached::for_now(Phase::Tls, error))?
    {
        let cause = "bytes in the clear stand between the negotiation and the encryption";
        return Err(Unreached::unauthorized(Phase::Tls, cause)
            .hint("somebody on the way put them there: set `tls = \"require\"`"));
    }
    Ok(())
}

fn foreign(error: ProtocolError) -> Unreached {
    Unreached::foreign(Phase::Tls, error)
}

fn nothing_in_common(error: NoCommonProtocol) -> Unreached {
    Unreached::foreign(Phase::Tls, error).hint("compare `tls`, `cert` and `key` of both sides")
}

/// The alert `handshake_failure` (RFC 8446, 6.2), before there is any encryption.
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
