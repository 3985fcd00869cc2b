//! A peer of a listener and of a relay that says anything: real sockets, and nothing but the public interface.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use wakewire::SinkFactory;

/// What listens, for as long as this process lives.
struct Place {
    directory: TempDir,
    runtime: Runtime,
    sessions: u64,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let at = |name| directory.path().join(name).display().to_string();
        let services = format!(
            "[services.relay]\ntype = \"relay\"\nendpoint = \"unix://{}\"\n\
             [services.direct]\ntype = \"direct\"\nendpoint = \"unix://{}\"\n",
            at("relay"),
            at("direct"),
        );
        let factory = SinkFactory::from_config_str(&services).expect("sound services");
        let mut relay = runtime
            .block_on(factory.create_relay("relay"))
            .expect("a relay");
        runtime.block_on(relay.bind()).expect("bound");
        let mut source = runtime
            .block_on(factory.create_source("direct"))
            .expect("a source");
        runtime.spawn(async move { relay.run().await.expect("it runs on") });
        runtime.spawn(async move {
            while let Some(message) = source.recv().await.expect("it goes on") {
                drop(message);
            }
        });
        Self {
            directory,
            runtime,
            sessions: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Says these bytes after a sound greeting or none, and waits until the other side has closed.
    fn say(&mut self, how: u8, bytes: &[u8]) {
        self.sessions += 1;
        let path = self.path(if how & 1 == 0 { "relay" } else { "direct" });
        let hello = match how >> 1 & 3 {
            0 => Vec::new(),
            1 | 2 => producer(self.sessions),
            _ => consumer(self.sessions),
        };
        self.runtime.block_on(async {
            let talk = async {
                let mut stream = loop {
                    match UnixStream::connect(&path).await {
                        Ok(stream) => break stream,
                        // Not bound yet.
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                let (mut reader, mut writer) = stream.split();
                let say = async {
                    // An error says that the other side has had enough.
                    if writer.write_all(&hello).await.is_ok()
                        && writer.write_all(bytes).await.is_ok()
                    {
                        writer.shutdown().await.ok();
                    }
                };
                let mut answer = Vec::new();
                let (_, _) = tokio::join!(say, reader.read_to_end(&mut answer));
            };
            timeout(Duration::from_secs(20), talk)
                .await
                .expect("the other side neither answers nor closes");
        });
    }
}

/// A frame over a Unix socket, as in docs/wire-protocol.md.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 32];
    let length = u32::try_from(body.len()).expect("a short body");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4] = kind;
    frame.extend(body);
    frame
}

fn front() -> Vec<u8> {
    let mut cbor = vec![0xa5, 0x00, 0x01, 0x01, 0x01, 0x02, 0x60];
    cbor.extend([
        0x03, 0xa3, 0x00, 0x1a, 0, 0x10, 0, 0, 0x01, 0x00, 0x02, 0x00,
    ]);
    cbor
}

fn producer(session: u64) -> Vec<u8> {
    let mut cbor = front();
    cbor.extend([0x04, 0xa3, 0x00, 0x50]);
    cbor.extend(u128::from(session).to_be_bytes());
    cbor.extend([0x01, 0x01, 0x02, 0xf4]);
    frame(1, &cbor)
}

fn consumer(life: u64) -> Vec<u8> {
    let mut cbor = front();
    cbor.extend([0x05, 0xa4, 0x01, 0x50]);
    cbor.extend(u128::from(life).to_be_bytes());
    cbor.extend([0x02, 0xf4, 0x03, 0x00, 0x04, 0x00]);
    frame(1, &cbor)
}

thread_local! {
    static PLACE: RefCell<Place> = RefCell::new(Place::new());
}

fuzz_target!(|input: &[u8]| {
    if let [how, bytes @ ..] = input {
        PLACE.with_borrow_mut(|place| place.say(*how, bytes));
    }
});
