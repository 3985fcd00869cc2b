//! TCP inside a turmoil simulation: what is dialled and bound there is in the simulated network.

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;
use turmoil::net::{TcpListener, TcpStream};

use super::line::{Course, Line};
use crate::endpoint::Authority;
use crate::error::Phase;

/// Returns whether this runs in a simulated host.
pub(super) fn is_running() -> bool {
    turmoil::in_simulation()
}

/// Opens a connection; turmoil resolves the name.
pub(super) async fn dial(authority: &Authority) -> io::Result<Line> {
    let since = Instant::now();
    let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
    let address = stream.peer_addr()?.ip();
    let mut course = Course::default();
    course.step(Phase::Dial, since);
    Ok(Line {
        address: Some(address),
        course,
        ..Line::new(stream)
    })
}

/// A bound port of a simulated host.
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(super) async fn bind(authority: &Authority) -> io::Result<Self> {
        let address = (authority.host.as_str(), authority.port);
        TcpListener::bind(address).await.map(Self)
    }

    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}
