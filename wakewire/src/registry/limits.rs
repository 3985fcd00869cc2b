//! How large and how small a number in `services.toml` may be, each with its reason. No I/O, no clock.

/// The longest file. A thousand services take 200 KiB; what is larger is not a configuration.
pub(super) const FILE_BYTES: u64 = 64 << 20;

/// The longest endpoint, in bytes: what browsers and proxies take as a URL.
pub(super) const ENDPOINT_BYTES: usize = 2048;

/// How many faults are kept; whoever has more repairs these first.
pub(super) const FAULTS: usize = 1000;

/// How deep composites may contain composites. Nobody can read more, and every level is a call on the stack.
pub(super) const DEPTH: usize = 64;

/// How many times one message may be sent on by nested fan-outs; more is a mistake in the nesting.
pub(super) const COPIES: u64 = 4096;

/// The most messages in a buffer: finding one by sequence costs some bytes each, half a gigabyte for so many.
pub(super) const BUFFER_MESSAGES: u64 = 1 << 24;

/// The most bytes in a buffer or log: 16 GiB, since more belongs on a disk; where addresses have 32 bits, 1 GiB.
pub(super) const BUFFER_BYTES: u64 = if usize::BITS < 64 { 1 << 30 } else { 16 << 30 };

/// The largest message: 1 GiB. The length in a frame has 32 bits, and the rest is room for what travels beside.
pub(super) const MESSAGE_BYTES: u64 = 1 << 30;

/// The most retries: at the longest default wait more than eight hours, after which a person is needed.
pub(super) const RETRIES: u64 = 1000;

/// The longest wait: a year. Added to any clock it does not overflow.
pub(super) const SECONDS: f64 = 365.0 * 86_400.0;

/// The shortest wait that is not none: a millisecond, the timer's own precision.
pub(super) const SHORTEST: f64 = 0.001;

/// The longest wait between two attempts: a day. A peer that is back should not wait longer for its messages.
pub(super) const RETRY_SECONDS: f64 = 86_400.0;

/// The same in milliseconds.
pub(super) const RETRY_MILLISECONDS: u64 = 86_400_000;

/// The longest that one attempt to connect may take: an hour; the kernel gives up after some two minutes.
pub(super) const CONNECT_SECONDS: f64 = 3600.0;

/// The steepest growth: from 1 ms to a day in four steps.
pub(super) const MULTIPLIER: f64 = 100.0;

/// The longest path, variable or user, in bytes: what systems take as a path.
pub(super) const TEXT_BYTES: usize = 4096;

/// The most connections of one service, greeted or greeting: more descriptors than a process has by default.
pub(super) const CONNECTIONS: u64 = 1 << 20;

/// The fewest bytes for unfinished frames: 1 MiB, one message of the usual limit.
pub(super) const INBOUND_BYTES: u64 = 1 << 20;
