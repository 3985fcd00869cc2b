//! Why a request is not answered, or not wanted any more. No I/O, no clock.

use bytes::{Bytes, BytesMut};
use minicbor::{Decode, Encode};

use super::frame::{Header, Kind};
use super::{hello, text};

/// What became of a request that is not answered; from the requester, that it is not wanted any more.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Refusal {
    #[n(0)]
    pub(crate) reason: Reason,
    /// For people.
    #[n(1)]
    #[cbor(decode_with = "text::remark")]
    pub(crate) text: String,
}

/// Why a request is not answered; the number tells whether anything was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(index_only)]
pub(crate) enum Reason {
    /// The handler says so.
    #[n(0)]
    Failed,
    /// Nothing was done with it: too much to do.
    #[n(1)]
    Overloaded,
    /// Nothing was done with it: shutting down.
    #[n(2)]
    Leaving,
    /// Not answered in its time.
    #[n(3)]
    DeadlineExceeded,
    /// From the requester: it is not wanted any more.
    #[n(4)]
    Cancelled,
}

/// Makes the frame that says why a request is not answered, or not wanted.
pub(crate) fn failure(number: u64, refusal: &Refusal, checksummed: bool) -> Bytes {
    let header = Header {
        sequence: number,
        ..Header::control(Kind::Failure)
    };
    let mut bytes = BytesMut::new();
    hello::encode_with(header, refusal, checksummed, &mut bytes);
    bytes.freeze()
}
