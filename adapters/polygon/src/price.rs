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

#[cfg(test)]
mod tests {
    use alloy_primitives::uint;
    use proptest::prelude::*;

    use super::*;

    fn root(text: &str) -> Price {
        Price::from_sqrt_x96(text.parse().unwrap()).unwrap()
    }

    fn reserves(reserve0: u128, reserve1: u128) -> Price {
        Price::from_reserves(U256::from(reserve0), U256::from(reserve1)).unwrap()
    }

    #[test]
    fn a_price_is_the_same_number_however_it_is_written() {
        // 2^96: a root of 1.
        assert_eq!(root("79228162514264337593543950336"), reserves(7, 7));
        // 2^97: a price of 4.
        assert_eq!(root("158456325028528675187087900672"), reserves(1, 4));
        assert!(root("158456325028528675187087900673") > reserves(1, 4));
        assert!(root("158456325028528675187087900671") < reserves(1, 4));
        assert!(reserves(u128::MAX, u128::MAX - 1) < reserves(u128::MAX - 1, u128::MAX - 2 + 1));
    }

    #[test]
    fn an_empty_pool_has_no_price() {
        assert_eq!(Price::from_reserves(U256::ZERO, U256::from(1)), None);
        assert_eq!(Price::from_reserves(U256::from(1), U256::ZERO), None);
        assert_eq!(Price::from_sqrt_x96(U160::ZERO), None);
    }

    #[test]
    fn a_threshold_is_exceeded_by_more_than_nothing() {
        // Exactly 0.1 % apart.
        let (low, high) = (
            reserves(1_000_000, 3_000_000),
            reserves(1_000_000, 3_003_000),
        );
        assert!(!high.exceeds(&low, 1000));
        assert!(high.exceeds(&low, 999));
        assert!(!low.exceeds(&high, 0));
        assert!(!low.exceeds(&low, 0));
        let hair = Price::from_reserves(
            uint!(1_000_000_000_000_000_000_000_000_000_000_U256),
            uint!(3_003_000_000_000_000_000_000_000_000_001_U256),
        );
        assert!(hair.unwrap().exceeds(&low, 1000));
        assert!(!hair.unwrap().exceeds(&low, u32::MAX));
    }

    #[test]
    fn prices_are_rounded_once() {
        for (reserve0, reserve1, decimals0, decimals1, digits, text) in [
            (3, 1, 0, 0, 5, "0.33333"),
            (3, 2, 0, 0, 5, "0.66667"),
            (1, 2, 0, 0, 5, "2"),
            (8, 1, 0, 0, 2, "0.13"),
            (8, 1, 0, 0, 3, "0.125"),
            // Rounding makes it longer.
            (10_000, 99_996, 0, 0, 4, "10"),
            (1, 99_996, 0, 0, 4, "100000"),
            (1, 123_456, 0, 0, 3, "123000"),
            (1, 123_456, 0, 0, 6, "123456"),
            (1, 123_456, 0, 0, 0, "100000"),
            // A WETH costs 3,412.07 USDC, whichever of the two is token 0.
            (
                2_000_000_000_000_000_000,
                6_824_140_000,
                18,
                6,
                12,
                "3412.07",
            ),
            (
                6_824_140_000,
                2_000_000_000_000_000_000,
                6,
                18,
                6,
                "0.000293077",
            ),
            (1, 1, 255, 0, 3, &format!("1{}", "0".repeat(255))),
            (1, 1, 0, 255, 3, &format!("0.{}1", "0".repeat(254))),
        ] {
            let price = reserves(reserve0, reserve1);
            assert_eq!(price.rounded(decimals0, decimals1, digits), text);
        }
    }

    #[test]
    fn the_ends_fit() {
        let highest = Price::from_sqrt_x96(U160::MAX).unwrap();
        let lowest = Price::new(U320::from(1), U320::MAX).unwrap();
        let dearest = Price::new(U320::MAX, U320::from(1)).unwrap();
        assert!(dearest > highest && highest > lowest);
        assert!(dearest.exceeds(&lowest, u32::MAX));
        assert!(!lowest.exceeds(&dearest, 0));
        let (most, least) = (dearest.rounded(255, 0, 255), lowest.rounded(0, 255, 255));
        // (2^320 - 1) · 10^255, and 10^-255 / (2^320 - 1), to 255 digits.
        assert!(most.starts_with("2135987035920910082395021706169552114602704522356652769947041607822219725780640550022962086936575"));
        assert_eq!(most.len(), 97 + 255);
        assert!(least.starts_with(&format!("0.{}46816763546921983271", "0".repeat(255 + 96))));
    }

    proptest! {
        /// Rounded to 20 digits it is off by half of the last of them at most.
        #[test]
        fn a_rounded_price_is_near(
            reserve0 in 1..=u128::MAX,
            reserve1 in 1..=u128::MAX,
            decimals0 in 0_u8..40,
            decimals1 in 0_u8..40,
        ) {
            let price = reserves(reserve0, reserve1);
            let text = price.rounded(decimals0, decimals1, 20);
            let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
            let places = part.len();
            let shown: Wide = format!("{whole}{part}").parse().unwrap();
            let digits = format!("{whole}{part}").trim_start_matches('0').len();
            // |shown / 10^places - price| · 2 <= 10^(digits of shown - 20 - places)
            let numerator = Wide::from(reserve1) * ten_to(decimals0.into()) * ten_to(places);
            let denominator = Wide::from(reserve0) * ten_to(decimals1.into());
            let off = numerator.abs_diff(shown * denominator) * Wide::from(2);
            let unit = if digits > 20 { ten_to(digits - 20) * denominator } else { denominator };
            prop_assert!(off <= unit, "{text}");
        }
    }
}
