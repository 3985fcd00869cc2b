//! A connection against a peer that is played by hand, over memory and with paused time.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::super::codec::{CodecError, MessageCodec, Plain};
use super::{Connection, ConnectionSettings};
use crate::endpoint::Endpoint;
use crate::error::SinkError;
use crate::message::Message;
use crate::transport::dial::{Dial, Opening};
use crate::transport::line::{Duplex, Line};
use crate::transport::reader::FrameReader;
use crate::wire::SessionId;
use crate::wire::data;
use crate::wire::data::{decode_carried, wanted_within};
use crate::wire::frame::{self, Carrier, HEADER, Header, Kind};
use crate::wire::hello::{self, Code, Hello, Limits, Reject, Welcome};
use crate::wire::refusal::{self, Reason, Refusal};
use crate::wire::scan::{Piece, Scanner};

const MINUTE: Duration = Duration::from_secs(60);

/// Gives out one stream, once.
struct Once(Mutex<Option<Box<dyn Duplex>>>);

impl Dial for Once {
    fn dial(&self) -> Opening {
        let stream = self.0.lock().take().expect("dialled once");
        Opening::new(async move { Ok(Line::new(stream)) })
    }
}

/// The other side.
struct Peer {
    reader: FrameReader<tokio::io::ReadHalf<DuplexStream>>,
    writer: tokio::io::WriteHalf<DuplexStream>,
}

impl Peer {
    fn new(stream: DuplexStream) -> Self {
        let (reader, writer) = split(stream);
        let reader = FrameReader::new(reader, Scanner::new(false));
        Self { reader, writer }
    }

    async fn greet(&mut self, in_flight: u32) {
        let (header, body) = self.control().await;
        assert_eq!(header.kind, Kind::Hello);
        let hello: Hello = hello::decode(Kind::Hello, &body).unwrap();
        assert!(hello.requester.is_some());
        self.reader.scanner().limit = 1 << 20;
        let limits = Limits {
            frame: 1 << 20,
            idle_ms: 1000,
            ping_ms: 5000,
        };
        let welcome = Welcome {
            version: 1,
            limits,
            acked: 0,
            have: 0,
            consumers: 0,
            node: SessionId(77),
            offer: None,
            in_flight: Some(in_flight),
            hold_ms: None,
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Welcome, &welcome, false, &mut bytes);
        self.write(&bytes).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    async fn control(&mut self) -> (Header, bytes::Bytes) {
        loop {
            match timeout(MINUTE, self.reader.next()).await.unwrap() {
                // We are asked whether we live.
                Ok(Some(Piece::Control { header, .. }))
                    if (header.kind, header.sequence) == (Kind::Ping, 0) => {}
                Ok(Some(Piece::Control { header, body })) => return (header, body),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads a request; returns its number and its message.
    async fn request(&mut self) -> (u64, Message) {
        let (header, body) = self.control().await;
        assert_eq!(header.kind, Kind::Request);
        assert!(wanted_within(&header, &body).unwrap().is_some());
        (header.sequence, decode_carried(&header, body).unwrap())
    }

    async fn answer(&mut self, number: u64, text: &'static str) {
        let carrier = Carrier {
            kind: Kind::Response,
            sequence: number,
            within_ms: None,
        };
        let mut bytes = BytesMut::new();
        frame::encode_carried(&Message::new(text), carrier, false, &mut bytes);
        self.write(&bytes).await;
    }

    async fn say(&mut self, kind: Kind, sequence: u64) {
        let header = Header {
            sequence,
            ..Header::control(kind)
        };
        let mut bytes = BytesMut::new();
        frame::encode_control(header, &[], false, &mut bytes);
        self.write(&bytes).await;
    }

    async fn leave(&mut self) {
        let mut bytes = BytesMut::new();
        let leaving = Reject {
            code: Code::Leaving,
            text: "shutting down".to_owned(),
            retry_after_ms: 0,
        };
        hello::encode(Kind::Close, &leaving, false, &mut bytes);
        self.write(&bytes).await;
    }
}

async fn over(
    stream: impl Duplex + 'static,
    endpoint: &str,
    settings: ConnectionSettings,
) -> Connection {
    let dial = Once(Mutex::new(Some(Box::new(stream))));
    let endpoint: Endpoint = endpoint.parse().unwrap();
    Connection::over(&dial, &endpoint, Plain, settings)
        .await
        .unwrap()
}

/// A connection and its peer, which allows so many requests at a time.
async fn pair(in_flight: u32) -> (Connection, Peer) {
    let (ours, theirs) = duplex(1 << 16);
    let mut peer = Peer::new(theirs);
    let (connection, ()) = tokio::join!(
        over(ours, "/s", ConnectionSettings::default()),
        peer.greet(in_flight)
    );
    (connection, peer)
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

fn ask(
    connection: &Connection,
    what: &'static str,
) -> tokio::task::JoinHandle<Result<Message, SinkError>> {
    let connection = connection.clone();
    tokio::spawn(async move { connection.send_request(Message::new(what)).await })
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_any_order() {
    let (connection, mut peer) = pair(0).await;
    let (one, two) = (ask(&connection, "one"), ask(&connection, "two"));
    let (first, second) = (peer.request().await, peer.request().await);
    assert_ne!(first.0, second.0);
    for (number, message) in [second, first] {
        let answer = if text(&message) == "one" { "1" } else { "2" };
        peer.answer(number, answer).await;
    }
    assert_eq!(text(&one.await.unwrap().unwrap()), "1");
    assert_eq!(text(&two.await.unwrap().unwrap()), "2");
    assert_eq!(connection.node_id(), 77);
    assert_eq!(connection.announced_idle(), Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_reaches_nobody() {
    let (connection, mut peer) = pair(0).await;
    let late = ask(&connection, "late");
    let (number, _) = peer.request().await;
    let error = late.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    assert_eq!(error.into_message(), None, "the peer may have processed it");
    let (header, body) = peer.control().await;
    assert_eq!((header.kind, header.sequence), (Kind::Failure, number));
    let refusal: Refusal = hello::decode(Kind::Failure, &body).unwrap();
    assert_eq!(refusal.reason, Reason::Cancelled);

    let next = ask(&connection, "next");
    let (other, _) = peer.request().await;
    assert!(other > number, "numbers are not used again");
    peer.answer(number, "to the late one").await;
    peer.answer(other, "to the next").await;
    assert_eq!(text(&next.await.unwrap().unwrap()), "to the next");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_never_asked_ends_the_connection() {
    let (connection, mut peer) = pair(0).await;
    peer.answer(5, "?").await;
    timeout(MINUTE, connection.closed()).await.unwrap();
    let error = connection
        .send_request(Message::new("x"))
        .await
        .unwrap_err();
    assert!(error.into_message().is_some(), "never written");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_forgotten_on_both_sides() {
    let (connection, mut peer) = pair(0).await;
    {
        let mut request = pin!(connection.send_request(Message::new("x")));
        assert!(
            timeout(Duration::from_millis(1), &mut request)
                .await
                .is_err()
        );
        assert_eq!(connection.in_flight(), 1);
    }
    assert_eq!(connection.in_flight(), 0);
    let (number, _) = peer.request().await;
    let (header, _) = peer.control().await;
    assert_eq!((header.kind, header.sequence), (Kind::Failure, number));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_it_is_written_is_not_seen() {
    let (connection, mut peer) = pair(0).await;
    {
        // Polled once, so that it is queued, and the driver did not run.
        let mut request = pin!(connection.send_request(Message::new("x")));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(request.as_mut().poll(&mut context).is_pending());
    }
    let next = ask(&connection, "next");
    let (number, message) = peer.request().await;
    assert_eq!(text(&message), "next");
    peer.answer(number, "1").await;
    next.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_answers_what_is_open_and_gets_nothing_more() {
    let (connection, mut peer) = pair(0).await;
    let open = ask(&connection, "open");
    let (number, _) = peer.request().await;
    peer.leave().await;
    while connection.is_open() {
        yield_now().await;
    }
    let error = connection
        .send_request(Message::new("new"))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
    assert_eq!(error.into_message(), Some(Message::new("new")));
    peer.answer(number, "answered").await;
    assert_eq!(text(&open.await.unwrap().unwrap()), "answered");
    assert_eq!(peer.control().await.0.kind, Kind::Close);
    drop(peer);
    timeout(MINUTE, connection.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_refuses_unprocessed_comes_back() {
    let (connection, mut peer) = pair(0).await;
    for (reason, returned) in [
        (Reason::Overloaded, true),
        (Reason::Leaving, true),
        (Reason::Failed, false),
        (Reason::DeadlineExceeded, false),
    ] {
        let request = ask(&connection, "x");
        let (number, _) = peer.request().await;
        let refusal = Refusal {
            reason,
            text: "because".to_owned(),
        };
        peer.write(&refusal::failure(number, &refusal, false)).await;
        let error = request.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("because"), "{error}");
        assert_eq!(error.into_message().is_some(), returned, "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn further_requests_wait_where_the_peer_allows_two() {
    let (connection, mut peer) = pair(2).await;
    let asked: Vec<_> = ["a", "b", "c"].map(|what| ask(&connection, what)).into();
    let (first, _) = peer.request().await;
    let (second, _) = peer.request().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(connection.in_flight(), 2);
    peer.answer(first, "1").await;
    let (third, _) = peer.request().await;
    for number in [second, third] {
        peer.answer(number, "1").await;
    }
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
    // One that has waited for its turn in vain was never sent.
    let (_one, _two) = (ask(&connection, "a"), ask(&connection, "b"));
    yield_now().await;
    let waiting = connection.send_request_within(Message::new("c"), Duration::from_secs(1));
    let error = waiting.await.unwrap_err();
    assert_eq!(error.into_message(), Some(Message::new("c")));
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_by_its_own_pong_or_not_at_all() {
    let (connection, mut peer) = pair(0).await;
    let second = Duration::from_secs(1);
    let silent = connection.ping(second).await.unwrap_err();
    assert!(matches!(silent, SinkError::Timeout(_)), "{silent}");
    let (old, _) = peer.control().await;
    assert_eq!(old.kind, Kind::Ping);

    let (pinged, ()) = tokio::join!(connection.ping(second), async {
        let (new, _) = peer.control().await;
        assert!(new.sequence > old.sequence);
        // The answer to the old one, late, is none to this one.
        peer.say(Kind::Pong, old.sequence).await;
        sleep(second / 2).await;
        peer.say(Kind::Pong, new.sequence).await;
    });
    assert!(pinged.unwrap() >= second / 2);

    drop(peer);
    let gone = connection.ping(second).await.unwrap_err();
    assert!(matches!(gone, SinkError::ConnectionLost(_)), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_told_that_we_live() {
    let (_connection, mut peer) = pair(0).await;
    peer.say(Kind::Ping, 41).await;
    let (header, _) = peer.control().await;
    assert_eq!((header.kind, header.sequence), (Kind::Pong, 41));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (connection, _peer) = pair(0).await;
    sleep(Duration::from_secs(30)).await;
    assert!(!connection.is_open(), "silent for 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up_and_what_was_not_written_comes_back() {
    let (ours, theirs) = duplex(1000);
    let mut peer = Peer::new(theirs);
    let settings = ConnectionSettings {
        timeout: MINUTE,
        ..ConnectionSettings::default()
    };
    let (connection, ()) = tokio::join!(over(ours, "/s", settings), peer.greet(0));
    // Alive, but it reads nothing.
    let Peer { reader, mut writer } = peer;
    let pongs = tokio::spawn(async move {
        let mut pong = BytesMut::new();
        frame::encode_control(Header::control(Kind::Pong), &[], false, &mut pong);
        while writer.write_all(&pong).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let small = ask(&connection, "small");
    yield_now().await;
    let large = connection.clone();
    let large = tokio::spawn(async move { large.send_request(Message::new(vec![0; 5000])).await });
    sleep(Duration::from_secs(9)).await;
    assert!(connection.is_open(), "one second before the limit");
    sleep(Duration::from_secs(2)).await;
    assert!(!connection.is_open(), "one second past the limit");
    let error = small.await.unwrap().unwrap_err();
    assert_eq!(error.into_message(), None, "written");
    let error = large.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("has read nothing"), "{error}");
    assert!(error.into_message().is_some(), "its end was not written");
    pongs.await.unwrap();
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_peer_that_does_not_read_is_bounded() {
    let (ours, theirs) = duplex(1000);
    let mut peer = Peer::new(theirs);
    let (connection, ()) = tokio::join!(
        over(ours, "/s", ConnectionSettings::default()),
        peer.greet(0)
    );
    let megabyte = Message::new(vec![0; 1_000_000]);
    let sends: Vec<_> = (0..20)
        .map(|_| {
            let (connection, message) = (connection.clone(), megabyte.clone());
            tokio::spawn(async move { connection.send_message(message).await })
        })
        .collect();
    let mut returned = 0;
    for send in sends {
        let error = send.await.unwrap().unwrap_err();
        assert!(matches!(error, SinkError::Timeout(_)), "{error}");
        returned += usize::from(error.into_message().is_some());
    }
    // All but the one that was being written.
    assert_eq!(returned, 19);
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_would_not_take_is_not_sent() {
    let (connection, _peer) = pair(0).await;
    let largest = (1 << 20) - super::shared::WITHIN_BYTES;
    let too_large = Message::new(vec![0; largest + 1]);
    let error = connection.send_request(too_large).await.unwrap_err();
    assert!(matches!(error, SinkError::MessageTooLarge(_)), "{error}");
    assert!(error.into_message().is_some());
    let long = Message::new("x").with_target("t".repeat(256));
    let error = connection.send_request(long).await.unwrap_err();
    assert!(matches!(error, SinkError::SendFailed(_)), "{error}");
    assert!(error.into_message().is_some());
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn the_largest_message_is_sent() {
    let (connection, mut peer) = pair(0).await;
    let largest = (1 << 20) - super::shared::WITHIN_BYTES;
    let request = connection.send_request(Message::new(vec![7; largest]));
    let (answer, ()) = tokio::join!(request, async {
        let (number, message) = peer.request().await;
        assert_eq!(message.payload.len(), largest);
        peer.answer(number, "ok").await;
    });
    answer.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_go_both_ways() {
    let (connection, mut peer) = pair(0).await;
    connection
        .send_message(Message::new("there"))
        .await
        .unwrap();
    let Ok(Some(Piece::Run { run, .. })) = peer.reader.next().await else {
        panic!("not data");
    };
    assert_eq!(text(&data::decode_message(run.bytes).unwrap()), "there");
    let mut bytes = BytesMut::new();
    frame::encode_message(&Message::new("back"), 1, false, &mut bytes);
    frame::encode_message(&Message::new("again"), 2, false, &mut bytes);
    peer.write(&bytes).await;
    for expected in ["back", "again"] {
        let message = connection.receive_message().await.unwrap().unwrap();
        assert_eq!(text(&message), expected);
    }
    drop(peer);
    assert_eq!(connection.receive_message().await.unwrap(), None);
}

#[test]
fn it_closes_outside_of_a_runtime_and_when_the_runtime_ends() {
    for ends_first in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (connection, mut peer) = runtime.block_on(pair(0));
        if ends_first {
            drop(runtime);
            assert!(!connection.is_open());
            connection.close();
            continue;
        }
        connection.close();
        assert!(!connection.is_open());
        runtime.block_on(async {
            assert_eq!(peer.control().await.0.kind, Kind::Close);
            drop(peer);
            timeout(MINUTE, connection.closed()).await.unwrap();
        });
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_closes() {
    let (connection, mut peer) = pair(0).await;
    let other = connection.clone();
    drop(connection);
    assert!(other.is_open());
    drop(other);
    assert_eq!(peer.control().await.0.kind, Kind::Close);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_it_is_closed_fails_at_once() {
    let (connection, mut peer) = pair(0).await;
    let request = ask(&connection, "x");
    peer.request().await;
    connection.close();
    let error = request.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert_eq!(error.into_message(), None, "the peer has it");
    let error = connection
        .send_request(Message::new("y"))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert!(error.into_message().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_waits_for_what_is_under_way_within_its_time() {
    for answers in [true, false] {
        let (connection, mut peer) = pair(0).await;
        let request = ask(&connection, "x");
        let (number, _) = peer.request().await;
        let leaving = connection.clone();
        let leaving = tokio::spawn(async move { leaving.disconnect(MINUTE / 2).await });
        while connection.is_open() {
            yield_now().await;
        }
        let late = connection.send_request(Message::new("y")).await;
        let error = late.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)), "{error}");
        assert!(error.into_message().is_some());
        if answers {
            peer.answer(number, "answer").await;
            assert_eq!(text(&request.await.unwrap().unwrap()), "answer");
        } else {
            let error = request.await.unwrap().unwrap_err();
            assert!(matches!(error, SinkError::Timeout(_)), "{error}");
            assert_eq!(peer.control().await.0.kind, Kind::Failure);
        }
        assert_eq!(peer.control().await.0.kind, Kind::Close);
        drop(peer);
        assert!(leaving.await.unwrap());
    }
    let (connection, mut peer) = pair(0).await;
    let request = ask(&connection, "x");
    peer.request().await;
    assert!(!connection.disconnect(Duration::from_secs(1)).await);
    let error = request.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert_eq!(error.into_message(), None, "the peer has it");
}

/// Takes so many bytes after the greeting; then it breaks, and says so by an error of the write or only by the end of
/// what is read.
struct Brittle {
    stream: DuplexStream,
    left: Arc<AtomicUsize>,
    by_error: bool,
    broken: AtomicBool,
    reading: Option<std::task::Waker>,
}

impl AsyncWrite for Brittle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.left.load(SeqCst);
        if left == 0 {
            self.broken.store(true, SeqCst);
            if let Some(reading) = self.reading.take() {
                reading.wake();
            }
            if self.by_error {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            return Poll::Pending;
        }
        let taken = Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(left)]);
        if let Poll::Ready(Ok(taken)) = taken
            && left != usize::MAX
        {
            self.left.fetch_sub(taken, SeqCst);
        }
        taken
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.left.load(SeqCst) == 0 && !self.by_error {
            // Everything was taken, and now the peer is gone.
            self.broken.store(true, SeqCst);
            if let Some(reading) = &self.reading {
                reading.wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Brittle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken.load(SeqCst) && !self.by_error {
            return Poll::Ready(Ok(()));
        }
        self.reading = Some(cx.waker().clone());
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Cut after every number of bytes of two requests: a request comes back with its message exactly if its last byte was
/// not taken. Where a failing write may have taken something, it never comes back when the peer could have it.
#[tokio::test(start_paused = true)]
async fn what_was_certainly_never_written_is_known_at_every_cut() {
    let length = HEADER + 2 + 7 + "one".len();
    for (endpoint, by_error, exact) in [
        ("/s", false, true),
        ("/s", true, true),
        ("tls://a:1", false, true),
        ("tls://a:1", true, false),
    ] {
        for cut in 0..=2 * length {
            let (ours, theirs) = duplex(1 << 16);
            let left = Arc::new(AtomicUsize::new(usize::MAX));
            let brittle = Brittle {
                stream: ours,
                left: Arc::clone(&left),
                by_error,
                broken: AtomicBool::new(false),
                reading: None,
            };
            let mut peer = Peer::new(theirs);
            let (connection, ()) = tokio::join!(
                over(brittle, endpoint, ConnectionSettings::default()),
                peer.greet(0)
            );
            left.store(cut, SeqCst);
            let (one, two) = (ask(&connection, "one"), ask(&connection, "two"));
            let one = one.await.unwrap().unwrap_err().into_message().is_some();
            let two = two.await.unwrap().unwrap_err().into_message().is_some();
            let (one_taken, two_taken) = (cut >= length, cut >= 2 * length);
            if exact {
                assert_eq!(
                    (one, two),
                    (!one_taken, !two_taken),
                    "{endpoint} {by_error} {cut}"
                );
            } else {
                assert!(!(one && one_taken || two && two_taken), "{endpoint} {cut}");
            }
            // The peer agrees.
            drop(connection);
            let mut seen = 0;
            while let Ok(Ok(Some(piece))) = timeout(MINUTE, peer.reader.next()).await {
                let Piece::Control { header, .. } = piece else {
                    panic!("{piece:?}");
                };
                seen += usize::from(header.kind == Kind::Request);
            }
            assert_eq!(
                seen,
                usize::from(one_taken) + usize::from(two_taken),
                "{cut}"
            );
        }
    }
}

struct Numbers;

impl MessageCodec for Numbers {
    type Item = u32;

    fn encode(&self, item: &u32) -> Result<Message, CodecError> {
        if *item == 0 {
            return Err("there is no 0".into());
        }
        Ok(Message::new(item.to_string()))
    }

    fn decode(&self, message: Message) -> Result<u32, CodecError> {
        Ok(std::str::from_utf8(&message.payload)?.parse()?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_may_refuse_both_ways() {
    let (ours, theirs) = duplex(1 << 16);
    let mut peer = Peer::new(theirs);
    let dial = Once(Mutex::new(Some(Box::new(ours))));
    let endpoint: Endpoint = "/s".parse().unwrap();
    let opening = Connection::over(&dial, &endpoint, Numbers, ConnectionSettings::default());
    let (connection, ()) = tokio::join!(opening, peer.greet(0));
    let connection = connection.unwrap();
    let error = connection.send_request(0).await.unwrap_err();
    assert!(error.to_string().contains("there is no 0"), "{error}");
    for (answer, read) in [("42", Some(42)), ("x", None)] {
        let (answered, ()) = tokio::join!(connection.send_request(&7), async {
            let (number, message) = peer.request().await;
            assert_eq!(text(&message), "7");
            peer.answer(number, answer).await;
        });
        assert_eq!(answered.as_ref().ok(), read.as_ref(), "{answered:?}");
    }
    assert!(connection.is_open());
}

#[test]
fn connections_are_shared_between_threads_and_show_no_secret() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<Connection>();
    shared::<Connection<Numbers>>();
}
