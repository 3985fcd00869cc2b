//! The dialing side's greeting: says who it is and hears whether it is taken.

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, split};
use tokio::time::Instant;

use super::door::{Reader, Writer};
use super::line::{Course, Line};
use super::pulse::Pulse;
use super::reader::{FrameReader, ReadError};
use super::unreached::Unreached;
use crate::error::Phase;
use crate::wire::ProtocolError;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Hello, Reject, Welcome};
use crate::wire::scan::{Piece, Scanner};

/// A peer that has taken us.
pub(crate) struct Host {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) pulse: Pulse,
    pub(crate) welcome: Welcome,
    /// How the connection came about, the greeting included.
    pub(crate) course: Course,
}

/// Says who we are, with what belongs to it in further frames, and reads the answer.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(crate) async fn greet(
    line: Line,
    mut hello: Hello,
    further: &[u8],
    checksummed: bool,
) -> Result<Host, Unreached> {
    let Line {
        stream,
        signs,
        offers,
        credentials,
        mut course,
        ..
    } = line;
    let since = Instant::now();
    hello.credentials = credentials;
    hello.offer = offers.as_ref().map(|offers| offers.ours.clone());
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Hello, &hello, checksummed, &mut bytes);
    bytes.extend_from_slice(further);
    let for_now = |error: std::io::Error| Unreached::for_now(Phase::Handshake, error);
    let foreign = |error: ProtocolError| Unreached::foreign(Phase::Handshake, error);
    let (reader, mut writer) = split(stream);
    let mut reader = FrameReader::new(reader, Scanner::new(checksummed));
    writer.write_all(&bytes).await.map_err(for_now)?;
    writer.flush().await.map_err(for_now)?;
    let answer = reader.next().await.map_err(|error| match error {
        // Damaged on the way: it is a frame, and the next one may be whole.
        ReadError::Protocol(ProtocolError::Checksum) => {
            Unreached::for_now(Phase::Handshake, ProtocolError::Checksum)
        }
        ReadError::Protocol(error) => foreign(error),
        ReadError::Io(error) => Unreached::lost(error),
        ReadError::CutOff | ReadError::Trickle => Unreached::for_now(Phase::Handshake, error),
    })?;
    match answer {
        Some(Piece::Control { header, body }) if header.kind == Kind::Welcome => {
            let welcome: Welcome = hello::decode(Kind::Welcome, &body).map_err(foreign)?;
            if offers.as_ref().map(|offers| &offers.theirs) != welcome.offer.as_ref() {
                let cause = "what the peer offered in the clear is not what it says now";
                return Err(Unreached::unauthorized(Phase::Handshake, cause)
                    .hint("somebody on the way changed it: set `tls = \"require\"`"));
            }
            course.step(Phase::Handshake, since);
            Ok(Host {
                reader,
                writer,
                pulse: Pulse::new(signs),
                welcome,
                course,
            })
        }
        Some(Piece::Control { header, body })
            if matches!(header.kind, Kind::Reject | Kind::Close) =>
        {
            let Reject { code, text, .. } = hello::decode(header.kind, &body).map_err(foreign)?;
            Err(Unreached::refused(code, text))
        }
        Some(_) => Err(Unreached::foreign(
            Phase::Handshake,
            "the answer is not a welcome",
        )),
        None => Err(Unreached::for_now(
            Phase::Handshake,
            "the peer closed the connection without an answer",
        )),
    }
}
