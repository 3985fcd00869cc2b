//! The bounded log of encoded frames with its cursor.

mod ledger;

pub use ledger::{Dropped, Ledger};
