//! Peers that speak the protocol by hand, so that what they do is not the library's: `docs/wire-protocol.md`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The bytes of a header.
const HEADER: usize = 32;

/// The kinds of frames.
const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const DATA: u8 = 4;
const ACK: u8 = 5;
const GAP: u8 = 6;

/// What is sent in one go: it fits into a socket's buffer, so that the other side finds it all at once.
const CHUNK: usize = 56 * 1024;

fn frame(kind: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    let length = u32::try_from(body.len()).expect("a short body");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4] = kind;
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame.extend(body);
    frame
}

/// A hello: versions 1 to 1, any service, frames of 1 MiB, no idle time; and who it is.
fn hello(role: u8, who: &[u8]) -> Vec<u8> {
    let mut map = vec![0xa5, 0x00, 0x01, 0x01, 0x01, 0x02, 0x60];
    map.extend([
        0x03, 0xa3, 0x00, 0x1a, 0, 0x10, 0, 0, 0x01, 0x00, 0x02, 0x00,
    ]);
    map.push(role);
    map.extend(who);
    frame(HELLO, 0, &map)
}

/// A connection that was welcomed.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: UnixStream,
    /// The number of the last message, sent or received.
    last: u64,
}

impl Peer {
    /// Becomes a producer of a session that begins.
    pub(crate) async fn producer(path: &Path) -> Result<Self> {
        let mut who = vec![0xa3, 0x00, 0x50];
        who.extend([1; 16]);
        who.extend([0x01, 0x01, 0x02, 0xf4]);
        Self::greet(path, &hello(0x04, &who)).await
    }

    /// Becomes a consumer without a name.
    pub(crate) async fn consumer(path: &Path, number: u8) -> Result<Self> {
        let mut who = vec![0xa4, 0x01, 0x50];
        who.extend([number; 16]);
        who.extend([0x02, 0xf4, 0x03, 0x00, 0x04, 0x00]);
        Self::greet(path, &hello(0x05, &who)).await
    }

    async fn greet(path: &Path, hello: &[u8]) -> Result<Self> {
        let stream = loop {
            // Who listens is only now told to.
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut peer = Self { stream, last: 0 };
        peer.stream.write_all(hello).await?;
        let (kind, _) = peer.frame().await?;
        ensure!(kind == WELCOME, "not welcomed: a frame of kind {kind}");
        Ok(peer)
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; HEADER];
        self.stream.read_exact(&mut head).await?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let mut body = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut body).await?;
        Ok((head[4], body))
    }

    /// Hands the system as many messages of this size as fit; returns how many.
    pub(crate) fn send(&mut self, size: usize) -> Result<u64> {
        let count = messages(size);
        let body = vec![7; size];
        let mut bytes = Vec::with_capacity(CHUNK);
        for _ in 0..count {
            self.last += 1;
            bytes.extend(frame(DATA, self.last, &body));
        }
        let written = self.stream.try_write(&bytes)?;
        ensure!(written == bytes.len(), "it did not fit: {written}");
        Ok(count)
    }

    /// Throws away the acknowledgements that have come.
    pub(crate) fn forget_acks(&mut self) -> Result<()> {
        let mut room = [0; 4096];
        match self.stream.try_read(&mut room) {
            Ok(0) => anyhow::bail!("the other side closed the connection"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what a relay says before the first message of a producer.
    pub(crate) async fn gap(&mut self) -> Result<()> {
        let (kind, _) = self.frame().await.context("a relay")?;
        ensure!(kind == GAP, "a frame of kind {kind} is no gap");
        Ok(())
    }

    /// Reads what [`send`](Self::send) has sent to a relay.
    pub(crate) async fn receive(&mut self, size: usize) -> Result<()> {
        let count = messages(size);
        let mut bytes = vec![0; usize::try_from(count)? * (HEADER + size)];
        self.stream.read_exact(&mut bytes).await?;
        self.last += count;
        let head = &bytes[bytes.len() - HEADER - size..];
        ensure!(
            head[4] == DATA && head[8..16] == self.last.to_le_bytes(),
            "not what was sent"
        );
        Ok(())
    }

    /// Says that all that was received is processed.
    pub(crate) fn acknowledge(&mut self, origin: u32) -> Result<()> {
        let mut ack = frame(ACK, self.last, &[]);
        ack[6] = 1;
        ack[24..28].copy_from_slice(&origin.to_le_bytes());
        ensure!(self.stream.try_write(&ack)? == ack.len(), "it did not fit");
        Ok(())
    }
}

/// How many messages of this size go at once.
fn messages(size: usize) -> u64 {
    (CHUNK / (HEADER + size)) as u64
}
