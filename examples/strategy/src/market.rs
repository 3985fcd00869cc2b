//! What the pools ask, and where two of them differ by too much. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::swap;

use alloy_primitives::Address;
use wakewire_polygon::codec::{Change, Place, Pool, PoolEvent, PoolPrice, Spread};
use wakewire_polygon::price::Price;

/// A pair, token 0 first, and a pool of it: so the pools of a pair stand side by side.
type Key = (Address, Address, Address);

/// How many pools are remembered, and how many of a pair: whoever likes can make pools that are none.
const MOST_POOLS: usize = 65_536;
const MOST_OF_A_PAIR: usize = 64;

/// The mid prices of all pools, as far as the events have told them.
#[derive(Debug)]
pub(crate) struct Market {
    /// In millionths of the lower price.
    threshold: u32,
    prices: BTreeMap<Key, Price>,
    /// The cheaper and the dearer pool, of which it was said that they differ, and which do so still.
    open: BTreeSet<(Address, Address)>,
}

/// What an event has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quote {
    pub(crate) place: Place,
    pub(crate) pool: Pool,
    /// The pool's price from now on; none when it is empty, or its last event was taken back by the chain.
    pub(crate) price: Option<Price>,
    /// Where the prices of this pool and another one differ now, and did not before.
    pub(crate) spreads: Vec<Spread>,
}

impl Market {
    pub(crate) const fn new(threshold: u32) -> Self {
        Self {
            threshold,
            prices: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// Takes an event; `None` if it says nothing about a price.
    ///
    /// A removed event takes the price away, since what it was before is not known any more: the events of the chain's
    /// other branch follow, if the pool has any there. Nothing is concluded from a price that the chain has taken back.
    pub(crate) fn take(&mut self, event: &PoolEvent) -> Option<Quote> {
        let price = match event.change {
            Change::Sync { reserve0, reserve1 } => Price::from_reserves(reserve0, reserve1),
            Change::SwapV3 { sqrt_price_x96, .. } => Price::from_sqrt_x96(sqrt_price_x96),
            Change::SwapV2 { .. }
            | Change::MintV2 { .. }
            | Change::MintV3 { .. }
            | Change::BurnV2 { .. }
            | Change::BurnV3 { .. } => return None,
        };
        let price = price.filter(|_| !event.place.removed);
        let spreads = match key(&event.pool) {
            Some(key) => self.enter(key, price, event),
            // Whose price it is was not said: it can be shown, and not compared.
            None => Vec::new(),
        };
        Some(Quote {
            place: event.place,
            pool: event.pool,
            price,
            spreads,
        })
    }

    fn enter(&mut self, key: Key, price: Option<Price>, event: &PoolEvent) -> Vec<Spread> {
        let Some(price) = price else {
            self.prices.remove(&key);
            let (_, _, pool) = key;
            self.open.retain(|&(low, high)| low != pool && high != pool);
            return Vec::new();
        };
        let (token0, token1, _) = key;
        let of_pair = (token0, token1, Address::ZERO)..=(token0, token1, Address::repeat_byte(255));
        if !self.prices.contains_key(&key)
            && (self.prices.len() >= MOST_POOLS
                || self.prices.range(of_pair.clone()).count() >= MOST_OF_A_PAIR)
        {
            return Vec::new();
        }
        self.prices.insert(key, price);
        let mut spreads = Vec::new();
        for (&(_, _, pool), &other) in self.prices.range(of_pair) {
            let mut low = PoolPrice {
                pool: event.pool.address,
                price,
            };
            let mut high = PoolPrice { pool, price: other };
            if low.price > high.price {
                swap(&mut low, &mut high);
            }
            let (way, back) = ((low.pool, high.pool), (high.pool, low.pool));
            self.open.remove(&back);
            if !high.price.exceeds(&low.price, self.threshold) {
                self.open.remove(&way);
            } else if self.open.insert(way) {
                spreads.push(Spread {
                    cause: event.place,
                    token0: event.pool.token0,
                    token1: event.pool.token1,
                    low,
                    high,
                    threshold: self.threshold,
                });
            }
        }
        spreads
    }
}

fn key(pool: &Pool) -> Option<Key> {
    Some((pool.token0.address?, pool.token1.address?, pool.address))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U160;
    use alloy_primitives::{I256, U256};
    use wakewire_polygon::codec::Token;

    use super::*;

    const A: Address = Address::repeat_byte(1);
    const B: Address = Address::repeat_byte(2);

    fn pool(address: Address, token1: u8) -> Pool {
        let token = |byte| Token {
            address: Some(Address::repeat_byte(byte)),
            decimals: Some(18),
        };
        Pool {
            address,
            token0: token(0x20),
            token1: token(token1),
        }
    }

    fn sync(pool: Pool, reserve0: u64, reserve1: u64) -> PoolEvent {
        PoolEvent {
            place: Place::default(),
            pool,
            change: Change::Sync {
                reserve0: U256::from(reserve0),
                reserve1: U256::from(reserve1),
            },
        }
    }

    fn swap_v3(pool: Pool, root: U160) -> PoolEvent {
        PoolEvent {
            change: Change::SwapV3 {
                sender: A,
                recipient: B,
                amount0: I256::ZERO,
                amount1: I256::ZERO,
                sqrt_price_x96: root,
                liquidity: 0,
                tick: 0,
            },
            ..sync(pool, 0, 0)
        }
    }

    fn removed(event: PoolEvent) -> PoolEvent {
        PoolEvent {
            place: Place {
                removed: true,
                ..event.place
            },
            ..event
        }
    }

    /// The cheaper and the dearer pool of each signal.
    fn told(market: &mut Market, event: &PoolEvent) -> Vec<(Address, Address)> {
        let spreads = market.take(event).unwrap().spreads;
        spreads
            .iter()
            .map(|spread| {
                assert!(spread.low.price < spread.high.price);
                (spread.low.pool, spread.high.pool)
            })
            .collect()
    }

    #[test]
    fn two_pools_that_differ_by_more_than_the_threshold_are_told_once() {
        let (a, b) = (pool(A, 0x30), pool(B, 0x30));
        let mut market = Market::new(1000);
        assert_eq!(told(&mut market, &sync(a, 1_000_000, 3_000_000)), []);
        // Exactly 0.1 %.
        assert_eq!(told(&mut market, &sync(b, 1_000_000, 3_003_000)), []);
        assert_eq!(told(&mut market, &sync(b, 1_000_000, 3_003_001)), [(A, B)]);
        assert_eq!(told(&mut market, &sync(b, 1_000_000, 3_004_000)), []);
        // Within it again, and beyond it, to either side.
        assert_eq!(told(&mut market, &sync(b, 1_000_000, 3_003_000)), []);
        assert_eq!(told(&mut market, &sync(a, 1_000_000, 2_000_000)), [(A, B)]);
        assert_eq!(told(&mut market, &sync(a, 1_000_000, 4_000_000)), [(B, A)]);
        assert_eq!(told(&mut market, &sync(a, 1_000_000, 2_000_000)), [(A, B)]);
    }

    #[test]
    fn both_versions_have_a_price() {
        let mut market = Market::new(0);
        // A price of 4, and one that is a hair more.
        let root = U160::from(1) << 97;
        assert_eq!(told(&mut market, &swap_v3(pool(A, 0x30), root)), []);
        assert_eq!(told(&mut market, &sync(pool(B, 0x30), 10, 40)), []);
        let more = swap_v3(pool(A, 0x30), root + U160::from(1));
        assert_eq!(told(&mut market, &more), [(B, A)]);
    }

    #[test]
    fn pools_of_other_pairs_or_of_no_known_one_are_not_compared() {
        let mut market = Market::new(0);
        assert_eq!(told(&mut market, &sync(pool(A, 0x30), 1, 1)), []);
        assert_eq!(told(&mut market, &sync(pool(B, 0x31), 1, 9)), []);
        let unknown = Pool {
            address: B,
            ..Pool::default()
        };
        let quote = market.take(&sync(unknown, 1, 9)).unwrap();
        assert!(quote.price.is_some() && quote.spreads.is_empty());
    }

    #[test]
    fn a_price_that_was_taken_back_is_compared_with_nothing() {
        let (a, b) = (pool(A, 0x30), pool(B, 0x30));
        let mut market = Market::new(0);
        told(&mut market, &sync(a, 1, 1));
        assert_eq!(told(&mut market, &sync(b, 1, 2)), [(A, B)]);
        let quote = market.take(&removed(sync(b, 1, 2))).unwrap();
        assert_eq!((quote.price, quote.spreads.len()), (None, 0));
        assert_eq!(told(&mut market, &sync(a, 1, 9)), []);
        // On the other branch: it is told anew.
        assert_eq!(told(&mut market, &sync(b, 1, 2)), [(B, A)]);
    }

    #[test]
    fn an_empty_pool_has_no_price() {
        let (a, b) = (pool(A, 0x30), pool(B, 0x30));
        let mut market = Market::new(0);
        told(&mut market, &sync(a, 1, 1));
        assert_eq!(told(&mut market, &sync(b, 1, 2)), [(A, B)]);
        assert_eq!(market.take(&sync(b, 0, 0)).unwrap().price, None);
        assert_eq!(told(&mut market, &sync(b, 1, 2)), [(A, B)]);
    }

    #[test]
    fn what_says_nothing_about_a_price_is_passed_over() {
        let mint = PoolEvent {
            change: Change::MintV2 {
                sender: A,
                amount0: U256::MAX,
                amount1: U256::MAX,
            },
            ..sync(pool(A, 0x30), 1, 1)
        };
        assert_eq!(Market::new(0).take(&mint), None);
    }

    #[test]
    fn strangers_fill_a_pair_and_not_the_memory() {
        let mut market = Market::new(0);
        for number in 0..200_u8 {
            told(
                &mut market,
                &sync(pool(Address::repeat_byte(number), 0x30), 1, 1),
            );
        }
        assert_eq!(market.prices.len(), MOST_OF_A_PAIR);
        // Those that are known go on being looked at.
        let moved = sync(pool(Address::repeat_byte(0), 0x30), 1, 2);
        assert_eq!(told(&mut market, &moved).len(), MOST_OF_A_PAIR - 1);
    }
}
