//! Reads the head of an HTTP message: up to the empty line, and not without bounds.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a head; browsers and servers stay far below it.
pub(super) const MOST_HEAD: usize = 8 * 1024;

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHead {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer closed the connection before it had said anything whole")]
    Closed,
    #[error("the peer does not speak HTTP")]
    NotHttp,
    #[error("more than {MOST_HEAD} bytes of HTTP headers")]
    TooLong,
}

/// Reads a head that starts with `start`; returns it and what came after it.
///
/// # Cancel safety
///
/// Dropped early, what was read is lost, and the connection must be closed.
pub(super) async fn read(
    io: &mut (impl AsyncRead + Unpin),
    start: &[u8],
) -> Result<(BytesMut, BytesMut), NoHead> {
    let mut bytes = BytesMut::with_capacity(1024);
    loop {
        // One byte more than allowed, to see that it is too long.
        let known = bytes.len();
        let room = (MOST_HEAD + 1 - known) as u64;
        if (&mut *io).take(room).read_buf(&mut bytes).await? == 0 {
            return Err(NoHead::Closed);
        }
        // At once: who does not speak HTTP never sends an empty line.
        let common = start.len().min(bytes.len());
        if bytes.get(..common) != start.get(..common) {
            return Err(NoHead::NotHttp);
        }
        // The empty line may have begun in what was there.
        let from = known.saturating_sub(END.len() - 1);
        let news = bytes.get(from..).unwrap_or_default();
        if let Some(at) = news.windows(END.len()).position(|window| window == END)
            && from + at + END.len() <= MOST_HEAD
        {
            let head = bytes.split_to(from + at + END.len());
            return Ok((head, bytes));
        }
        if bytes.len() > MOST_HEAD {
            return Err(NoHead::TooLong);
        }
    }
}

const END: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    async fn head(bytes: &[u8]) -> Result<(BytesMut, BytesMut), NoHead> {
        read(&mut &*bytes, b"GET ").await
    }

    #[tokio::test]
    async fn a_head_may_be_as_long_as_allowed_and_not_one_byte_longer() {
        let of = |length: usize| {
            let mut head = b"GET / ".to_vec();
            head.resize(length - END.len(), b'x');
            head.extend(END);
            head
        };
        let (read, rest) = head(&of(MOST_HEAD)).await.unwrap();
        assert_eq!((read.len(), rest.len()), (MOST_HEAD, 0));
        let longer = head(&of(MOST_HEAD + 1)).await;
        assert!(matches!(longer, Err(NoHead::TooLong)));
        let endless = head(&b"GET ".repeat(MOST_HEAD)).await;
        assert!(matches!(endless, Err(NoHead::TooLong)));
    }

    #[tokio::test]
    async fn what_follows_is_kept_and_what_is_cut_off_is_said() {
        let (read, rest) = head(b"GET / HTTP/1.1\r\n\r\nmore").await.unwrap();
        assert!(read.ends_with(END));
        assert_eq!(&rest[..], b"more");
        assert!(matches!(head(b"GET /").await, Err(NoHead::Closed)));
        assert!(matches!(head(b"").await, Err(NoHead::Closed)));
        assert!(matches!(head(b"SSH-2.0-x\r\n").await, Err(NoHead::NotHttp)));
    }
}
