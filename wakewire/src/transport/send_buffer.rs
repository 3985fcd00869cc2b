//! How much of what was sent the system holds for a peer on the same machine.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt::set_socket_send_buffer_size;

/// Asks the system to hold what two writes are, and no more.
///
/// A Unix socket holds less by itself, so that the writer waits for the reader and the reader for the writer in turn; a
/// TCP connection grows to many times as much, which has left the processor's cache before it is read. Between machines
/// it has to grow: there the buffer is what the line can be filled with.
pub(super) fn fit(socket: &impl AsFd) -> io::Result<()> {
    Ok(set_socket_send_buffer_size(socket, SEND_BUFFER)?)
}

/// Linux makes it twice as much, for its own needs, and allows 208 KiB where nobody has set `net.core.wmem_max`, which
/// is nearly as good: from 192 to 384 KiB nothing changes that can be seen; with 128 KiB, 1 MiB over TCP is slower.
const SEND_BUFFER: usize = 256 * 1024;
