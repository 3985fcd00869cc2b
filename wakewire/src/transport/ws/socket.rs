//! A WebSocket that looks like a stream of frames to everything above.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError as WebSocketError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::gauge::{Excess, Gauge};
use super::gauged::Gauged;
use super::translator::{Saying, Translator};
use crate::transport::budget::Share;
use crate::transport::line::Duplex;
use crate::wire::ProtocolError;
use crate::wire::cutter::{Cutter, is_one_frame};
use crate::wire::data::DataView;
use crate::wire::frame::{HEADER, Kind};
use crate::wire::hello::{self, Hello, POSITIONS_LIMIT, Welcome};
use crate::wire::scan::GREETING_LIMIT;

/// A stream of frames over a WebSocket. It is read and written by one owner: each reading also answers the peer's
/// pings, and what is written leaves with the next flush.
pub(super) struct Socket {
    web: WebSocketStream<Gauged<Box<dyn Duplex>>>,
    cutter: Cutter,
    /// Speaks for a peer that does not speak wakewire.
    translator: Option<Translator>,
    /// What has arrived and was not read yet.
    arrived: Bytes,
    has_ended: bool,
}

impl Socket {
    /// Makes one of a stream over which the opening handshake is done; `ahead` was read behind it.
    pub(super) async fn new(
        stream: Box<dyn Duplex>,
        ahead: BytesMut,
        role: Role,
        translator: Option<Translator>,
    ) -> Self {
        // As the greeting is read over other transports: small, until the peer was taken.
        let gauge = Gauge::new(framed(GREETING_LIMIT), framed(POSITIONS_LIMIT));
        let stream = Gauged::new(stream, ahead, gauge);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            // The gauge has refused what is too much long before.
            .max_message_size(None)
            .max_frame_size(None);
        Self {
            web: WebSocketStream::from_raw_socket(stream, role, Some(config)).await,
            cutter: Cutter::default(),
            translator,
            arrived: Bytes::new(),
            has_ended: false,
        }
    }

    /// Shares memory for messages that are not whole with the other connections of a listener.
    pub(super) fn sharing(mut self, share: Share) -> Self {
        self.web.get_mut().share(share);
        self
    }

    /// Hands the frames that are whole over to the WebSocket. It takes no further one while it holds more than its
    /// write buffer: so it never holds more than that and one frame.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(Pin::new(&mut self.web).poll_ready(cx)).map_err(broken)?;
            let Some(frame) = self.cutter.next() else {
                return Poll::Ready(Ok(()));
            };
            if let Some(message) = self.message(frame).map_err(invalid)? {
                Pin::new(&mut self.web)
                    .start_send(message)
                    .map_err(broken)?;
            }
        }
    }

    /// Makes a frame of ours what the peer is sent.
    fn message(&mut self, frame: Bytes) -> Result<Option<Message>, ProtocolError> {
        self.heed(&frame)?;
        let Some(translator) = &mut self.translator else {
            return Ok(Some(Message::Binary(frame)));
        };
        Ok(translator.say(frame)?.map(|saying| match saying {
            Saying::Payload(payload) => Message::Binary(payload),
            Saying::Ping => Message::Ping(Bytes::new()),
            Saying::Close { code, reason } => Message::Close(Some(CloseFrame {
                code: code.into(),
                reason: reason.into(),
            })),
        }))
    }

    /// What we say in our greeting that we take is what is read from then on.
    fn heed(&mut self, frame: &[u8]) -> Result<(), ProtocolError> {
        let view = DataView::at(frame)?;
        let is_foreign = self.translator.is_some();
        let limit = match view.header.kind {
            Kind::Hello => {
                let hello: Hello = hello::decode(Kind::Hello, view.body)?;
                match hello.producer {
                    // Nobody sends a producer messages; a foreign server may nevertheless.
                    Some(_) if is_foreign => MOST_UNASKED,
                    Some(_) => GREETING_LIMIT,
                    None => hello.limits.frame,
                }
            }
            Kind::Welcome => {
                let welcome: Welcome = hello::decode(Kind::Welcome, view.body)?;
                welcome.limits.frame
            }
            _ => return Ok(()),
        };
        let gauge = &mut self.web.get_mut().gauge;
        if is_foreign {
            // A plain payload, and no greeting before it.
            gauge.limit = limit.into();
            gauge.first = gauge.limit;
        } else {
            gauge.limit = framed(limit);
        }
        Ok(())
    }

    /// Reads on until there is something for our side, or the end.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.arrived.is_empty() && !self.has_ended {
            if let Some(translator) = &mut self.translator {
                self.arrived = translator.take();
                if !self.arrived.is_empty() {
                    break;
                }
            }
            // Pings are answered by this as well.
            match ready!(Pin::new(&mut self.web).poll_next(cx)) {
                Some(Ok(message)) => {
                    if let Err(error) = self.take(message, cx) {
                        self.refuse(cx, PROTOCOL_ERROR, &error);
                        return Poll::Ready(Err(error));
                    }
                }
                // As with TCP: it is up to the frames whether the end is a loss.
                None | Some(Err(Error::Protocol(WebSocketError::ResetWithoutClosingHandshake))) => {
                    self.has_ended = true;
                }
                Some(Err(error)) => {
                    let error = broken(error);
                    let is_too_much = error.get_ref().is_some_and(|cause| cause.is::<Excess>());
                    let code = match error.kind() {
                        io::ErrorKind::OutOfMemory => TRY_LATER,
                        _ if is_too_much => TOO_BIG,
                        _ => PROTOCOL_ERROR,
                    };
                    self.refuse(cx, code, &error);
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, message: Message, cx: &mut Context<'_>) -> io::Result<()> {
        match (message, &mut self.translator) {
            (Message::Binary(frame), None) if is_one_frame(&frame) => self.arrived = frame,
            (Message::Binary(_), None) => {
                return Err(invalid("a WebSocket message is not one frame"));
            }
            (Message::Text(_), None) => return Err(invalid("frames come in binary messages")),
            (Message::Binary(payload), Some(translator)) => translator.hear(payload),
            (Message::Text(text), Some(translator)) => translator.hear(text.into()),
            (Message::Pong(_), Some(translator)) => translator.answered(),
            (Message::Close(reason), translator) => {
                if let Some(translator) = translator {
                    let reason = reason.map_or_else(String::new, |reason| reason.to_string());
                    translator.left(&reason);
                    self.arrived = translator.take();
                }
                self.has_ended = true;
                // The answer that the peer waits for. Who does not read any more does not get it.
                if let Poll::Ready(Err(error)) = Pin::new(&mut self.web).poll_flush(cx) {
                    tracing::debug!(%error, "a WebSocket peer did not hear the answer to its goodbye");
                }
            }
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => {}
        }
        Ok(())
    }

    /// Tells the peer, if it reads, why the connection ends here.
    fn refuse(&mut self, cx: &mut Context<'_>, code: u16, error: &io::Error) {
        self.has_ended = true;
        let reason = CloseFrame {
            code: code.into(),
            reason: error
                .to_string()
                .chars()
                .take(MOST_REASON)
                .collect::<String>()
                .into(),
        };
        let mut web = Pin::new(&mut self.web);
        if web
            .as_mut()
            .start_send(Message::Close(Some(reason)))
            .is_ok()
            && let Poll::Ready(Err(error)) = web.poll_flush(cx)
        {
            tracing::debug!(%error, "a WebSocket peer was not told why it was refused");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_arrival(cx))?;
        let length = this.arrived.len().min(into.remaining());
        into.put_slice(&this.arrived.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What was taken before goes first; only then there is room.
        ready!(this.poll_hand_over(cx))?;
        this.cutter.push(bytes);
        match this.poll_hand_over(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_hand_over(cx))?;
        Pin::new(&mut this.web).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_hand_over(cx))?;
        Pin::new(&mut this.web).poll_close(cx).map_err(broken)
    }
}

/// The error of the stream below, or of a peer that breaks the rules of RFC 6455.
fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => invalid(error),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Returns how long a message with a frame of this limit may be.
const fn framed(limit: u32) -> u64 {
    limit as u64 + HEADER as u64
}

/// What is read at once; an idle connection keeps it.
const READ_BUFFER: usize = 16 * 1024;

/// What is collected before it is written.
const WRITE_BUFFER: usize = 64 * 1024;

/// The most bytes of a message that is dropped anyway: a feed is not left for what it also says.
const MOST_UNASKED: u32 = 16 * 1024 * 1024;

/// RFC 6455 §7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;
const TRY_LATER: u16 = 1013;

/// A control frame has 125 bytes, two of them for the code; the reasons that are said here are ASCII.
const MOST_REASON: usize = 123;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Duration, timeout};

    use super::*;
    use crate::transport::budget::Budget;
    use crate::wire::frame::{self, Header};
    use crate::wire::hello::Reject;

    /// A socket that plays the server, and the client's end of its stream.
    async fn server(translator: Option<Translator>, room: usize) -> (Socket, DuplexStream) {
        let (here, there) = duplex(room);
        let socket = Socket::new(Box::new(here), BytesMut::new(), Role::Server, translator).await;
        (socket, there)
    }

    fn data(length: usize) -> Bytes {
        let mut bytes = BytesMut::new();
        let message = crate::Message::new(vec![7; length]);
        frame::encode_message(&message, 1, true, &mut bytes);
        bytes.freeze()
    }

    fn welcome(limit: u32) -> Bytes {
        let welcome = Welcome {
            version: 1,
            limits: hello::Limits {
                frame: limit,
                idle_ms: 0,
                ping_ms: 0,
            },
            acked: 0,
            have: 0,
            consumers: 1,
            node: crate::wire::SessionId(1),
            offer: None,
            in_flight: None,
            hold_ms: None,
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Welcome, &welcome, true, &mut bytes);
        bytes.freeze()
    }

    /// A WebSocket frame as a client sends it: masked with zeros, so that the payload stays readable.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | 127];
        bytes.extend((payload.len() as u64).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    #[tokio::test]
    async fn each_frame_is_one_message_however_it_is_written() {
        let (mut socket, mut peer) = server(None, 1 << 16).await;
        let (one, two) = (data(5), data(0));
        let all = [one.clone(), two.clone()].concat();
        for byte in &all {
            socket.write_all(&[*byte]).await.unwrap();
        }
        socket.flush().await.unwrap();
        let mut expected = vec![0x82, u8::try_from(one.len()).unwrap()];
        expected.extend(&one);
        expected.extend([0x82, u8::try_from(two.len()).unwrap()]);
        expected.extend(&two);
        let mut read = vec![0; expected.len()];
        peer.read_exact(&mut read).await.unwrap();
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_written_to_no_further() {
        let (mut socket, _peer) = server(None, 1024).await;
        let frame = data(10_000);
        let mut taken = 0;
        let write = async {
            loop {
                socket.write_all(&frame).await.unwrap();
                taken += frame.len();
            }
        };
        timeout(Duration::from_millis(100), write)
            .await
            .unwrap_err();
        assert!(taken < WRITE_BUFFER + 1024 + 3 * frame.len(), "{taken}");
        assert!(taken >= WRITE_BUFFER, "{taken}");
    }

    #[tokio::test]
    async fn a_ping_is_answered_by_reading_alone() {
        let (mut socket, mut peer) = server(None, 1 << 16).await;
        peer.write_all(&masked(0x89, b"there?")).await.unwrap();
        let mut pong = [0; 8];
        tokio::select! {
            read = socket.read_u8() => panic!("{read:?}"),
            read = peer.read_exact(&mut pong) => read.unwrap(),
        };
        assert_eq!(&pong, b"\x8a\x06there?");
    }

    /// What comes of these bytes, mostly after the greeting, in which we have said that we take frames of 8,000
    /// bytes.
    async fn read(
        mut translator: Option<Translator>,
        greeting: bool,
        sent: &[u8],
    ) -> io::Result<Vec<u8>> {
        if let Some(translator) = &mut translator {
            translator.take();
        }
        let is_peer = translator.is_none();
        let (mut socket, mut peer) = server(translator, 1 << 20).await;
        if greeting {
            if is_peer {
                let first = data(0);
                peer.write_all(&masked(0x82, &first)).await.unwrap();
                socket.read_exact(&mut vec![0; first.len()]).await.unwrap();
            }
            socket.write_all(&welcome(8000)).await.unwrap();
            socket.flush().await.unwrap();
        }
        peer.write_all(sent).await.unwrap();
        drop(peer);
        let mut read = Vec::new();
        socket.read_to_end(&mut read).await.map(|_| read)
    }

    #[tokio::test]
    async fn messages_are_read_up_to_the_limit_and_not_beyond() {
        let most = data(8000);
        let good = read(None, true, &masked(0x82, &most)).await.unwrap();
        assert_eq!(good, most);
        let error = read(None, true, &masked(0x82, &data(8001)))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("8033 bytes"), "{error}");

        // Before anybody knows who it is.
        let most = data(GREETING_LIMIT as usize);
        let good = read(None, false, &masked(0x82, &most)).await.unwrap();
        assert_eq!(good, most);
        let longer = data(GREETING_LIMIT as usize + 1);
        read(None, false, &masked(0x82, &longer)).await.unwrap_err();

        let foreign = || {
            Some(Translator::for_producer(
                crate::wire::SessionId(1),
                None,
                true,
            ))
        };
        let good = read(foreign(), true, &masked(0x82, &[9; 8000]))
            .await
            .unwrap();
        assert_eq!(good.len(), 32 + 8000);
        let error = read(foreign(), true, &masked(0x81, &[9; 8001]))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("8001 bytes"), "{error}");
    }

    #[tokio::test]
    async fn what_arrived_before_too_much_is_not_lost() {
        let mut sent = masked(0x82, &data(3));
        sent.extend(masked(0x82, &data(9000)));
        let (mut socket, mut peer) = server(None, 1 << 20).await;
        peer.write_all(&sent).await.unwrap();
        let mut first = vec![0; data(3).len()];
        socket.read_exact(&mut first).await.unwrap();
        assert_eq!(first, data(3));
        // Positions may follow a greeting: 64 KiB. 9,000 bytes are fine, and 70,000 are not.
        let mut second = vec![0; data(9000).len()];
        socket.read_exact(&mut second).await.unwrap();
        peer.write_all(&masked(0x82, &data(70_000))).await.unwrap();
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // And the peer is told: a close frame with 1009.
        let mut close = [0; 4];
        peer.read_exact(&mut close).await.unwrap();
        assert_eq!(
            (close[0], u16::from_be_bytes([close[2], close[3]])),
            (0x88, TOO_BIG)
        );
    }

    #[tokio::test]
    async fn unfinished_messages_of_all_connections_together_have_a_limit() {
        let budget = Budget::new(100_000);
        let part = &masked(0x82, &data(60_000))[..50_000];
        let (socket, mut one_peer) = server(None, 1 << 20).await;
        let mut one = socket.sharing(budget.share());
        let (socket, mut other_peer) = server(None, 1 << 20).await;
        let mut other = socket.sharing(budget.share());
        let first = data(0);
        for (socket, peer) in [(&mut one, &mut one_peer), (&mut other, &mut other_peer)] {
            peer.write_all(&masked(0x82, &first)).await.unwrap();
            socket.read_exact(&mut vec![0; first.len()]).await.unwrap();
            peer.write_all(part).await.unwrap();
        }
        let waits = timeout(Duration::from_millis(50), one.read_u8()).await;
        assert!(waits.is_err(), "the rest has not come");
        let error = other.read_u8().await.unwrap_err();
        assert!(error.to_string().contains("max_inbound_bytes"), "{error}");
        drop(other);
        let whole = masked(0x82, &data(60_000));
        one_peer.write_all(&whole[50_000..]).await.unwrap();
        let mut read = vec![0; data(60_000).len()];
        one.read_exact(&mut read).await.unwrap();
        assert_eq!(read, data(60_000));
    }

    #[tokio::test]
    async fn as_many_fragments_as_allowed_are_put_together_and_one_more_is_not() {
        let whole = data(300);
        let fragments = |count: usize| {
            let mut sent = Vec::new();
            for (at, byte) in whole[..count - 1].iter().enumerate() {
                sent.extend(masked(if at == 0 { 0x02 } else { 0x00 }, &[*byte]));
            }
            sent.extend(masked(0x80, &whole[count - 1..]));
            sent
        };
        let most = super::super::gauge::MOST_FRAGMENTS as usize;
        assert_eq!(read(None, true, &fragments(most)).await.unwrap(), whole);
        let error = read(None, true, &fragments(most + 1)).await.unwrap_err();
        assert!(error.to_string().contains("256 fragments"), "{error}");
    }

    #[tokio::test]
    async fn a_wakewire_peer_sends_one_frame_a_binary_message() {
        for (first, payload, words) in [
            (0x81, b"text".to_vec(), "binary"),
            (0x82, [data(1), data(1)].concat(), "not one frame"),
            (0x82, data(5)[..33].to_vec(), "not one frame"),
            // A bit that only an extension such as permessage-deflate may set.
            (0xc2, data(5).to_vec(), "Reserved bits"),
        ] {
            let error = read(None, true, &masked(first, &payload))
                .await
                .unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        // As a server sends it: not masked.
        let mut bare = vec![0x82, 32];
        bare.extend(data(0));
        let error = read(None, true, &bare).await.unwrap_err();
        assert!(error.to_string().contains("unmasked"), "{error}");
    }

    #[tokio::test]
    async fn our_goodbye_closes_and_the_peers_ends() {
        let id = crate::wire::SessionId(1);
        let foreign = Some(Translator::for_producer(id, None, true));
        let (mut socket, mut peer) = server(foreign, 1 << 16).await;
        let goodbye = Reject {
            code: hello::Code::Leaving,
            text: "it was closed".to_owned(),
            retry_after_ms: 0,
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Close, &goodbye, true, &mut bytes);
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut close = [0; 17];
        peer.read_exact(&mut close).await.unwrap();
        assert_eq!(&close, b"\x88\x0f\x03\xe9it was closed");

        let (mut socket, mut peer) = server(None, 1 << 16).await;
        peer.write_all(&masked(0x88, b"\x03\xe8bye")).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x88\x05\x03\xe8");
        let ping = Header::control(Kind::Ping);
        let mut bytes = BytesMut::new();
        frame::encode_control(ping, &[], true, &mut bytes);
        assert!(socket.write_all(&bytes).await.is_err() || socket.flush().await.is_err());
    }
}
