//! Which of the healthy nodes gets the next request. No I/O, no clock.

/// Which of the healthy nodes gets the next request.
///
/// ```
/// use wakewire::connection::{Balance, ConnectionConfig, ConnectionManager};
///
/// let config = ConnectionConfig { hosts: vec!["db1".into(), "db2".into()], ..ConnectionConfig::default() };
/// let manager = ConnectionManager::new(&config)?.with_balance(Balance::RoundRobin);
/// # drop(manager); Ok::<(), wakewire::SinkError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Balance {
    /// Of two nodes chosen at random, the one where fewer use a connection or wait for one. The default: as good as asking all of
    /// them, and unlike that it does not send everybody to the same node at once (Mitzenmacher's power of two
    /// choices; Finagle's and tower's default).
    #[default]
    LeastLoaded,
    /// Each in its turn.
    RoundRobin,
}

impl Balance {
    /// Chooses one of the candidates; none of none. `turn` counts the choices, `units` are uniform random numbers in
    /// [0, 1).
    pub(super) fn choose(
        self,
        candidates: &[usize],
        turn: usize,
        units: [f64; 2],
        load: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let count = candidates.len();
        if count <= 1 {
            return candidates.first().copied();
        }
        match self {
            Self::RoundRobin => candidates.get(turn % count).copied(),
            Self::LeastLoaded => {
                let first = below(count, units[0]);
                // Another one: from the rest, counted on from the first.
                let second = (first + 1 + below(count - 1, units[1])) % count;
                let (first, second) = (*candidates.get(first)?, *candidates.get(second)?);
                Some(if load(second) < load(first) {
                    second
                } else {
                    first
                })
            }
        }
    }
}

/// Returns a whole number below `count`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between 0 and a number of nodes"
)]
fn below(count: usize, unit: f64) -> usize {
    ((unit * count as f64) as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_of_nobody() {
        for balance in [Balance::LeastLoaded, Balance::RoundRobin] {
            assert_eq!(balance.choose(&[], 3, [0.5, 0.5], |_| 0), None);
            assert_eq!(balance.choose(&[7], 3, [0.5, 0.5], |_| 0), Some(7));
        }
    }

    proptest! {
        /// M37 (3): every healthy node gets a share, an equal one when loads are equal.
        #[test]
        fn everybody_gets_a_share(nodes in 1_usize..20, seed in any::<u64>()) {
            let candidates: Vec<_> = (100..100 + nodes).collect();
            for balance in [Balance::LeastLoaded, Balance::RoundRobin] {
                let mut counts = vec![0_u32; 100 + nodes];
                let mut state = seed;
                let mut unit = || {
                    // SplitMix64
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
                };
                for turn in 0..nodes * 400 {
                    let units = [unit(), unit()];
                    counts[balance.choose(&candidates, turn, units, |_| 0).unwrap()] += 1;
                }
                for candidate in candidates.iter().copied() {
                    prop_assert!((280..=520).contains(&counts[candidate]), "{balance:?} {counts:?}");
                }
            }
        }

        /// The busiest of all is never chosen, unless it is alone.
        #[test]
        fn the_busiest_is_spared(nodes in 2_usize..20, busy in 0_usize..20, a in 0.0..1.0, b in 0.0..1.0) {
            let busy = busy % nodes;
            let candidates: Vec<_> = (0..nodes).collect();
            let load = |node| if node == busy { 9 } else { node % 3 };
            let chosen = Balance::LeastLoaded.choose(&candidates, 0, [a, b], load);
            prop_assert_ne!(chosen, Some(busy));
        }
    }
}
