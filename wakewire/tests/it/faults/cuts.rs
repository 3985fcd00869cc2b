//! A session that is cut after each of its bytes, in either direction.

use wakewire::testing::{Faults, Plan};

use super::session::{Session, Through, Wire};
use crate::support::cases;

/// Cuts after every `step`th byte of a session, in both directions.
async fn cut_everywhere(wire: Wire, step: usize) {
    let bytes = usize::try_from(cases("WAKEWIRE_CUT_BYTES", 1024)).unwrap();
    // Of a message, 56 bytes are its headers.
    let each = (bytes / MESSAGES).saturating_sub(56);
    for through in Through::ALL {
        let mut session = Session::start(wire, through).await;
        let (up, down) = session.measure(MESSAGES, each).await;
        let cut = |k| Faults::none().cut_after(k);
        let ups = (0..=up)
            .step_by(step)
            .map(|k| (k, Plan::carry(cut(k), Faults::none())));
        let downs = (0..=down)
            .step_by(step)
            .map(|k| (k, Plan::carry(Faults::none(), cut(k))));
        let mut cuts = 0;
        for (_, plan) in ups.chain(downs) {
            session.strike(&plan);
            session.exchange(MESSAGES, each).await;
            cuts += 1;
        }
        let connections = session.proxy.connections();
        assert!(connections > cuts, "{connections} connections, {cuts} cuts");
        let report = session.end().await;
        println!(
            "{wire:?} {through:?}: {up} bytes up, {down} down, {cuts} cuts, {connections} connections, {} messages",
            report.delivered
        );
    }
}

/// In each session.
const MESSAGES: usize = 4;

#[tokio::test]
async fn a_connection_cut_after_any_byte_in_either_direction_loses_and_doubles_nothing() {
    cut_everywhere(Wire::Unix, 1).await;
}

#[tokio::test]
async fn a_tcp_connection_cut_after_any_byte_loses_and_doubles_nothing() {
    cut_everywhere(Wire::Tcp, 1).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_tls_connection_cut_after_any_seventh_byte_loses_and_doubles_nothing() {
    cut_everywhere(
        Wire::Tls,
        usize::try_from(cases("WAKEWIRE_CUT_STEP", 7)).unwrap(),
    )
    .await;
}

#[cfg(all(feature = "ws", feature = "tls"))]
#[tokio::test]
async fn a_websocket_cut_after_any_seventh_byte_loses_and_doubles_nothing() {
    cut_everywhere(
        Wire::Ws,
        usize::try_from(cases("WAKEWIRE_CUT_STEP", 7)).unwrap(),
    )
    .await;
}
