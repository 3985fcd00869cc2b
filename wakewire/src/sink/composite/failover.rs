//! The first target that works, and back again.

use std::time::Instant;

use super::errand::{Errand, Step};
use super::standing::Rank;
use crate::sink::handing::Handing;

/// Offers the message to one target after the other, best first, until one takes it or would take it
/// after waiting; a result ends the search.
pub(super) fn offer<H: Handing>(errand: &mut Errand<'_, H>) -> Option<Step<H::Yield>> {
    while let Some(index) = best(errand) {
        let end = errand.offer_usable(index);
        if end.is_some() {
            return end;
        }
        if errand.waits() {
            return None;
        }
    }
    errand.on_to_the_failing();
    None
}

/// The first that is trusted; else the one that is on trial for the longest time, so that a flapping
/// target does not take over from one that has worked since before. Probes what it passes over.
fn best<H: Handing>(errand: &Errand<'_, H>) -> Option<usize> {
    let mut on_trial: Option<(Instant, usize)> = None;
    for (index, target) in errand.targets.iter().enumerate() {
        if errand.is_tried(index) {
            continue;
        }
        match target.rank() {
            Rank::Trusted => return Some(index),
            Rank::OnTrial(since) => {
                target.probe();
                if on_trial.is_none_or(|(best, _)| since < best) {
                    on_trial = Some((since, index));
                }
            }
            Rank::Failing => target.probe(),
        }
    }
    on_trial.map(|(_, index)| index)
}
