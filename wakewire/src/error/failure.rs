//! The details of an error. No I/O, no clock.

use std::error::Error;
use std::sync::Arc;

use super::Phase;
use crate::message::Message;

/// The details of an error: who, where, when, how often, why, and what to do.
#[derive(Clone, Debug)]
pub struct Failure(pub(super) Box<Details>);

#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    pub(super) service: Arc<str>,
    pub(super) endpoint: Arc<str>,
    pub(super) phase: Option<Phase>,
    pub(super) attempts: u32,
    pub(super) cause: Option<Arc<dyn Error + Send + Sync>>,
    pub(super) hint: Option<Arc<str>>,
    pub(super) message: Option<Message>,
    pub(super) rest: Vec<Message>,
}

impl Failure {
    /// Starts the details of an error of this service.
    pub fn new(service: impl Into<Arc<str>>) -> Self {
        Self(Box::new(Details {
            service: service.into(),
            ..Details::default()
        }))
    }

    /// Says at which endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<Arc<str>>) -> Self {
        self.0.endpoint = endpoint.into();
        self
    }

    /// Says in which phase.
    #[must_use]
    pub fn phase(mut self, phase: Phase) -> Self {
        self.0.phase = Some(phase);
        self
    }

    /// Says after how many attempts in a row.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Says what lies underneath.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns the name of the service; empty where none is known.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Returns the endpoint as configured; empty where none is concerned.
    pub fn endpoint_name(&self) -> &str {
        &self.0.endpoint
    }

    /// Returns the phase in which it happened.
    pub const fn failed_phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Returns how many attempts in a row failed; 0 where none was made.
    pub const fn attempts_made(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the underlying cause.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// Returns what to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the refused message without taking it out.
    pub const fn message(&self) -> Option<&Message> {
        self.0.message.as_ref()
    }
}
