//! Several sends at the same time, in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::SinkError;
use crate::sink::Sending;

/// Sends that are under way together, each with the number of its target.
#[derive(Debug)]
pub(crate) struct Together<'a, T>(Vec<Open<'a, T>>);

#[derive(Debug)]
struct Open<'a, T> {
    target: usize,
    waited: bool,
    sending: Sending<'a, T>,
}

/// How one of them ended.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    pub(crate) target: usize,
    /// It was not over when first looked at.
    pub(crate) waited: bool,
    pub(crate) result: Result<T, SinkError>,
}

impl<'a, T: Unpin> Together<'a, T> {
    /// Starts with none; no allocation.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, target: usize, sending: Sending<'a, T>) {
        self.0.push(Open {
            target,
            waited: false,
            sending,
        });
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next that ends, whichever it is; `None` when none is left.
    pub(crate) async fn next(&mut self) -> Option<Ended<T>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns how all ended, by target.
    pub(crate) async fn all(mut self) -> Vec<Ended<T>> {
        let mut ended = Vec::with_capacity(self.0.len());
        while let Some(one) = self.next().await {
            ended.push(one);
        }
        ended.sort_by_key(|one| one.target);
        ended
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        for index in 0..self.0.len() {
            let open = &mut self.0[index];
            match Pin::new(&mut open.sending).poll(cx) {
                Poll::Pending => open.waited = true,
                Poll::Ready(result) => {
                    let Open { target, waited, .. } = self.0.swap_remove(index);
                    return Poll::Ready(Some(Ended {
                        target,
                        waited,
                        result,
                    }));
                }
            }
        }
        Poll::Pending
    }
}
