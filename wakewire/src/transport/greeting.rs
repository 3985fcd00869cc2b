//! The dialing side's greeting: says who it is and hears whether it is taken.

use tokio::io::{AsyncWriteExt, split};

use super::Duplex;
use super::door::{Reader, Writer};
use super::reader::{FrameReader, ReadError};
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Reject, Welcome};
use crate::wire::scan::{Piece, Scanner};

/// A peer that has taken us.
pub(crate) struct Host {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) welcome: Welcome,
}

/// Why a peer has not taken us.
#[derive(Debug)]
pub(crate) struct Unwelcome {
    pub(crate) cause: String,
    /// What to do, where trying again cannot help by itself.
    pub(crate) permanent: Option<&'static str>,
}

impl Unwelcome {
    fn for_now(cause: impl ToString) -> Self {
        Self {
            cause: cause.to_string(),
            permanent: None,
        }
    }

    fn foreign(cause: impl ToString) -> Self {
        Self {
            cause: cause.to_string(),
            permanent: Some("is it a wakewire peer that listens there?"),
        }
    }
}

/// Sends an encoded `Hello`, with what belongs to it, and reads the answer.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(crate) async fn greet(
    stream: Box<dyn Duplex>,
    hello: &[u8],
    checksummed: bool,
) -> Result<Host, Unwelcome> {
    let (reader, mut writer) = split(stream);
    let mut reader = FrameReader::new(reader, Scanner::new(checksummed));
    writer.write_all(hello).await.map_err(Unwelcome::for_now)?;
    let answer = reader.next().await.map_err(|error| match error {
        ReadError::Protocol(error) => Unwelcome::foreign(error),
        ReadError::Io(_) | ReadError::CutOff => Unwelcome::for_now(error),
    })?;
    match answer {
        Some(Piece::Control { header, body }) if header.kind == Kind::Welcome => {
            let welcome = hello::decode(Kind::Welcome, &body).map_err(Unwelcome::foreign)?;
            Ok(Host {
                reader,
                writer,
                welcome,
            })
        }
        Some(Piece::Control { header, body })
            if matches!(header.kind, Kind::Reject | Kind::Close) =>
        {
            let Reject { code, text, .. } =
                hello::decode(header.kind, &body).map_err(Unwelcome::foreign)?;
            let permanent = code
                .is_permanent()
                .then_some("compare the configurations of both sides");
            Err(Unwelcome {
                cause: text,
                permanent,
            })
        }
        Some(_) => Err(Unwelcome::foreign("the answer is not a welcome")),
        None => Err(Unwelcome::for_now(
            "the peer closed the connection without an answer",
        )),
    }
}
