//! What happened in a pool: the events of the contracts, and the fields of each. No I/O, no clock.

use alloy_primitives::aliases::U160;
use alloy_primitives::{Address, I256, U256};
use bytes::{BufMut, BytesMut};
use wakewire::Precision;

use super::fields::{Field, Malformed, Reader, Value, Writer};
use super::pool::Pool;
use super::scale::{Amount, Integer, Scale};

const AMOUNT0: u8 = 16;
const AMOUNT1: u8 = 17;
const OUT0: u8 = 18;
const OUT1: u8 = 19;
const SQRT_PRICE: u8 = 20;
const LIQUIDITY: u8 = 21;
const TICK: u8 = 22;
const TICK_UPPER: u8 = 23;
const SENDER: u8 = 24;
const RECIPIENT: u8 = 25;
const OWNER: u8 = 26;

/// Makes the enum, its message types, and how each is written and read: one table for all of it. Amounts say of
/// which token they are.
macro_rules! changes {
    ($(
        $(#[$doc:meta])*
        $name:ident = $message_type:literal {
            $($field:ident: $kind:ty = $tag:ident $(of $token:ident)?,)+
        }
    )+) => {
        /// What happened in a pool, as the contract says it: integers in smallest units of token 0 and token 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(
            clippy::exhaustive_enums,
            reason = "an event more is a message type more, and what reads them must know"
        )]
        #[expect(missing_docs, reason = "the fields are those of the contracts' events")]
        pub enum Change {
            $($(#[$doc])* $name { $($field: $kind,)+ },)+
        }

        impl Change {
            /// Returns the message type.
            pub const fn message_type(&self) -> u16 {
                match self {
                    $(Self::$name { .. } => $message_type,)+
                }
            }

            /// Returns what it is called here: `SwapV2`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)+
                }
            }

            /// Returns its fields by name, with exact decimal numbers and addresses as text: for logs and files.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                match self {
                    $(Self::$name { $($field,)+ } => vec![$((stringify!($field), $field.to_string()),)+],)+
                }
            }

            pub(super) fn write(&self, pool: &Pool, to: &mut Writer) {
                match *self {
                    $(Self::$name { $($field,)+ } => {
                        $(to.put($tag, scaled!($field, pool $(, $token)?));)+
                    })+
                }
            }

            pub(super) fn read(message_type: u16, from: &mut Amounts<'_>) -> Result<Self, Malformed> {
                match message_type {
                    $($message_type => Ok(Self::$name {
                        $($field: value!($tag, from $(, $token)?),)+
                    }),)+
                    other => Err(Malformed::UnknownType(other)),
                }
            }
        }
    };
}

macro_rules! scaled {
    ($value:ident, $pool:ident) => {
        $value
    };
    ($value:ident, $pool:ident, $token:ident) => {
        $pool.$token.amount($value)
    };
}

macro_rules! value {
    ($tag:ident, $from:ident) => {
        $from.fields.get($tag)?
    };
    ($tag:ident, $from:ident, $token:ident) => {
        amount($from.fields, $tag, &mut $from.$token)?
    };
}

changes! {
    /// Uniswap V2: somebody has traded.
    SwapV2 = 1 {
        sender: Address = SENDER,
        recipient: Address = RECIPIENT,
        in0: U256 = AMOUNT0 of token0,
        in1: U256 = AMOUNT1 of token1,
        out0: U256 = OUT0 of token0,
        out1: U256 = OUT1 of token1,
    }
    /// Uniswap V3: somebody has traded. What the pool has paid is negative.
    SwapV3 = 2 {
        sender: Address = SENDER,
        recipient: Address = RECIPIENT,
        amount0: I256 = AMOUNT0 of token0,
        amount1: I256 = AMOUNT1 of token1,
        sqrt_price_x96: U160 = SQRT_PRICE,
        liquidity: u128 = LIQUIDITY,
        tick: i32 = TICK,
    }
    /// Uniswap V2: what the pool has now.
    Sync = 3 {
        reserve0: U256 = AMOUNT0 of token0,
        reserve1: U256 = AMOUNT1 of token1,
    }
    /// Uniswap V2: somebody has put tokens in.
    MintV2 = 4 {
        sender: Address = SENDER,
        amount0: U256 = AMOUNT0 of token0,
        amount1: U256 = AMOUNT1 of token1,
    }
    /// Uniswap V3: somebody has put tokens in, between two ticks.
    MintV3 = 5 {
        sender: Address = SENDER,
        owner: Address = OWNER,
        tick_lower: i32 = TICK,
        tick_upper: i32 = TICK_UPPER,
        liquidity: u128 = LIQUIDITY,
        amount0: U256 = AMOUNT0 of token0,
        amount1: U256 = AMOUNT1 of token1,
    }
    /// Uniswap V2: somebody has taken tokens out.
    BurnV2 = 6 {
        sender: Address = SENDER,
        recipient: Address = RECIPIENT,
        amount0: U256 = AMOUNT0 of token0,
        amount1: U256 = AMOUNT1 of token1,
    }
    /// Uniswap V3: somebody's tokens between two ticks no longer take part, and are owed to them.
    BurnV3 = 7 {
        owner: Address = OWNER,
        tick_lower: i32 = TICK,
        tick_upper: i32 = TICK_UPPER,
        liquidity: u128 = LIQUIDITY,
        amount0: U256 = AMOUNT0 of token0,
        amount1: U256 = AMOUNT1 of token1,
    }
}

/// The fields of an event, and the scales that the amounts of its two tokens have turned out to have.
pub(super) struct Amounts<'a> {
    fields: Reader<'a>,
    pub(super) token0: Option<Scale>,
    pub(super) token1: Option<Scale>,
}

impl<'a> Amounts<'a> {
    pub(super) const fn of(fields: Reader<'a>) -> Self {
        Self {
            fields,
            token0: None,
            token1: None,
        }
    }
}

/// Reads an amount of a token, which has the scale of those before it.
fn amount<T: Integer>(
    fields: Reader<'_>,
    tag: u8,
    scale: &mut Option<Scale>,
) -> Result<T, Malformed> {
    let field = fields.field(tag)?;
    let amount = Amount::get(field)?;
    if amount.scale.precision() != Precision::TokenNative {
        return Err(field.fault("a pool counts in its tokens' own units"));
    }
    if *scale.get_or_insert(amount.scale) != amount.scale {
        return Err(field.fault("another amount of this token has another scale"));
    }
    Ok(amount.value)
}

/// The square root of a price, with 96 binary places.
const ROOT_X96: [u8; 2] = [3, 96];

impl<'a> Value<'a> for U160 {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        let [kind, places, root @ ..] = *field.bytes::<22>()?;
        if [kind, places] != ROOT_X96 {
            return Err(field.fault("it is a square root with 96 binary places"));
        }
        Ok(Self::from_be_bytes::<20>(root))
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_slice(&ROOT_X96);
        payload.put_slice(&self.to_be_bytes::<20>());
    }
}
