//! A sink of one's own, opened by the first message and opened again when its peer has enough.
//!
//! `cargo run -p wakewire --example own_sink`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use wakewire::{
    Failure, LazyConfig, LazyMessageSink, Message, MessageSink, Sending, SinkError, SinkMetadata,
};

/// Some foreign protocol: a line each, answered by `ok`, or by `enough` when the line was not taken.
#[derive(Debug)]
struct Lines(Mutex<BufStream<TcpStream>>);

impl MessageSink for Lines {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::new(async move {
            let mut stream = self.0.lock().await;
            // An I/O error does not return the message: it may have arrived. It goes to the caller.
            stream.write_all(&message.payload).await?;
            stream.write_all(b"\n").await?;
            stream.flush().await?;
            let mut answer = String::new();
            stream.read_line(&mut answer).await?;
            if answer == "ok\n" {
                return Ok(());
            }
            // One that does was surely not taken: the wrapper sends it again over a fresh connection.
            let failure = Failure::new("lines").because("the peer has enough");
            Err(SinkError::ConnectionLost(failure).returning(message))
        })
    }
    fn is_connected(&self) -> bool {
        true
    }
    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("lines", "tcp")
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut peer = JoinSet::new();
    peer.spawn(takes_two_lines_a_connection(listener));

    let open = move || async move {
        let stream = TcpStream::connect(address).await?;
        Ok(Lines(Mutex::new(BufStream::new(stream))))
    };
    let config = LazyConfig {
        retry_delay: Duration::from_millis(10),
        ..LazyConfig::default()
    };
    let sink = LazyMessageSink::new(open, config).with_name("lines");
    println!("connected before the first line: {}", sink.is_connected());
    for number in 1..=5 {
        sink.send(Message::new(format!("line {number}"))).await?;
    }
    let metrics = sink.metrics();
    println!(
        "{} lines over {} connections",
        metrics.messages_sent, metrics.successful_connects
    );
    // A sink that no factory made is closed by itself.
    sink.close(Duration::from_secs(1)).await?;
    Ok(())
}

async fn takes_two_lines_a_connection(listener: TcpListener) -> io::Result<()> {
    loop {
        let mut stream = BufStream::new(listener.accept().await?.0);
        for answer in ["ok\n", "ok\n", "enough\n"] {
            stream.read_line(&mut String::new()).await?;
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }
}
