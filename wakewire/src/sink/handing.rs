//! The two ways to hand a message to a sink: plainly, or for a receipt.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{MessageSink, Receipt, Sending};
use crate::error::TrySendError;
use crate::message::Message;

/// A way to hand a message over. A composite finds its target in one manner, whatever is wanted of it.
pub(super) trait Handing: Send + Sync + 'static {
    /// What whoever takes the message gives for it.
    type Yield: Send + Unpin;

    /// Offers it without waiting.
    fn offer(sink: &dyn MessageSink, message: Message) -> Result<Self::Yield, TrySendError>;

    /// Hands it over, waiting as long as the sink does.
    fn send(sink: &dyn MessageSink, message: Message) -> Sending<'_, Self::Yield>;
}

/// With nothing in return.
#[derive(Debug)]
pub(super) struct Plainly;

impl Handing for Plainly {
    type Yield = ();

    fn offer(sink: &dyn MessageSink, message: Message) -> Result<(), TrySendError> {
        sink.try_send(message)
    }

    fn send(sink: &dyn MessageSink, message: Message) -> Sending<'_> {
        sink.send(message)
    }
}

/// For a [`Receipt`].
#[derive(Debug)]
pub(super) struct ForReceipt;

impl Handing for ForReceipt {
    type Yield = Receipt;

    /// A send that is pending has not accepted its message: dropped after one look, it was an offer.
    fn offer(sink: &dyn MessageSink, message: Message) -> Result<Receipt, TrySendError> {
        let mut sending = sink.send_with_receipt(message.clone());
        match Pin::new(&mut sending).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(receipt)) => Ok(receipt),
            Poll::Ready(Err(error)) => Err(TrySendError::Refused(error)),
            Poll::Pending => Err(TrySendError::WouldWait(message)),
        }
    }

    fn send(sink: &dyn MessageSink, message: Message) -> Sending<'_, Receipt> {
        sink.send_with_receipt(message)
    }
}
