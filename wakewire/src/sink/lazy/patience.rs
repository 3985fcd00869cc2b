//! How long a send goes on when one fresh connection after the other breaks under it.

use super::metrics::Counters;

/// Counts the connections that broke under one send without use to anybody.
///
/// As long as messages get through, its own or anybody's, a send goes on: the remote is up, and this
/// sender was merely not quick enough. A bound on all breaks, rather than on fruitless ones, would give
/// up on a remote whose connections are short but good, as soon as many senders share it.
pub(super) struct Patience {
    limit: u32,
    fruitless: u32,
    sent: u64,
}

impl Patience {
    /// Begins, with a bound on how many fruitless connections in a row are followed by another.
    pub(super) fn new(counters: &Counters, limit: u32) -> Self {
        Self {
            limit,
            fruitless: 0,
            sent: counters.messages_sent.read(),
        }
    }

    /// Counts one more connection that broke; returns whether to try another.
    pub(super) fn lasts(&mut self, counters: &Counters) -> bool {
        let sent = counters.messages_sent.read();
        self.fruitless = if sent == self.sent {
            self.fruitless.saturating_add(1)
        } else {
            0
        };
        self.sent = sent;
        self.fruitless <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_so_many_fruitless_connections() {
        let counters = Counters::default();
        let mut patience = Patience::new(&counters, 2);
        assert!(patience.lasts(&counters));
        assert!(patience.lasts(&counters));
        assert!(!patience.lasts(&counters));
    }

    #[test]
    fn one_message_of_anybody_renews_it() {
        let counters = Counters::default();
        let mut patience = Patience::new(&counters, 1);
        for _ in 0..100 {
            assert!(patience.lasts(&counters));
            counters.messages_sent.add_one();
        }
    }
}
