//! What a sender owes, in files: written before it is accepted, read again by the next life.
//!
//! ```text
//! DIR/SERVICE/lock                    one process at a time
//! DIR/SERVICE/0000000000000001.seg    opening │ frame frame … mark frame …
//! ```

pub(crate) mod disk;
pub(crate) mod format;
pub(crate) mod journal;
pub(crate) mod recovery;
#[cfg(test)]
mod tests;
