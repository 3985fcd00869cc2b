//! At most once: the oldest gives way to the newest. No I/O, no clock.

use super::Outbox;

impl Outbox {
    pub(super) fn drop_oldest(&mut self, length: usize) {
        if self.cursor >= self.tail_first {
            self.seal();
        }
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
            self.sealed_bytes -= segment.drop_first();
            self.held -= 1;
            self.counts.dropped.oldest += 1;
            self.cursor = segment.first_owed();
            if segment.owed() == 0 {
                self.sealed.remove(index);
            }
        }
    }
}
