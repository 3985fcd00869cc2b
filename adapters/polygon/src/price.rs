//! What a pool asks for a token: an exact fraction, rounded once, to be looked at. No I/O, no clock.

use std::cmp::Ordering;

use alloy_primitives::U256;
use alloy_primitives::aliases::{U160, U320, U2048};

/// How many smallest units of token 1 the pool gives for a smallest unit of token 0, between its bid and its ask.
///
/// Two prices are equal if they are the same number, however they are written.
///
/// ```
/// use alloy_primitives::U256;
/// use wakewire_polygon::price::Price;
///
/// // A pool of 2 WETH and 6,824.14 USDC: both in smallest units.
/// let weth = U256::from(2_000_000_000_000_000_000_u64);
/// let price = Price::from_reserves(weth, U256::from(6_824_140_000_u64)).unwrap();
/// assert_eq!(price.rounded(18, 6, 12), "3412.07");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Price {
    numerator: U320,
    denominator: U320,
}

/// Enough for any product that is formed here: a fraction's 320 bits, those of another, and a power of ten up to 10^255.
type Wide = U2048;

impl Price {
    /// Returns the fraction, unless a side of it is 0.
    pub const fn new(numerator: U320, denominator: U320) -> Option<Self> {
        if numerator.const_is_zero() || denominator.const_is_zero() {
            return None;
        }
        Some(Self {
            numerator,
            denominator,
        })
    }

    /// Returns the price of a Uniswap V2 pool: reserve 1 by reserve 0. `None` if the pool is empty.
    pub fn from_reserves(reserve0: U256, reserve1: U256) -> Option<Self> {
        Self::new(U320::from(reserve1), U320::from(reserve0))
    }

    /// Returns the price of a Uniswap V3 pool: `(sqrtPriceX96 / 2^96)^2`. `None` if there is none, as before the pool
    /// is initialized.
    pub fn from_sqrt_x96(root: U160) -> Option<Self> {
        let root = U320::from(root);
        Self::new(root * root, U320::from(1) << 192)
    }

    /// Returns the numerator, not reduced.
    pub const fn numerator(&self) -> U320 {
        self.numerator
    }

    /// Returns the denominator, not reduced.
    pub const fn denominator(&self) -> U320 {
        self.denominator
    }

    /// Returns whether it is above `other` by more than so many millionths of `other`.
    pub fn exceeds(&self, other: &Self, millionths: u32) -> bool {
        let whole = 1_000_000_u64;
        let own = self.crosswise(other) * Wide::from(whole);
        let others = other.crosswise(self) * Wide::from(whole + u64::from(millionths));
        own > others
    }

    /// Returns the price of a whole token 0 in whole tokens 1, with so many significant digits, half rounded up.
    ///
    /// It is the only place where a price loses anything, and it is for people. Zeros at the end are left out.
    pub fn rounded(&self, decimals0: u8, decimals1: u8, digits: u8) -> String {
        let numerator = Wide::from(self.numerator) * ten_to(decimals0.into());
        let denominator = Wide::from(self.denominator) * ten_to(decimals1.into());
        let digits = usize::from(digits.max(1));
        let length = |number: Wide| number.to_string().len();
        let (above, below) = (length(numerator), length(denominator));
        // The quotient is between 10^(above - below - 1) and 10^(above - below + 1). Multiplied with
        // 10^(digits + below - above) it has as many digits as it shall have, or one more.
        let (mut places, mut cut) = (digits + below, above);
        let shared = places.min(cut);
        (places, cut) = (places - shared, cut - shared);
        let mut scaled = numerator * ten_to(places);
        let mut divisor = denominator * ten_to(cut);
        if scaled / divisor >= ten_to(digits) {
            if places > 0 {
                places -= 1;
                scaled = numerator * ten_to(places);
            } else {
                cut += 1;
                divisor = denominator * ten_to(cut);
            }
        }
        let (quotient, rest) = scaled.div_rem(divisor);
        let up = Wide::from(rest + rest >= divisor);
        written(quotient + up, places, cut)
    }

    /// The products that stand on the two sides of `a / b = c / d`.
    fn crosswise(&self, other: &Self) -> Wide {
        Wide::from(self.numerator) * Wide::from(other.denominator)
    }
}

fn ten_to(power: usize) -> Wide {
    Wide::from(10).pow(Wide::from(power))
}

/// Writes `number / 10^places * 10^zeros` without zeros behind the point that say nothing.
fn written(number: Wide, places: usize, zeros: usize) -> String {
    let digits = format!("{number:0>width$}", width = places + 1);
    let (whole, part) = digits
        .split_at_checked(digits.len() - places)
        .unwrap_or((&digits, ""));
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    format!("{whole}{}{point}{part}", "0".repeat(zeros))
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> Ordering {
        self.crosswise(other).cmp(&other.crosswise(self))
    }
}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Price {}
