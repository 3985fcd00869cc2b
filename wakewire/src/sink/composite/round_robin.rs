//! The targets that are up take turns.

use super::errand::{Errand, Step};
use super::standing::Rank;
use crate::sink::handing::Handing;

/// Offers the message to every target that is not failing, in turn; a result ends the search.
pub(super) fn offer<H: Handing>(
    errand: &mut Errand<'_, H>,
    start: usize,
) -> Option<Step<H::Yield>> {
    let count = errand.targets.len();
    for index in (0..count).map(|offset| (start + offset) % count) {
        let target = &errand.targets[index];
        if target.rank() == Rank::Failing {
            target.probe();
            continue;
        }
        if let Some(end) = errand.offer_usable(index) {
            // Those that sleep would never get a turn while another takes everything at once.
            for passed in (0..count)
                .map(|offset| (start + offset) % count)
                .take_while(|passed| *passed != index)
            {
                errand.targets[passed].wake();
            }
            return Some(end);
        }
    }
    errand.on_to_the_failing();
    None
}
