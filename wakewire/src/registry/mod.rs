//! Which services there are: as written, as meant, every fault with its place.
