//! Which messages a service takes: ranges of message types, and the scale of amounts. No I/O, no clock.

use std::fmt;
use std::ops::RangeInclusive;

use crate::message::{Parts, Precision};

/// A family of message types; a service with a domain refuses every other type before a byte is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Domain {
    /// Types 1–19: what markets say.
    MarketData,
    /// Types 20–39: what strategies conclude.
    Signals,
    /// Types 40–79: what is done about it.
    Execution,
}

impl Domain {
    /// Every domain, in the order of their ranges.
    pub const ALL: [Self; 3] = [Self::MarketData, Self::Signals, Self::Execution];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MarketData => "market_data",
            Self::Signals => "signals",
            Self::Execution => "execution",
        }
    }

    /// Returns the message types that belong to the domain.
    pub const fn types(self) -> RangeInclusive<u16> {
        match self {
            Self::MarketData => 1..=19,
            Self::Signals => 20..=39,
            Self::Execution => 40..=79,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which scales of amounts a service takes. A message that carries no amounts passes everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrecisionContext {
    /// Native token decimals only.
    DexToken,
    /// Eight-decimal fixed point only.
    TraditionalExchange,
    /// Either; each message says which. The default.
    #[default]
    Mixed,
}

impl PrecisionContext {
    /// Every context.
    pub const ALL: [Self; 3] = [Self::DexToken, Self::TraditionalExchange, Self::Mixed];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DexToken => "dex_token",
            Self::TraditionalExchange => "traditional_exchange",
            Self::Mixed => "mixed",
        }
    }

    /// Returns whether a message in this scale may pass.
    pub const fn takes(self, precision: Option<Precision>) -> bool {
        match (self, precision) {
            (Self::Mixed, _) | (_, None) => true,
            (Self::DexToken, Some(scale)) => matches!(scale, Precision::TokenNative),
            (Self::TraditionalExchange, Some(scale)) => matches!(scale, Precision::FixedPoint8),
        }
    }
}

impl fmt::Display for PrecisionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a service takes: the largest payload, the domain and the scale, checked before a message is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    pub(crate) max_message_bytes: usize,
    pub(crate) domain: Option<Domain>,
    pub(crate) precision: PrecisionContext,
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooLarge {
        bytes: usize,
        limit: usize,
    },
    WrongType {
        message_type: u16,
        domain: Domain,
    },
    WrongPrecision {
        precision: Precision,
        context: PrecisionContext,
    },
    LongField {
        field: &'static str,
        bytes: usize,
    },
}

impl Admission {
    /// Checks one message; cheap enough for every send.
    #[inline]
    pub(crate) fn check(&self, message: &impl Parts) -> Result<(), Refusal> {
        let bytes = message.payload().len();
        if bytes > self.max_message_bytes {
            return Err(Refusal::TooLarge {
                bytes,
                limit: self.max_message_bytes,
            });
        }
        self.judge(message.message_type(), message.precision())?;
        short("target", message.target())?;
        short("correlation_id", message.correlation_id())
    }

    /// Returns itself, unless it takes messages of every type and scale: then none that arrives need be looked at.
    pub(crate) fn if_any(self) -> Option<Self> {
        let takes_all = self.domain.is_none() && self.precision == PrecisionContext::Mixed;
        (!takes_all).then_some(self)
    }

    /// Checks what a message is and in which scale its amounts are; all that is looked at where it arrives.
    pub(crate) fn judge(
        &self,
        message_type: u16,
        precision: Option<Precision>,
    ) -> Result<(), Refusal> {
        if let Some(domain) = self.domain
            && !domain.types().contains(&message_type)
        {
            return Err(Refusal::WrongType {
                message_type,
                domain,
            });
        }
        match precision {
            Some(precision) if !self.precision.takes(Some(precision)) => {
                let context = self.precision;
                Err(Refusal::WrongPrecision { precision, context })
            }
            _ => Ok(()),
        }
    }
}

/// Checks what travels beside a payload.
#[inline]
fn short(field: &'static str, text: Option<&str>) -> Result<(), Refusal> {
    match text.map(str::len) {
        Some(bytes) if bytes > FIELD_LIMIT => Err(Refusal::LongField { field, bytes }),
        _ => Ok(()),
    }
}

/// The longest target or correlation id: one length byte would do, and headers are not for payloads.
pub(crate) const FIELD_LIMIT: usize = 255;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "the message has {bytes} bytes, the service takes {limit} (`max_message_bytes`)"
                )
            }
            Self::WrongType {
                message_type,
                domain,
            } => {
                let (first, last) = (
                    domain.types().start().to_owned(),
                    domain.types().end().to_owned(),
                );
                write!(
                    f,
                    "message type {message_type} is not of domain `{domain}`, which is {first}–{last}"
                )
            }
            Self::WrongPrecision { precision, context } => {
                write!(
                    f,
                    "amounts in {precision:?} do not belong on a service with `precision_context = \"{context}\"`"
                )
            }
            Self::LongField { field, bytes } => {
                write!(
                    f,
                    "`{field}` has {bytes} bytes, at most {FIELD_LIMIT} travel"
                )
            }
        }
    }
}
