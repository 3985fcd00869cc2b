//! A listener that holds its acknowledgements is told when somebody waits for one; it is played by hand here, from
//! `docs/wire-protocol.md`, and acknowledges nothing that it is not urged to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use wakewire::{MessageSink, SinkFactory};

use crate::support::{Place, eventually, factory, numbered, soon};

const HEADER: usize = 32;
const DATA: u8 = 4;
const ACK: u8 = 5;
const CLOSE: u8 = 12;
const URGE: u8 = 16;

/// A `Welcome` with a `Limits` of 1 MiB, of which nothing was received yet; acknowledgements are held for 25 ms.
const WELCOME: [u8; 46] = [
    0xa7, 0x00, 0x01, 0x01, 0xa3, 0x00, 0x1a, 0x00, 0x10, 0x00, 0x00, 0x01, 0x19, 0xea, 0x60, 0x02,
    0x19, 0x13, 0x88, 0x02, 0x00, 0x03, 0x00, 0x04, 0x01, 0x05, 0x50, 0xf0, 0xe0, 0xd0, 0xc0, 0xb0,
    0xa0, 0x90, 0x80, 0x70, 0x60, 0x50, 0x40, 0x30, 0x20, 0x10, 0x00, 0x08, 0x18, 0x19,
];

/// What the listener has been sent.
#[derive(Debug, Default)]
struct Heard {
    messages: AtomicU64,
    urges: AtomicU64,
}

impl Heard {
    fn messages(&self) -> u64 {
        self.messages.load(SeqCst)
    }

    fn urges(&self) -> u64 {
        self.urges.load(SeqCst)
    }
}

fn header(kind: u8, length: u32, sequence: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] = kind;
    // Of an `Ack`: somebody takes messages.
    header[6] = u8::from(kind == ACK);
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header
}

/// Reads a frame; returns its kind and its sequence.
async fn frame(stream: &mut UnixStream) -> std::io::Result<(u8, u64)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    let sequence = u64::from_le_bytes(header[8..16].try_into().unwrap());
    Ok((header[4], sequence))
}

async fn listen(listener: UnixListener, heard: Arc<Heard>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    frame(&mut stream).await.unwrap();
    let mut welcome = header(2, 46, 0).to_vec();
    welcome.extend(WELCOME);
    stream.write_all(&welcome).await.unwrap();
    let mut last = 0;
    while let Ok((kind, sequence)) = frame(&mut stream).await {
        match kind {
            DATA => {
                assert_eq!(sequence, last + 1);
                last = sequence;
                heard.messages.store(last, SeqCst);
            }
            URGE => {
                assert!(sequence <= last, "what was not sent cannot be waited for");
                heard.urges.fetch_add(1, SeqCst);
                stream.write_all(&header(ACK, 0, sequence)).await.unwrap();
            }
            CLOSE => return,
            other => panic!("unexpected: kind {other}"),
        }
    }
}

/// The service, who listens there, and what was heard.
fn begin(further: &str) -> (Place, SinkFactory, JoinHandle<()>, Arc<Heard>) {
    let place = Place::new();
    let factory = factory(&place.unix("held", "direct", further));
    let listener = UnixListener::bind(place.path().join("held.sock")).unwrap();
    let heard = Arc::new(Heard::default());
    let listening = tokio::spawn(listen(listener, Arc::clone(&heard)));
    (place, factory, listening, heard)
}

#[tokio::test]
async fn who_waits_for_an_acknowledgement_has_it_asked_for_and_who_does_not_has_not() {
    let (_place, factory, listening, heard) = begin("");
    let sink = factory.create_sink("held").await.unwrap();
    for n in 0..5 {
        sink.send(numbered(n)).await.unwrap();
        eventually("it came", || heard.messages() > n).await;
    }
    assert_eq!(heard.urges(), 0, "nobody waits");
    let report = soon(sink.flush(Duration::from_secs(20))).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(heard.urges(), 1);
    soon(sink.send_confirmed(numbered(5))).await.unwrap();
    assert_eq!((heard.messages(), heard.urges()), (6, 2));
    let mut receipts = Vec::new();
    for n in 6..9 {
        receipts.push(sink.send_with_receipt(numbered(n)).await.unwrap());
    }
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    sink.send(numbered(9)).await.unwrap();
    eventually("it came", || heard.messages() == 10).await;
    soon(sink.disconnect()).await.unwrap();
    soon(listening).await.unwrap();
}

#[tokio::test]
async fn a_sender_whose_buffer_is_full_is_not_held_up() {
    let (_place, factory, listening, heard) = begin("buffer_size = 2");
    let sink = factory.create_sink("held").await.unwrap();
    for n in 0..100 {
        soon(sink.send(numbered(n))).await.unwrap();
    }
    assert!(
        soon(factory.close(Duration::from_secs(20)))
            .await
            .is_complete()
    );
    assert_eq!(heard.messages(), 100);
    soon(listening).await.unwrap();
}
