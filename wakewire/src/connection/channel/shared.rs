//! What callers and the driver of one connection share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::inbox::Inbox;
use super::pending::Pending;
use super::pings::Pings;
use super::settings::ConnectionSettings;
use super::ticket::Ticket;
use crate::domain::{Admission, PrecisionContext};
use crate::error::{Failure, Phase, SinkError};
use crate::message::Message;
use crate::transport::outflow::Outflow;
use crate::transport::pulse::Pulse;
use crate::wire::ProtocolError;
use crate::wire::data;
use crate::wire::frame::{self, HEADER, Header, Kind};
use crate::wire::hello::{self, Code, Welcome};
use crate::wire::outlet::MOST_FRAMES;
use crate::wire::refusal::{self, Reason, Refusal};

/// What callers and the driver of one connection share.
pub(super) struct Shared {
    pub(super) failure: Failure,
    pub(super) settings: ConnectionSettings,
    pub(super) welcome: Welcome,
    pub(super) outflow: Outflow,
    pub(super) pulse: Pulse,
    table: Mutex<Table>,
    /// One for each request that may be open, and for each message that may be on its way.
    requests: Semaphore,
    messages: Semaphore,
    next: AtomicU64,
    pub(super) inbox: Inbox,
    /// We were told to close.
    pub(super) closing: Notify,
    ended: Notify,
}

struct Table {
    pending: Pending<Waiting>,
    pings: Pings,
    /// Why nothing is taken any more.
    refusal: Option<SinkError>,
    has_ended: bool,
}

/// Who waits for what becomes of a message.
struct Waiting {
    kind: Kind,
    message: Message,
    tell: oneshot::Sender<Result<Message, SinkError>>,
}

impl Shared {
    pub(super) fn new(
        failure: Failure,
        settings: ConnectionSettings,
        welcome: Welcome,
        outflow: Outflow,
        pulse: Pulse,
    ) -> Self {
        let allowed = welcome.in_flight.filter(|&most| most > 0);
        let in_flight = allowed.map_or(settings.in_flight, |most| most.min(settings.in_flight));
        let in_flight = (in_flight as usize).clamp(1, MOST_REQUESTS);
        Self {
            failure,
            settings,
            welcome,
            outflow,
            pulse,
            table: Mutex::new(Table {
                pending: Pending::new(in_flight + MOST_FRAMES),
                pings: Pings::default(),
                refusal: None,
                has_ended: false,
            }),
            requests: Semaphore::new(in_flight),
            messages: Semaphore::new(MOST_FRAMES),
            next: AtomicU64::new(1),
            inbox: Inbox::default(),
            closing: Notify::new(),
            ended: Notify::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.table.lock().refusal.is_none()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.table.lock().pending.len()
    }

    /// Sends a message and waits for what becomes of it: a `Request` is answered, `Data` is handed to the system.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, what is not written yet never will be, and the peer is told that a request is not wanted.
    pub(super) async fn send(
        &self,
        kind: Kind,
        message: Message,
        deadline: Instant,
    ) -> Result<Message, SinkError> {
        self.check(&message)?;
        let slots = match kind {
            Kind::Request => &self.requests,
            _ => &self.messages,
        };
        let Ok(slot) = timeout_at(deadline, slots.acquire()).await else {
            let failure = self.failure.clone().phase(Phase::Accept);
            let failure = failure.because("as many are under way as may be");
            return Err(SinkError::Timeout(failure).returning(message));
        };
        let (tell, told) = oneshot::channel();
        let waiting = Waiting {
            kind,
            message,
            tell,
        };
        let mut ticket = self.enter(waiting)?;
        let frame = ticket.frame(deadline);
        let answer = async {
            if self.outflow.push(ticket.number, frame).await.is_ok() {
                ticket.is_pushed = true;
            }
            told.await
        };
        let answer = timeout_at(deadline, answer).await;
        let result = match answer {
            Ok(Ok(told)) => told,
            // The driver tells everybody before it ends; without it nothing can be known.
            Ok(Err(_)) => Err(SinkError::ConnectionLost(self.failure.clone())),
            Err(_) => Err(ticket.overdue()),
        };
        drop(ticket);
        drop(slot);
        result
    }

    /// Refuses what the peer would not take, or what cannot be said.
    fn check(&self, message: &Message) -> Result<(), SinkError> {
        let limit = self.welcome.limits.frame as usize;
        let admission = Admission {
            max_message_bytes: limit,
            domain: None,
            precision: PrecisionContext::Mixed,
        };
        let refused = |refusal| {
            let failure = self.failure.clone();
            Err(SinkError::refused(refusal, failure).returning(message.clone()))
        };
        if let Err(refusal) = admission.check(message) {
            return refused(refusal);
        }
        let bytes = frame::encoded_length(message) - HEADER + WITHIN_BYTES;
        if bytes > limit {
            return refused(crate::domain::Refusal::TooLarge { bytes, limit });
        }
        Ok(())
    }

    fn enter(&self, waiting: Waiting) -> Result<Ticket<'_>, SinkError> {
        let (kind, message) = (waiting.kind, waiting.message.clone());
        let mut table = self.table.lock();
        if let Some(refusal) = &table.refusal {
            return Err(refusal.clone().returning(message));
        }
        let number = self.next.fetch_add(1, Relaxed);
        if let Err(waiting) = table.pending.open(number, waiting) {
            let failure = self.failure.clone().phase(Phase::Accept);
            return Err(SinkError::BufferFull(failure).returning(waiting.message));
        }
        drop(table);
        Ok(Ticket {
            shared: self,
            number,
            kind,
            message,
            is_pushed: false,
        })
    }

    /// The system has this frame to its last byte, or may have.
    pub(super) fn handed(&self, number: u64) {
        let mut table = self.table.lock();
        let is_done = table
            .pending
            .handed(number)
            .is_some_and(|waiting| waiting.kind == Kind::Data);
        if is_done && let Some(waiting) = table.pending.take(number) {
            self.rest(&table);
            drop(table);
            waiting.say(Ok(Message::default()));
        }
    }

    /// The peer answers a request, or says why it does not.
    pub(super) fn answered(&self, header: &Header, body: Bytes) -> Result<(), ProtocolError> {
        if header.sequence >= self.next.load(Relaxed) {
            return Err(ProtocolError::Sequence(header.sequence));
        }
        let answer = match header.kind {
            Kind::Response => Ok(data::decode_carried(header, body)?),
            _ => Err(hello::decode::<Refusal>(header.kind, &body)?),
        };
        let mut table = self.table.lock();
        // One that comes late, for what is not wanted any more, reaches nobody.
        let Some(waiting) = table.pending.take(header.sequence) else {
            return Ok(());
        };
        self.rest(&table);
        drop(table);
        let answer = answer.map_err(|refusal| self.refused(refusal, &waiting.message));
        waiting.say(answer);
        Ok(())
    }

    fn refused(&self, Refusal { reason, text }: Refusal, message: &Message) -> SinkError {
        let failure = self.failure.clone().because(text);
        match reason {
            Reason::Failed | Reason::Cancelled => SinkError::RequestFailed(failure),
            Reason::DeadlineExceeded => SinkError::Timeout(failure),
            // Nothing was done with it.
            Reason::Overloaded => SinkError::Overloaded(failure).returning(message.clone()),
            Reason::Leaving => SinkError::ConnectionLost(failure).returning(message.clone()),
        }
    }

    /// Forgets what is under way, on both sides; returns whether the peer certainly never sees it.
    pub(super) fn forget(&self, number: u64, kind: Kind, is_pushed: bool) -> bool {
        let mut table = self.table.lock();
        if table.pending.take(number).is_none() {
            return false;
        }
        let never_sent = !is_pushed || self.outflow.withdraw(number);
        if !never_sent && kind == Kind::Request {
            let refusal = Refusal {
                reason: Reason::Cancelled,
                text: String::new(),
            };
            let frame = refusal::failure(number, &refusal, self.outflow.is_checksummed());
            self.outflow.hurry(&frame);
        }
        self.rest(&table);
        drop(table);
        never_sent
    }

    /// Asks the peer for a sign of life and waits for it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the answer is ignored.
    pub(super) async fn ping(&self, within: std::time::Duration) -> Result<(), SinkError> {
        let number = self.next.fetch_add(1, Relaxed);
        let told = {
            let mut table = self.table.lock();
            if let Some(refusal) = &table.refusal {
                return Err(refusal.clone());
            }
            table.pings.ask(number)
        };
        let header = Header {
            sequence: number,
            ..Header::control(Kind::Ping)
        };
        let mut bytes = BytesMut::new();
        frame::encode_control(header, &[], self.outflow.is_checksummed(), &mut bytes);
        self.outflow.hurry(&bytes);
        match timeout(within, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.refusal()),
            Err(_) => {
                let failure = self.failure.clone().phase(Phase::Read);
                let cause = format!("a ping was not answered within {within:?}");
                Err(SinkError::Timeout(failure.because(cause)))
            }
        }
    }

    /// The peer gave a sign of life, for this question and all before it; returns whether anybody asked.
    pub(super) fn ponged(&self, number: u64) -> bool {
        self.table.lock().pings.answered(number)
    }

    fn refusal(&self) -> SinkError {
        let refusal = self.table.lock().refusal.clone();
        refusal.unwrap_or_else(|| SinkError::ConnectionLost(self.failure.clone()))
    }

    /// The peer takes no further requests; the answers to open ones still come.
    pub(super) fn drain(&self, text: String) {
        let failure = self.failure.clone().because(text);
        self.refuse(SinkError::ConnectionLost(failure));
    }

    /// The same, since we leave.
    pub(super) fn leave(&self) {
        let failure = self.failure.clone().because("it was closed");
        self.refuse(SinkError::Closed(failure));
    }

    fn refuse(&self, why: SinkError) {
        let mut table = self.table.lock();
        table.refusal.get_or_insert(why);
        self.rest(&table);
    }

    /// Says goodbye when one side is leaving and the last answer has come.
    fn rest(&self, table: &MutexGuard<'_, Table>) {
        if table.refusal.is_some() && table.pending.len() == 0 {
            self.outflow
                .finish(Some(self.outflow.goodbye(Code::Done, "done")));
        }
    }

    /// Takes nothing any more, and has the driver end.
    pub(super) fn close(&self) {
        let failure = self.failure.clone().because("it was closed");
        self.table
            .lock()
            .refusal
            .get_or_insert(SinkError::Closed(failure));
        self.outflow
            .cut(Some(self.outflow.goodbye(Code::Done, "closed")));
        self.closing.notify_one();
    }

    /// The connection is over: tells everybody. What the system was not given to its last byte comes back.
    pub(super) fn end(&self, cause: SinkError) {
        let mut table = self.table.lock();
        let cause = table.refusal.get_or_insert(cause).clone();
        let all: Vec<_> = table.pending.take_all().collect();
        table.pings.clear();
        drop(table);
        for (waiting, handed) in all {
            let error = if handed {
                cause.clone()
            } else {
                cause.clone().returning(waiting.message.clone())
            };
            waiting.say(Err(error));
        }
        self.outflow.cut(None);
        self.inbox.end();
    }

    /// Nothing is left: no task, no socket.
    pub(super) fn over(&self) {
        self.table.lock().has_ended = true;
        self.ended.notify_waiters();
    }

    /// Waits until the connection is over.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub(super) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.table.lock().has_ended {
                return;
            }
            ended.await;
        }
    }
}

impl Waiting {
    fn say(self, told: Result<Message, SinkError>) {
        // Whoever asked may have gone.
        self.tell.send(told).ok();
    }
}

/// What a request says beside its message.
pub(super) const WITHIN_BYTES: usize = 9;

/// More would be a mistake in the settings.
const MOST_REQUESTS: usize = 1 << 20;
