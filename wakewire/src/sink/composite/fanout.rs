//! Every target gets every message.

use std::sync::Arc;

use super::CompositeSink;
use super::target::is_about_the_target;
use crate::error::{Failure, PartialFailure, Phase, SinkError, TrySendError};
use crate::message::Message;
use crate::sink::together::Together;
use crate::sink::{Receipt, Sending};

type Failed = Vec<(usize, SinkError)>;

/// Offers the message to all before waiting for any; then waits for the rest together.
pub(super) fn send(sink: &CompositeSink, message: Message) -> Sending<'_> {
    let mut waiting = Together::new();
    let mut failed = Failed::new();
    for (index, target) in sink.targets.iter().enumerate() {
        match target.sink.try_send(message.clone()) {
            Ok(()) => target.took_at_once(),
            Err(TrySendError::WouldWait(message)) if target.may_wait() => {
                waiting.add(index, target.sink.send(message));
            }
            Err(TrySendError::WouldWait(message)) => {
                target.probe();
                failed.push((index, target.last_error().returning(message)));
            }
            // It cost no time, so nothing is remembered: a lost connection may be back for the next one.
            Err(TrySendError::Refused(error)) => failed.push((index, error)),
        }
    }
    if waiting.is_empty() {
        return Sending::ready(sink.counted(verdict(sink, message, failed)));
    }
    Sending::new(async move {
        while let Some(ended) = waiting.next().await {
            let target = &sink.targets[ended.target];
            match ended.result {
                Ok(()) => target.took(),
                Err(error) => {
                    if ended.waited && costs_the_next_one_a_wait(&error) {
                        target.failed(&error);
                    }
                    failed.push((ended.target, error));
                }
            }
        }
        sink.counted(verdict(sink, message, failed))
    })
}

/// As [`send`], to all at once; the receipt ends when all have confirmed.
pub(super) fn send_with_receipt(sink: &CompositeSink, message: Message) -> Sending<'_, Receipt> {
    Sending::new(async move {
        let mut waiting = Together::new();
        let mut failed = Failed::new();
        for (index, target) in sink.targets.iter().enumerate() {
            if target.may_wait() {
                waiting.add(index, target.sink.send_with_receipt(message.clone()));
            } else {
                target.probe();
                let error = target.last_error().returning(message.clone());
                failed.push((index, error));
            }
        }
        let mut receipts = Together::new();
        while let Some(ended) = waiting.next().await {
            let target = &sink.targets[ended.target];
            match ended.result {
                Ok(receipt) => {
                    target.took();
                    receipts.add(ended.target, receipt);
                }
                Err(error) => {
                    if ended.waited && costs_the_next_one_a_wait(&error) {
                        target.failed(&error);
                    }
                    failed.push((ended.target, error));
                }
            }
        }
        sink.counted(verdict(sink, message, failed))?;
        let names = sink.targets.iter().map(|target| target.name.to_string());
        Ok(all_confirm(sink.name.clone(), names.collect(), receipts))
    })
}

/// Waits for all receipts; the error names those targets that did not confirm.
fn all_confirm(name: Arc<str>, targets: Vec<String>, receipts: Together<'static, ()>) -> Receipt {
    Sending::new(async move {
        let (mut confirmed, mut failed) = (Vec::new(), Vec::new());
        for (ended, target) in receipts.all().await.into_iter().zip(targets) {
            match ended.result {
                Ok(()) => confirmed.push(target),
                Err(error) => failed.push((target, error)),
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let failure = Failure::new(name).phase(Phase::Ack);
        Err(SinkError::Partial(PartialFailure::new(
            failure, confirmed, failed,
        )))
    })
}

/// A message that one target took cannot be taken back, so only a fan-out to one can give it back whole.
pub(super) fn try_send(sink: &CompositeSink, message: Message) -> Result<(), TrySendError> {
    let [target] = &*sink.targets else {
        return Err(TrySendError::WouldWait(message));
    };
    match target.sink.try_send(message.clone()) {
        Ok(()) => {
            target.took_at_once();
            sink.counted(Ok(())).map_err(TrySendError::Refused)
        }
        Err(TrySendError::WouldWait(message)) => Err(TrySendError::WouldWait(message)),
        Err(TrySendError::Refused(error)) => sink
            .counted(verdict(sink, message, vec![(0, error)]))
            .map_err(TrySendError::Refused),
    }
}

/// A lost connection is opened again by the next message; a nested fan-out passes its own targets over,
/// and its healthy ones must go on getting every message.
fn costs_the_next_one_a_wait(error: &SinkError) -> bool {
    is_about_the_target(error)
        && !matches!(error, SinkError::ConnectionLost(_) | SinkError::Partial(_))
}

fn verdict(sink: &CompositeSink, message: Message, mut failed: Failed) -> Result<(), SinkError> {
    if failed.is_empty() {
        return Ok(());
    }
    failed.sort_by_key(|(index, _)| *index);
    Err(partial(sink, failed, Phase::Accept).returning(message))
}

/// Makes the error over these targets, which are in order; the others did what was asked.
pub(super) fn partial(sink: &CompositeSink, failed: Failed, phase: Phase) -> SinkError {
    let done = sink
        .targets
        .iter()
        .enumerate()
        .filter(|(index, _)| failed.iter().all(|(bad, _)| bad != index))
        .map(|(_, target)| target.name.to_string())
        .collect();
    let failed = failed
        .into_iter()
        .map(|(index, error)| (sink.targets[index].name.to_string(), error))
        .collect();
    let failure = Failure::new(sink.name.clone()).phase(phase);
    SinkError::Partial(PartialFailure::new(failure, done, failed))
}
