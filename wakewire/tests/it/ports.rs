//! Ports for tests that run at the same time.

use std::net::{TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// A loopback port that is free for TCP and UDP, and that this process is given once: not by the system, which gives
/// what was let go to the next who asks, and to outgoing connections.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Processes at the same time begin at different ones.
    let first = process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let offset = (first + u32::from(TAKEN.fetch_add(1, Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap();
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("none of {COUNT} ports from {FIRST} on is free");
}

/// Below those that Linux and others give to outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

#[test]
fn no_port_is_given_twice() {
    let ports: std::collections::HashSet<_> = (0..2000).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 2000);
}
