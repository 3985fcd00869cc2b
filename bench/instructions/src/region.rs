//! What is counted: callgrind is told to begin and to end at these functions, by their names.

use std::hint::black_box;
use std::pin::pin;

/// Counts this.
#[inline(never)]
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Leaves this out of what is counted around it.
#[inline(never)]
pub(crate) fn not_counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Leaves a future out of what is counted around it.
pub(crate) async fn apart<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| not_counted(|| future.as_mut().poll(context))).await
}

/// The names of both, for callgrind; whatever they are generic over comes behind.
pub(crate) const TOGGLES: [&str; 2] = ["*region::counted*", "*region::not_counted*"];
