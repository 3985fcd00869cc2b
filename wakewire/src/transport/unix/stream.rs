//! A Unix stream that asks the system for room only while it has none.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::coop::poll_proceed;
use tokio::time::{Sleep, sleep};

/// Bytes in both directions. Whoever asks for room is told by Linux of each time that the peer has read something, also
/// if there was room before; tokio's own stream asks as long as it is open, which for messages that come alone doubles
/// what a sender is woken for.
#[derive(Debug)]
pub(super) struct Stream {
    /// Asks for what comes. That the descriptor is a socket is nothing to it: it only reads.
    incoming: pipe::Receiver,
    room: Room,
}

/// Whether there is room for more.
#[derive(Debug)]
enum Room {
    /// As far as we know.
    Some,
    /// There was none, so that it is asked for, with a descriptor of its own: to one the system tells everything or
    /// nothing. Until all is written: who has many connections has not twice as many descriptors.
    Asked(UnixStream),
    /// There was none, and no descriptor either: we look again.
    Later(Pin<Box<Sleep>>),
}

impl Stream {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let socket = OwnedFd::from(stream.into_std()?);
        Ok(Self {
            incoming: pipe::Receiver::from_owned_fd_unchecked(socket)?,
            room: Room::Some,
        })
    }

    fn offer(&mut self, cx: &mut Context<'_>, what: What<'_>) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.room {
                Room::Some => {
                    let turn = ready!(poll_proceed(cx));
                    match retry_on_intr(|| what.send(&self.incoming)) {
                        Err(Errno::AGAIN) => self.room = self.ask(),
                        written => {
                            turn.made_progress();
                            return Poll::Ready(written.map_err(io::Error::from));
                        }
                    }
                }
                Room::Asked(outgoing) => return what.write(Pin::new(outgoing), cx),
                Room::Later(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.room = Room::Some;
                }
            }
        }
    }

    fn ask(&self) -> Room {
        let socket = self.incoming.as_fd().try_clone_to_owned();
        match socket.and_then(|socket| UnixStream::from_std(StdStream::from(socket))) {
            Ok(outgoing) => Room::Asked(outgoing),
            Err(error) => {
                tracing::debug!(%error, "no descriptor to ask for room with");
                Room::Later(Box::pin(sleep(PAUSE)))
            }
        }
    }
}

/// What is to be written.
#[derive(Clone, Copy)]
enum What<'a> {
    Bytes(&'a [u8]),
    Slices(&'a [IoSlice<'a>]),
}

impl What<'_> {
    /// Never with a signal if the peer has gone, which would end a program that has not said otherwise.
    fn send(self, socket: impl AsFd) -> Result<usize, Errno> {
        match self {
            What::Bytes(bytes) => send(socket, bytes, SendFlags::NOSIGNAL),
            What::Slices(slices) => {
                let nothing = &mut SendAncillaryBuffer::default();
                sendmsg(socket, slices, nothing, SendFlags::NOSIGNAL)
            }
        }
    }

    fn write(
        self,
        outgoing: Pin<&mut UnixStream>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            What::Bytes(bytes) => outgoing.poll_write(cx, bytes),
            What::Slices(slices) => outgoing.poll_write_vectored(cx, slices),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.offer(cx, What::Bytes(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.offer(cx, What::Slices(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.room = Room::Some;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.incoming, Shutdown::Write).map_err(io::Error::from))
    }
}

/// How long a write waits without a descriptor to ask with; a socket's buffer is read in less than that.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::yield_now;

    use super::*;
    use crate::part::Part;

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::new(ours).unwrap(), theirs)
    }

    /// Writes until there is no room.
    fn fill(stream: &mut Stream) -> usize {
        let mut written = 0;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(more) = Pin::new(&mut *stream).poll_write(&mut cx, &[7; 10_000]) {
            written += more.unwrap();
        }
        written
    }

    #[tokio::test]
    async fn what_does_not_fit_is_written_when_the_peer_has_read() {
        for vectored in [false, true] {
            let (mut ours, mut theirs) = pair();
            let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
            let writing = async {
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let halves = left.split_at(left.len() / 2);
                    let halves = [IoSlice::new(halves.0), IoSlice::new(halves.1)];
                    let written = if vectored {
                        ours.write_vectored(&halves).await
                    } else {
                        ours.write(left).await
                    };
                    left = &left[written.unwrap()..];
                }
                ours.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let reading = theirs.read_to_end(&mut read);
            tokio::join!(writing, reading).1.unwrap();
            assert!(read == bytes);
        }
    }

    #[tokio::test]
    async fn room_is_asked_for_from_when_there_is_none_until_all_is_written() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(&[1]).await.unwrap();
        assert!(matches!(ours.room, Room::Some));
        let mut read = vec![0; 1 + fill(&mut ours)];
        assert!(matches!(ours.room, Room::Asked(_)));
        theirs.read_exact(&mut read).await.unwrap();
        ours.write_all(&[2]).await.unwrap();
        assert!(matches!(ours.room, Room::Asked(_)));
        ours.flush().await.unwrap();
        assert!(matches!(ours.room, Room::Some));
        ours.write_all(&[3]).await.unwrap();
        let mut rest = [0; 2];
        theirs.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, [2, 3]);
    }

    #[tokio::test]
    async fn room_that_never_comes_is_not_asked_for_by_turning_round() {
        let (mut ours, theirs) = pair();
        fill(&mut ours);
        let mut asked = 0;
        let waiting = std::future::poll_fn(|cx| {
            asked += 1;
            Pin::new(&mut ours).poll_write(cx, &[1])
        });
        tokio::select! {
            biased;
            // Asked when it was woken, and not with the task each time.
            written = Part::new(waiting) => panic!("{written:?}"),
            () = async { for _ in 0..1000 { yield_now().await } } => {}
        }
        assert!(asked <= 2, "{asked}");
        drop(theirs);
        let error = ours.write_all(&[1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_descriptor_to_ask_with_it_looks_again() {
        let (mut ours, mut theirs) = pair();
        let mut read = vec![0; fill(&mut ours)];
        ours.room = Room::Later(Box::pin(sleep(PAUSE)));
        theirs.read_exact(&mut read).await.unwrap();
        ours.write_all(&[5]).await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), 5);
    }

    #[tokio::test]
    async fn who_always_finds_room_lets_others_have_their_turn() {
        let (mut ours, theirs) = pair();
        // Read without the runtime, so that the writing alone takes turns.
        let mut theirs = theirs.into_std().unwrap();
        let busy = async {
            loop {
                ours.write_all(&[1]).await.unwrap();
                theirs.read_exact(&mut [0]).unwrap();
            }
        };
        let other = async {
            for _ in 0..100 {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = busy => {}
            () = other => {}
        }
    }
}
