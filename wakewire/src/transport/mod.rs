//! Byte streams to and from an endpoint. One file a transport; nothing above knows which one it is.

pub(crate) mod acceptor;
mod budget;
pub(crate) mod dial;
pub(crate) mod door;
pub(crate) mod greeting;
mod hearing;
pub(crate) mod line;
pub(crate) mod log_rate;
#[cfg(feature = "memory")]
pub(crate) mod memory;
#[cfg(feature = "tcp")]
mod negotiation;
pub(crate) mod outflow;
mod password;
pub(crate) mod probe;
pub(crate) mod pulse;
#[cfg(feature = "tcp")]
mod race;
pub(crate) mod reader;
#[cfg(feature = "tcp")]
mod rewound;
mod signs;
#[cfg(feature = "turmoil")]
mod simulated;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(feature = "tcp")]
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
mod tls;
mod turnstile;
#[cfg(feature = "udp")]
mod udp;
#[cfg(all(feature = "unix", unix))]
mod unix;
pub(crate) mod unreached;
#[cfg(feature = "ws")]
mod ws;

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
        write_some(io, pieces, &mut first).await?;
    }
    pieces.clear();
    Ok(())
}

/// Writes what the system takes at once of the pieces from `first` on, and moves `first` to the next one that is not
/// wholly written; returns how many bytes were taken.
///
/// # Cancel safety
///
/// Dropped early, nothing was written.
pub(crate) async fn write_some<W: AsyncWrite + Unpin>(
    io: &mut W,
    pieces: &mut [Bytes],
    first: &mut usize,
) -> io::Result<usize> {
    let written = if let [piece] = &pieces[*first..] {
        io.write(piece).await?
    } else {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = SLICES.min(pieces.len() - *first);
        for (slice, piece) in slices.iter_mut().zip(&pieces[*first..]) {
            *slice = IoSlice::new(piece);
        }
        io.write_vectored(&slices[..count]).await?
    };
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = written;
    while left > 0 {
        let step = left.min(pieces[*first].len());
        pieces[*first].advance(step);
        left -= step;
        if pieces[*first].is_empty() {
            *first += 1;
        }
    }
    while pieces.get(*first).is_some_and(Bytes::is_empty) {
        *first += 1;
    }
    Ok(written)
}

/// What the system is asked to hold of what was sent to a peer on the same machine.
///
/// A Unix socket holds less by itself, so that the writer waits for the reader and the reader for the writer in turn; a
/// TCP connection grows to many times as much, which has left the processor's cache before it is read. Between machines
/// it has to grow: there the buffer is what the line is filled with.
///
/// Linux makes it twice as much, for its own needs, and takes it for 208 KiB where nobody has set `net.core.wmem_max`,
/// which is as good: from 192 to 384 KiB nothing changes that can be seen; with 128 KiB, 1 MiB over TCP is slower.
#[cfg(any(feature = "tcp", all(feature = "unix", unix)))]
const NEAR_SEND_BUFFER: usize = 256 * 1024;

/// Pieces per system call; more than a busy sink ever has.
const SLICES: usize = 32;
