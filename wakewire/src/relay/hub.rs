//! The delivery rules of a relay as values. No I/O, no clock.
