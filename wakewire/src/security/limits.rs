//! How much those who connect may ask for. No I/O, no clock.

/// What a listener takes, in all and from one address.
///
/// What is per address does not apply to loopback and Unix sockets: there everybody has the same one. Beyond a limit
/// a newcomer is refused, or the oldest that has not greeted makes room; those who are inside are not touched.
///
/// ```
/// let limits = wakewire::ListenLimits {
///     connections: 500,
///     ..Default::default()
/// };
/// assert_eq!(limits.connections_per_address, 256);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal over a default"
)]
pub struct ListenLimits {
    /// Greeted connections in all. Default 10,000: each costs a socket and about 13 KiB.
    pub connections: usize,
    /// Greeted connections from one address. Default 256.
    pub connections_per_address: usize,
    /// Connections that are greeting. Beyond it the oldest of them is dropped, so that silent ones keep nobody
    /// out. Default 1024.
    pub handshakes: usize,
    /// Connections from one address that are greeting. Default 64.
    pub handshakes_per_address: usize,
    /// New connections from one address per second, after a burst of as many as may be greeting. Default 20.
    pub handshakes_per_second_per_address: usize,
    /// Bytes of unfinished frames of all connections together. From 95 % on nothing more is read for large
    /// frames, from 98 % on newcomers are refused. Default 256 MiB.
    pub inbound_bytes: usize,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 256,
            handshakes: 1024,
            handshakes_per_address: 64,
            handshakes_per_second_per_address: 20,
            inbound_bytes: 256 << 20,
        }
    }
}
