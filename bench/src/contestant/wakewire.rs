//! `wakewire`: sink to source, acknowledged. Nothing here yet.
//!
//! The receiver [announces](crate::child::Stage::announce) `course.address.with_port()?`, since an endpoint
//! has no port 0, and goes on asking for messages until its dismissal, since asking acknowledges. The
//! sender's confirmation is the report of `flush`. [`Flavor::run`](crate::runtime::Flavor::run) is the runtime.

use super::Contestant;

pub const ENTRIES: &[&dyn Contestant] = &[];
