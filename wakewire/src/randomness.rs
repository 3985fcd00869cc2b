//! Where numbers of sessions and the spread of waits are drawn from. No I/O, no clock.

#[cfg(feature = "turmoil")]
use std::cell::RefCell;

#[cfg(not(feature = "turmoil"))]
pub(crate) use rand::random;
#[cfg(feature = "turmoil")]
use rand::{RngExt, SeedableRng, distr::StandardUniform, prelude::Distribution, rngs::SmallRng};

/// Makes what the library draws on this thread repeatable: numbers of sessions, the spread of waits. For simulations:
/// turmoil runs all of its hosts on one thread.
///
/// What is drawn can be foreseen from then on, so a program that talks to others must not call it.
#[cfg(feature = "turmoil")]
pub fn seed_randomness(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}

#[cfg(feature = "turmoil")]
pub(crate) fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.random(),
        None => rand::random(),
    })
}

#[cfg(feature = "turmoil")]
thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}
