//! Stands between the peers, and does to connections what networks do: resets them, or lets them fall silent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Passes connections on; what it does to them is done to those that there are at that moment.
#[derive(Debug)]
pub(crate) struct Proxy {
    act: Sender<Act>,
    _serving: JoinSet<()>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Pass,
    Cut,
    Hold,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes its end a reset: what is under way is not delivered.
    fn end_hard(&self);
}

impl Stream for TcpStream {
    fn end_hard(&self) {
        // It may be reset already.
        SockRef::from(self).set_linger(Some(Duration::ZERO)).ok();
    }
}

impl Stream for UnixStream {
    fn end_hard(&self) {}
}

impl Proxy {
    /// Listens at `front`, and connects to `back` for each connection. With a slash in it, that is a socket's path.
    pub(crate) async fn start(front: &str, back: &str) -> io::Result<Self> {
        let listener = if front.contains('/') {
            Listener::Unix(UnixListener::bind(front)?)
        } else {
            Listener::Tcp(TcpListener::bind(front).await?)
        };
        let (act, _) = channel(Act::Pass);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::from(back), act.clone()));
        Ok(Self {
            act,
            _serving: serving,
        })
    }

    /// Resets every connection there is.
    pub(crate) fn cut(&self) {
        self.act.send_replace(Act::Cut);
    }

    /// Passes nothing further on any connection there is, and does not end it.
    pub(crate) fn hold(&self) {
        self.act.send_replace(Act::Hold);
    }
}

async fn serve(listener: Listener, back: Arc<str>, act: Sender<Act>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let near: io::Result<Box<dyn Stream>> = match &listener {
            Listener::Tcp(listener) => listener.accept().await.and_then(|(near, _)| prompt(near)),
            Listener::Unix(listener) => listener.accept().await.map(|(near, _)| near.into()),
        };
        match near {
            Ok(near) => {
                connections.spawn(pass(near, Arc::clone(&back), act.subscribe()));
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

impl<S: Stream + 'static> From<S> for Box<dyn Stream> {
    fn from(stream: S) -> Self {
        Box::new(stream)
    }
}

/// Connects to a socket's path or a TCP address.
pub(crate) async fn connect(back: &str) -> io::Result<Box<dyn Stream>> {
    if back.contains('/') {
        UnixStream::connect(back).await.map(Into::into)
    } else {
        TcpStream::connect(back).await.and_then(prompt)
    }
}

/// Has what is written go out at once.
fn prompt(stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

async fn pass(mut near: Box<dyn Stream>, back: Arc<str>, mut act: Receiver<Act>) {
    // With nobody behind, the connection ends.
    let Ok(mut far) = connect(&back).await else {
        return;
    };
    tokio::select! {
        _ended = copy_bidirectional(&mut near, &mut far) => {}
        changed = act.changed() => if changed.is_ok() {
            let now = *act.borrow();
            match now {
                Act::Cut => {
                    near.end_hard();
                    far.end_hard();
                }
                // Longer than it takes anybody to notice.
                Act::Hold => sleep(HOLD).await,
                Act::Pass => {}
            }
        }
    }
}

const HOLD: Duration = Duration::from_secs(30);
