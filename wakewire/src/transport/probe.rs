//! Asks a peer whether it is there, and how long everything takes.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::dial::{Dial, Target};
use super::greeting::greet;
use super::unreached::Unreached;
use crate::error::Phase;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::hello::{self, Code, Hello, Limits, Reject, VERSION};
use crate::wire::scan::Piece;

/// What a peer's answer showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// How long each step took, in order.
    pub(crate) steps: Vec<(Phase, Duration)>,
    /// Which protocol was chosen, and why.
    pub(crate) chosen: String,
    /// From each ping to its pong.
    pub(crate) round_trips: Vec<Duration>,
}

/// Opens a connection, greets, and pings so often.
///
/// # Cancel safety
///
/// Dropped early, the connection is closed.
pub(crate) async fn probe(
    target: &Target,
    service: &str,
    pings: usize,
) -> Result<Probe, Unreached> {
    let checksummed = target.endpoint().is_checksummed();
    let hello = Hello {
        oldest: VERSION,
        newest: VERSION,
        service: service.to_owned(),
        limits: Limits {
            frame: 0,
            idle_ms: 0,
            ping_ms: 0,
        },
        producer: None,
        consumer: None,
        requester: None,
        probe: Some(true),
        credentials: None,
        offer: None,
    };
    let mut host = greet(target.dial().await?, hello, &[], checksummed).await?;
    let broken = |error: std::io::Error| Unreached::for_now(Phase::Write, error);
    let mut round_trips = Vec::with_capacity(pings);
    let mut bytes = BytesMut::new();
    for _ in 0..pings {
        let since = Instant::now();
        frame::encode_control(Header::control(Kind::Ping), &[], checksummed, &mut bytes);
        host.pulse
            .write_in_time(&mut host.writer, &bytes)
            .await
            .map_err(broken)?;
        bytes.clear();
        match host.reader.next().await {
            Ok(Some(Piece::Control { header, .. })) if header.kind == Kind::Pong => {
                round_trips.push(since.elapsed());
            }
            Ok(_) => {
                let cause = "the peer does not answer a ping with a pong";
                return Err(Unreached::foreign(Phase::Read, cause));
            }
            Err(error) => return Err(Unreached::for_now(Phase::Read, error)),
        }
    }
    let goodbye = Reject {
        code: Code::Done,
        text: "done".to_owned(),
        retry_after_ms: 0,
    };
    hello::encode(Kind::Close, &goodbye, checksummed, &mut bytes);
    host.pulse
        .write_in_time(&mut host.writer, &bytes)
        .await
        .map_err(broken)?;
    Ok(Probe {
        steps: host.course.steps,
        chosen: host.course.chosen,
        round_trips,
    })
}
