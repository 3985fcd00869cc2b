//! What one may know of a request that was not answered: against a server that is played byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use wakewire::connection::{Connection, ConnectionSettings};
use wakewire::{Message, SinkError};

use super::{FAILURE, REQUEST};
use crate::support::{Place, eventually, soon};

const RESPONSE: u8 = 8;

/// A server that is played byte by byte, over a Unix socket.
struct Foreign(UnixStream);

/// Opens a connection to a server that is played by hand.
async fn pair(place: &Place, in_flight: u8) -> (Connection, Foreign) {
    let path = place.path().join("foreign.sock");
    std::fs::remove_file(&path).ok();
    let listener = UnixListener::bind(&path).unwrap();
    let url = format!("unix://{}", path.display());
    let greeted = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut foreign = Foreign(stream);
        foreign.greet(in_flight).await;
        foreign
    };
    let opened = Connection::open(url.as_str(), ConnectionSettings::default());
    let (connection, foreign) = soon(async { tokio::join!(opened, greeted) }).await;
    (connection.unwrap(), foreign)
}

fn ask(
    connection: &Connection,
    message: Message,
    within: Duration,
) -> JoinHandle<Result<Message, SinkError>> {
    let connection = connection.clone();
    tokio::spawn(async move { connection.send_request_within(message, within).await })
}

const LONG: Duration = Duration::from_secs(20);

impl Foreign {
    async fn greet(&mut self, in_flight: u8) {
        let (kind, ..) = self.frame().await;
        assert_eq!(kind, 1, "hello");
        let welcome = [
            // version, limits (1 MiB, never idle, asked after 5 s), acked, have, consumers, node, in flight
            &[0xa7, 0, 1, 1, 0xa3, 0, 0x1a, 0, 0x10, 1, 0, 1, 0, 2][..],
            &[0x19, 0x13, 0x88, 2, 0, 3, 0, 4, 0, 5, 0x50],
            &[7; 16],
            &[7, 0x18, in_flight],
        ];
        self.write(2, 0, &welcome.concat()).await;
    }

    async fn write(&mut self, kind: u8, number: u64, body: &[u8]) {
        let mut head = [0; 32];
        let length = u32::try_from(body.len()).unwrap();
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind;
        head[8..16].copy_from_slice(&number.to_le_bytes());
        self.0.write_all(&head).await.unwrap();
        self.0.write_all(body).await.unwrap();
    }

    /// Returns kind, number and body of the next frame.
    async fn frame(&mut self) -> (u8, u64, Vec<u8>) {
        let mut head = [0; 32];
        soon(self.0.read_exact(&mut head)).await.unwrap();
        let length = u32::from_le_bytes(head[..4].try_into().unwrap());
        let mut body = vec![0; length as usize];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        let number = u64::from_le_bytes(head[8..16].try_into().unwrap());
        (head[4], number, body)
    }

    /// Returns number, time limit and payload of the next frame, a request.
    async fn request(&mut self) -> (u64, u32, Vec<u8>) {
        let (kind, number, body) = self.frame().await;
        assert_eq!((kind, &body[..5]), (REQUEST, &[7, 0, 4, 4, 0][..]));
        let within = u32::from_le_bytes(body[5..9].try_into().unwrap());
        (number, within, body[9..].to_vec())
    }
}

#[tokio::test]
async fn a_late_answer_reaches_no_other_request() {
    let place = Place::new();
    // The peer allows one at a time, so that the next one could only be mistaken for the last.
    for in_flight in [1, 32] {
        let (connection, mut foreign) = pair(&place, in_flight).await;
        let mut late = Vec::new();
        for _ in 0..5 {
            let given_up = ask(
                &connection,
                Message::new("first"),
                Duration::from_millis(50),
            );
            let (number, within, _) = foreign.request().await;
            assert!((1..=50).contains(&within), "{within} ms");
            let error = soon(given_up).await.unwrap().unwrap_err();
            assert!(matches!(error, SinkError::Timeout(_)), "{error}");
            assert_eq!(error.into_message(), None, "the peer has it");
            let (kind, cancelled, body) = foreign.frame().await;
            assert_eq!((kind, cancelled), (FAILURE, number));
            assert_eq!(body[..3], [0xa2, 0, 4], "code 4: not wanted any more");
            assert_eq!(connection.in_flight(), 0);
            late.push(number);
        }
        let wanted = ask(&connection, Message::new("second"), LONG);
        let (number, within, payload) = foreign.request().await;
        assert_eq!(payload, b"second");
        assert!((15_000..=20_000).contains(&within), "{within} ms");
        for late in late {
            assert_ne!(late, number);
            foreign.write(RESPONSE, late, b"late").await;
        }
        foreign.write(RESPONSE, number, b"in time").await;
        // And twice: the second time it is late.
        foreign.write(RESPONSE, number, b"again").await;
        let answer = soon(wanted).await.unwrap().unwrap();
        assert_eq!(&answer.payload[..], b"in time");
        let next = ask(&connection, Message::new("third"), LONG);
        let (number, ..) = foreign.request().await;
        foreign.write(RESPONSE, number, b"third").await;
        let answer = soon(next).await.unwrap().unwrap();
        assert_eq!(&answer.payload[..], b"third");
    }
}

#[tokio::test]
async fn answers_in_reverse_order_find_their_requests() {
    let place = Place::new();
    let (connection, mut foreign) = pair(&place, 200).await;
    let requests: Vec<_> = (0..200u32)
        .map(|asked| {
            let message = Message::new(asked.to_le_bytes().to_vec());
            (asked, ask(&connection, message, LONG))
        })
        .collect();
    let mut came = Vec::new();
    for _ in 0..200 {
        came.push(foreign.request().await);
    }
    assert_eq!(connection.in_flight(), 200);
    for (number, _, payload) in came.iter().rev() {
        foreign.write(RESPONSE, *number, payload).await;
    }
    for (asked, request) in requests {
        let answer = soon(request).await.unwrap().unwrap();
        assert_eq!(answer.payload[..], asked.to_le_bytes());
    }
}

/// Two of them do not fit into a socket that nobody reads.
const LARGE: usize = 1 << 20;

#[tokio::test]
async fn what_was_certainly_never_written_comes_back_and_only_that() {
    let place = Place::new();
    for read in [0, 1, 3] {
        let (connection, mut foreign) = pair(&place, 32).await;
        let message = |asked: u8| Message::new(vec![asked; LARGE]);
        let mut requests = Vec::new();
        for asked in 0..6 {
            requests.push(ask(&connection, message(asked), LONG));
            eventually("asked", || connection.in_flight() == requests.len()).await;
        }
        for asked in 0..read {
            let (.., payload) = foreign.request().await;
            assert!(payload.iter().all(|&byte| byte == asked), "in order");
        }
        drop(foreign);
        for (asked, request) in (0..).zip(requests) {
            let error = soon(request).await.unwrap().unwrap_err();
            assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
            let back = error.into_message();
            if asked < read {
                assert_eq!(back, None, "{asked} of {read}: it may have been processed");
            } else {
                assert_eq!(back, Some(message(asked)), "{asked} of {read}");
            }
        }
        assert!(!connection.is_open());
    }
}
