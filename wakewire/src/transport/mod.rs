//! Byte streams to and from an endpoint. One file a transport; nothing above knows which one it is.

pub(crate) mod acceptor;
pub(crate) mod dial;
pub(crate) mod door;
pub(crate) mod greeting;
pub(crate) mod line;
mod password;
pub(crate) mod pulse;
#[cfg(feature = "tcp")]
mod race;
pub(crate) mod reader;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(feature = "udp")]
mod udp;
#[cfg(all(feature = "unix", unix))]
mod unix;
pub(crate) mod unreached;

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::endpoint::Scheme;

fn not_built_in(scheme: Scheme) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("`{}` is not built into this version", scheme.name()),
    )
}

/// Writes all of these pieces, in order, in as few system calls as they allow; leaves `pieces` empty.
///
/// # Cancel safety
///
/// Not cancel safe: dropped early, part of a frame may be on the wire, and the connection must be closed.
pub(crate) async fn write_pieces<W: AsyncWrite + Unpin>(
    io: &mut W,
    pieces: &mut Vec<Bytes>,
) -> io::Result<()> {
    let mut first = 0;
    while first < pieces.len() {
        let written = if let [piece] = &pieces[first..] {
            io.write(piece).await?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = SLICES.min(pieces.len() - first);
            for (slice, piece) in slices.iter_mut().zip(&pieces[first..]) {
                *slice = IoSlice::new(piece);
            }
            io.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut left = written;
        while left > 0 {
            let step = left.min(pieces[first].len());
            pieces[first].advance(step);
            left -= step;
            if pieces[first].is_empty() {
                first += 1;
            }
        }
        while pieces.get(first).is_some_and(Bytes::is_empty) {
            first += 1;
        }
    }
    pieces.clear();
    Ok(())
}

/// Pieces per system call; more than a busy sink ever has.
const SLICES: usize = 32;
