//! A listener of a direct service in a thread and a runtime of its own.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use wakewire::SinkFactory;

/// Listens and asks for more until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listener {
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let factory = direct(path)?;
        let (stop, mut stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime()?.block_on(async {
                let mut source = factory.create_source(SERVICE).await?;
                loop {
                    tokio::select! {
                        biased;
                        batch = source.recv_batch() => drop(batch?),
                        _ = &mut stopped => break,
                    }
                }
                source.close(Duration::from_secs(1)).await;
                Ok(())
            })
        });
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("the listener: {error:#}"),
            Some(Err(_)) => eprintln!("the listener panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// A factory that knows one direct service at this socket.
pub(crate) fn direct(path: &Path) -> Result<SinkFactory> {
    let path = path.display();
    let text = format!("[services.{SERVICE}]\ntype = 'direct'\nendpoint = 'unix://{path}'\n");
    Ok(SinkFactory::from_config_str(&text)?)
}

/// Everything on one thread.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

pub(crate) const SERVICE: &str = "x";
