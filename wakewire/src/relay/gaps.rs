//! What consumers are told of sessions: which there are, and what will not come of them (C2, C6). No I/O, no clock.
#![deny(clippy::wildcard_enum_match_arm)]

use super::effects::{ConnectionId, Outgoing, Wake};
use super::hub::{Hub, Role};

/// What a `Gap` counts for towards what fits into one poll.
const GAP_BYTES: usize = 64;

impl Hub {
    /// A session has become known, or has jumped: the attached consumers are to be told (C2).
    pub(super) fn announce(&mut self, origin: u32, wake: &mut Wake) {
        let forgetful = self.sessions.forgetful;
        let Some(session) = self.sessions.get_mut(origin) else {
            return;
        };
        let (kept, acked) = (session.kept(), session.acked);
        for index in 0..self.roster.attached().len() {
            let slot = self.roster.attached()[index];
            let Some(consumer) = self.roster.get_mut(slot) else {
                continue;
            };
            let place = session.place_mut(slot);
            place.level = place.level.max(kept.min(acked));
            place.unsure |= forgetful && !place.stated && !place.announced;
            if !place.gap_due {
                place.gap_due = true;
                consumer.gaps.push_back(origin);
            }
            wake.poll.extend(consumer.stir());
        }
    }

    /// A consumer does not know whose frames these are: where frames get lost, the gap that named them was. It is
    /// told again.
    pub(crate) fn name_again(&mut self, connection: ConnectionId, origin: u32, wake: &mut Wake) {
        let Some(&Role::Consumer(slot)) = self.connections.get(&connection) else {
            return;
        };
        // Who may not lose messages has a transport that does not.
        let consumer = self.roster.get_mut(slot).filter(|c| c.at_most_once);
        let (Some(consumer), Some(session)) = (consumer, self.sessions.get_mut(origin)) else {
            return;
        };
        let place = session.place_mut(slot);
        place.announced = false;
        if !std::mem::replace(&mut place.gap_due, true) {
            consumer.gaps.push_back(origin);
        }
        wake.poll.extend(consumer.stir());
    }

    /// Gives a consumer the gaps that it is to be told; says whether there are more.
    pub(super) fn poll_gaps(
        &mut self,
        slot: usize,
        max_bytes: usize,
        out: &mut Vec<Outgoing>,
        spent: &mut usize,
    ) -> bool {
        let Some(consumer) = self.roster.get_mut(slot) else {
            return false;
        };
        while let Some(&origin) = consumer.gaps.front() {
            if *spent >= max_bytes && *spent > 0 {
                return true;
            }
            consumer.gaps.pop_front();
            // It may have been forgotten meanwhile.
            let Some(session) = self.sessions.get_mut(origin) else {
                continue;
            };
            let (kept, id) = (session.kept(), session.id);
            let place = session.place_mut(slot);
            place.gap_due = false;
            let after = kept.max(place.sent);
            if place.announced && after == place.sent {
                continue;
            }
            place.announced = true;
            place.sent = after;
            *spent += GAP_BYTES;
            out.push(Outgoing::Gap {
                session: id,
                origin,
                after,
            });
        }
        false
    }
}
