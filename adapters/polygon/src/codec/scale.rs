//! Amounts: an integer and what it counts. Conversions are exact or refused. No I/O, no clock.

use std::fmt;

use alloy_primitives::{I256, Sign, U256};
use bytes::{BufMut, BytesMut};
use wakewire::Precision;

use super::fields::{Field, Malformed, Value};

/// What the integer of an amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a scale more is another layout, and what reads it must know"
)]
pub enum Scale {
    /// Smallest units of a token whose decimals are not known here.
    Smallest,
    /// Smallest units of a token with so many decimals: 18 for WETH, 6 for USDC.
    Native(u8),
    /// Hundred-millionths, as traditional exchanges quote.
    FixedPoint8,
}

impl Scale {
    /// Returns the number of decimals, if it is known.
    pub const fn decimals(self) -> Option<u8> {
        match self {
            Self::Smallest => None,
            Self::Native(decimals) => Some(decimals),
            Self::FixedPoint8 => Some(8),
        }
    }

    /// Returns what a message with amounts in this scale says of them, by which services with a
    /// `precision_context` take or refuse it.
    pub const fn precision(self) -> Precision {
        match self {
            Self::Smallest | Self::Native(_) => Precision::TokenNative,
            Self::FixedPoint8 => Precision::FixedPoint8,
        }
    }

    /// Its two bytes in a payload.
    pub(super) const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Smallest => [0, 0],
            Self::Native(decimals) => [1, decimals],
            Self::FixedPoint8 => [2, 8],
        }
    }

    pub(super) const fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [0, 0] => Some(Self::Smallest),
            [1, decimals] => Some(Self::Native(decimals)),
            [2, 8] => Some(Self::FixedPoint8),
            _ => None,
        }
    }
}

/// An integer and its scale: `U256`, or `I256` where it may be negative.
///
/// ```
/// use alloy_primitives::U256;
/// use wakewire_polygon::codec::{Amount, Scale};
///
/// let wei = Amount::new(U256::from(1_500_000_000_000_000_000_u64), Scale::Native(18));
/// assert_eq!(wei.to_string(), "1.500000000000000000");
/// assert_eq!(wei.to_scale(Scale::FixedPoint8)?.value, U256::from(150_000_000));
/// assert!(Amount::new(U256::from(1), Scale::Native(18)).to_scale(Scale::FixedPoint8).is_err());
/// # Ok::<(), wakewire_polygon::codec::Conversion>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "there is nothing more to an amount"
)]
pub struct Amount<T = U256> {
    /// The integer.
    pub value: T,
    /// What it counts.
    pub scale: Scale,
}

/// Why an amount cannot be said exactly in another scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conversion {
    /// How many decimals it has is not known.
    #[error("the decimals of the token are not known")]
    Unknown,
    /// It would lose digits.
    #[error("it has digits beyond {decimals} decimals")]
    Inexact {
        /// How many decimals the other scale has.
        decimals: u8,
    },
    /// It would not fit.
    #[error("with {decimals} decimals it does not fit into 256 bits")]
    TooLarge {
        /// How many decimals the other scale has.
        decimals: u8,
    },
}

impl<T: Integer> Amount<T> {
    /// Makes an amount.
    pub const fn new(value: T, scale: Scale) -> Self {
        Self { value, scale }
    }

    /// Returns the same amount in another scale.
    ///
    /// # Errors
    ///
    /// Refuses whatever would not be the same amount: digits that would be cut off, a value that does not fit, decimals
    /// that nobody knows.
    pub fn to_scale(self, scale: Scale) -> Result<Self, Conversion> {
        if scale == self.scale {
            return Ok(self);
        }
        let (Some(from), Some(decimals)) = (self.scale.decimals(), scale.decimals()) else {
            return Err(Conversion::Unknown);
        };
        let (sign, size) = self.value.parts();
        // Beyond 10^77 no power fits, and no value but 0 has so many digits.
        let power = U256::from(10).checked_pow(U256::from(from.abs_diff(decimals)));
        let size = match power {
            _ if size.is_zero() => Some(size),
            Some(power) if decimals >= from => size.checked_mul(power),
            Some(power) if (size % power).is_zero() => Some(size / power),
            None if decimals >= from => None,
            _ => return Err(Conversion::Inexact { decimals }),
        };
        size.and_then(|size| T::from_parts(sign, size))
            .map(|value| Self::new(value, scale))
            .ok_or(Conversion::TooLarge { decimals })
    }
}

/// The exact decimal number; in smallest units, where the decimals are not known.
impl<T: Integer> fmt::Display for Amount<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = self.value.parts();
        let places = usize::from(self.scale.decimals().unwrap_or(0));
        let digits = format!("{size:0>width$}", width = places + 1);
        let (whole, part) = digits
            .split_at_checked(digits.len() - places)
            .unwrap_or((&digits, ""));
        let point = if part.is_empty() { "" } else { "." };
        f.pad_integral(sign == Sign::Positive, "", &format!("{whole}{point}{part}"))
    }
}

/// The integers that an amount may have: `U256` and `I256`.
pub trait Integer: Copy {
    /// Returns sign and size.
    fn parts(self) -> (Sign, U256);
    /// Returns the integer with this sign and size, if there is one.
    fn from_parts(sign: Sign, size: U256) -> Option<Self>;
    /// Returns its 32 bytes, the highest first.
    fn to_bytes(self) -> [u8; 32];
    /// Returns the integer of these bytes.
    fn from_bytes(bytes: [u8; 32]) -> Self;
}

impl Integer for U256 {
    fn parts(self) -> (Sign, U256) {
        (Sign::Positive, self)
    }
    fn from_parts(sign: Sign, size: U256) -> Option<Self> {
        (sign == Sign::Positive || size.is_zero()).then_some(size)
    }
    fn to_bytes(self) -> [u8; 32] {
        self.to_be_bytes()
    }
    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::from_be_bytes(bytes)
    }
}

impl Integer for I256 {
    fn parts(self) -> (Sign, U256) {
        self.into_sign_and_abs()
    }
    fn from_parts(sign: Sign, size: U256) -> Option<Self> {
        Self::checked_from_sign_and_abs(sign, size)
    }
    fn to_bytes(self) -> [u8; 32] {
        self.to_be_bytes()
    }
    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::from_be_bytes(bytes)
    }
}

impl<'a, T: Integer> Value<'a> for Amount<T> {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        let [kind, decimals, value @ ..] = *field.bytes::<34>()?;
        let scale = Scale::from_bytes([kind, decimals])
            .ok_or_else(|| field.fault("there is no such scale"))?;
        Ok(Self::new(T::from_bytes(value), scale))
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_slice(&self.scale.to_bytes());
        payload.put_slice(&self.value.to_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALES: [Scale; 6] = [
        Scale::Smallest,
        Scale::Native(0),
        Scale::Native(6),
        Scale::Native(18),
        Scale::Native(255),
        Scale::FixedPoint8,
    ];

    fn signed(text: &str) -> I256 {
        text.parse().unwrap()
    }

    #[test]
    fn a_conversion_is_exact_or_refused() {
        let usdc = Amount::new(U256::from(1_500_000), Scale::Native(6));
        let cents = usdc.to_scale(Scale::FixedPoint8).unwrap();
        assert_eq!(cents.value, U256::from(150_000_000));
        assert_eq!(cents.to_scale(Scale::Native(6)), Ok(usdc));
        let wei = Amount::new(U256::from(10_u64.pow(10)), Scale::Native(18));
        assert_eq!(
            wei.to_scale(Scale::FixedPoint8).unwrap().value,
            U256::from(1)
        );
        let dust = Amount::new(wei.value - U256::from(1), Scale::Native(18));
        assert_eq!(
            dust.to_scale(Scale::FixedPoint8),
            Err(Conversion::Inexact { decimals: 8 })
        );
    }

    #[test]
    fn the_largest_amount_keeps_its_value_or_is_refused() {
        let largest = Amount::new(U256::MAX, Scale::Native(18));
        assert_eq!(
            largest.to_scale(Scale::Native(19)),
            Err(Conversion::TooLarge { decimals: 19 })
        );
        // 2^256 - 1 ends in 5: nothing can be cut off.
        assert_eq!(
            largest.to_scale(Scale::Native(17)),
            Err(Conversion::Inexact { decimals: 17 })
        );
        assert_eq!(
            largest.to_string(),
            "115792089237316195423570985008687907853269984665640564039457.584007913129639935"
        );
        assert_eq!(
            Amount::new(U256::MAX, Scale::Native(6)).to_string(),
            "115792089237316195423570985008687907853269984665640564039457584007913129.639935"
        );
    }

    #[test]
    fn a_negative_amount_keeps_its_sign() {
        let out = Amount::new(signed("-2500000000000000000"), Scale::Native(18));
        assert_eq!(out.to_string(), "-2.500000000000000000");
        let quoted = out.to_scale(Scale::FixedPoint8).unwrap();
        assert_eq!(quoted.value, signed("-250000000"));
        let least = Amount::new(I256::MIN, Scale::Native(6));
        assert_eq!(
            least.to_scale(Scale::Native(7)),
            Err(Conversion::TooLarge { decimals: 7 })
        );
        assert_eq!(
            least.to_string(),
            "-57896044618658097711785492504343953926634992332820282019728792003956564.819968"
        );
        // The size of the least integer fits without its sign only.
        let tenth = Amount::new(I256::MIN, Scale::Native(0));
        assert_eq!(tenth.to_scale(Scale::Native(0)), Ok(tenth));
        assert_eq!(I256::from_parts(Sign::Positive, I256::MIN.parts().1), None);
    }

    #[test]
    fn nobody_guesses_decimals() {
        let some = Amount::new(U256::from(7), Scale::Smallest);
        assert_eq!(some.to_string(), "7");
        assert_eq!(some.to_scale(Scale::Smallest), Ok(some));
        assert_eq!(some.to_scale(Scale::Native(0)), Err(Conversion::Unknown));
        assert_eq!(
            Amount::new(U256::from(7), Scale::Native(6)).to_scale(Scale::Smallest),
            Err(Conversion::Unknown)
        );
    }

    #[test]
    fn there_is_nothing_between_scales_that_are_too_far_apart() {
        let one = Amount::new(U256::from(1), Scale::Native(255));
        assert_eq!(
            one.to_scale(Scale::Native(6)),
            Err(Conversion::Inexact { decimals: 6 })
        );
        let back = Amount::new(U256::from(1), Scale::Native(6));
        assert_eq!(
            back.to_scale(Scale::Native(255)),
            Err(Conversion::TooLarge { decimals: 255 })
        );
        let nothing = Amount::new(U256::ZERO, Scale::Native(6));
        assert!(nothing.to_scale(Scale::Native(255)).is_ok());
        assert_eq!(one.to_string().len(), 257);
    }

    #[test]
    fn a_scale_is_two_bytes() {
        for scale in SCALES {
            assert_eq!(Scale::from_bytes(scale.to_bytes()), Some(scale));
        }
        for wrong in [[0, 1], [2, 7], [3, 0], [255, 255]] {
            assert_eq!(Scale::from_bytes(wrong), None);
        }
    }

    #[test]
    fn an_amount_says_on_which_services_it_belongs() {
        assert_eq!(Scale::Native(8).precision(), Precision::TokenNative);
        assert_eq!(Scale::Smallest.precision(), Precision::TokenNative);
        assert_eq!(Scale::FixedPoint8.precision(), Precision::FixedPoint8);
    }

    proptest::proptest! {
        #[test]
        fn there_and_back_is_the_same(size: [u8; 32], from: u8, to: u8) {
            let amount = Amount::new(I256::from_bytes(size), Scale::Native(from));
            if let Ok(there) = amount.to_scale(Scale::Native(to)) {
                proptest::prop_assert_eq!(there.to_scale(Scale::Native(from)), Ok(amount));
            }
        }
    }
}
