//! What gives way when the outbox is full. No I/O, no clock.

use super::Outbox;
use super::awaited::Fate;

impl Outbox {
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.has_room_behind(0, length)
    }

    /// Returns whether there is room for one more behind so many, all of them of so many bytes.
    pub(super) fn has_room_behind(&self, count: u64, bytes: usize) -> bool {
        self.held + count == 0
            || (self.held + count < self.limits.messages as u64
                && self.sealed_bytes + self.tail.len() + bytes <= self.limits.bytes)
    }

    /// Gives up the oldest messages that are not under way, until there is room or none is left.
    pub(super) fn drop_oldest(&mut self, length: usize) {
        while !self.has_room(length) {
            let index = self
                .sealed
                .partition_point(|segment| segment.last() < self.cursor);
            let Some(segment) = self.sealed.get_mut(index) else {
                if self.tail.is_empty() {
                    return;
                }
                self.seal();
                continue;
            };
            // At most once a connection takes whole segments, so this one is not under way in part.
            let oldest = segment.first_owed();
            self.sealed_bytes -= segment.drop_first();
            self.held -= 1;
            self.counts.dropped.oldest += 1;
            self.cursor = segment.first_owed();
            if segment.owed() == 0 {
                self.sealed.remove(index);
            }
            self.awaited.settle_one(oldest, Fate::Dropped);
        }
    }
}
