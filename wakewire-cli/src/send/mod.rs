//! `wakewire send`: each line of the input is a message.

mod lines;
pub(crate) mod outlook;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use wakewire::{
    Message, MessageSink, Scheme, ServiceRegistry, SinkError, SinkFactory, TrySendError,
};

use self::lines::{Block, Lines};
use self::outlook::{Display, Outlook, Patience, Shown, rate};
use crate::configuration::Configuration;
use crate::interrupt::Interrupt;
use crate::said::{DONE, LOST, REFUSED, Said};
use crate::talk::{self, grouped};

/// What `wakewire send` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The service.
    name: String,
    #[command(flatten)]
    configuration: Configuration,
    /// Where the lines are; else stdin.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How long to wait for a receiver that does not get on.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::duration::parse)]
    deadline: Duration,
    /// Print what became of the messages as JSON.
    #[arg(long)]
    json: bool,
    /// Print progress as a JSON object a line.
    #[arg(long, hide = true)]
    progress_json: bool,
}

/// Why sending ended before its end.
enum Stop {
    /// ctrl-c, SIGTERM.
    Interrupted,
    /// Nothing was delivered for as long as one waits.
    NoProgress,
    /// The sink does not take this line.
    Refused(Box<SinkError>),
    /// The line is longer than any service takes.
    Overlong(usize),
    /// The input cannot be read.
    Input(std::io::Error),
}

/// Sends, waits until all is delivered, and says what became of it.
pub(crate) async fn run(arguments: Arguments) -> Said {
    match prepared(arguments).await {
        Ok((sender, blocks)) => sender.run(blocks).await,
        Err(said) => said,
    }
}

/// Makes everything ready; opens the input, but no connection.
async fn prepared(arguments: Arguments) -> Result<(Sender, Receiver<Block>), Said> {
    let registry = arguments.configuration.load()?;
    let longest = longest(&registry);
    let unconfirmed = unconfirmed(&registry);
    let factory = SinkFactory::from_registry(registry);
    let sink = factory
        .create_sink(&arguments.name)
        .await
        .map_err(|error| Said::error(&error))?;
    let unreadable = |error| {
        let name = arguments
            .input
            .as_deref()
            .unwrap_or_else(|| "stdin".as_ref());
        let shown = name.display();
        Said::fault(format!("cannot read `{shown}`: {error}"), None, REFUSED)
    };
    let input = lines::open(arguments.input.as_deref()).map_err(unreadable)?;
    let interrupt = Interrupt::new()?;
    let blocks = lines::read(input, longest).map_err(unreadable)?;
    let shown = match (arguments.progress_json, talk::is_seen()) {
        (true, _) => Shown::Json,
        (false, true) => Shown::Line,
        (false, false) => Shown::Nothing,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sender = Sender {
        service: arguments.name,
        factory,
        sink,
        deadline: arguments.deadline,
        json: arguments.json,
        longest,
        unconfirmed,
        display: Display::new(shown, now()),
        interrupt,
        ticks,
        line: 0,
    };
    Ok((sender, blocks))
}

struct Sender {
    service: String,
    factory: SinkFactory,
    sink: Arc<dyn MessageSink>,
    deadline: Duration,
    json: bool,
    longest: usize,
    /// The services where what was sent stays in doubt however well all goes.
    unconfirmed: BTreeSet<String>,
    display: Display,
    interrupt: Interrupt,
    ticks: Interval,
    /// The line at hand, from 1.
    line: u64,
}

impl Sender {
    async fn run(mut self, blocks: Receiver<Block>) -> Said {
        let mut end = self.send_all(blocks).await;
        if !matches!(end, Err(Stop::Interrupted | Stop::NoProgress)) {
            // What came before a line that cannot be sent is delivered all the same.
            end = end.and(self.deliver().await);
        }
        let before = Outlook::of(&self.sink).await;
        self.factory.close(CLOSE_WITHIN.min(self.deadline)).await;
        let mut outlook = Outlook::of(&self.sink).await;
        // Of a sink that is closed the last connection says more.
        outlook.state = before.state;
        let now = now();
        if self.display.is_json() {
            self.display.show(&self.service, &outlook, now);
        }
        talk::erase();
        self.said(end, &outlook, now)
    }

    /// Sends every line.
    async fn send_all(&mut self, mut blocks: Receiver<Block>) -> Result<(), Stop> {
        loop {
            let block = tokio::select! {
                block = blocks.recv() => block,
                _ = self.ticks.tick() => {
                    self.look().await;
                    continue;
                }
                () = self.interrupt.came() => return Err(Stop::Interrupted),
            };
            let lines = match block {
                Some(Block::Lines(lines)) => lines,
                Some(Block::Overlong) => {
                    self.line += 1;
                    return Err(Stop::Overlong(self.longest));
                }
                Some(Block::Failed(error)) => return Err(Stop::Input(error)),
                None => return Ok(()),
            };
            for line in Lines::of(lines) {
                self.line += 1;
                let message = match self.sink.try_send(Message::new(line)) {
                    Ok(()) => continue,
                    Err(TrySendError::WouldWait(message)) => message,
                    Err(TrySendError::Refused(error)) => returned(error)?,
                    Err(_) => continue,
                };
                let sink = Arc::clone(&self.sink);
                self.insist(&sink, message).await?;
            }
        }
    }

    /// Sends a message for which there is no room, for as long as the sink gets on.
    async fn insist(&mut self, sink: &Arc<dyn MessageSink>, message: Message) -> Result<(), Stop> {
        let mut patience = self.patience().await;
        loop {
            let mut sending = sink.send(message.clone());
            let error = loop {
                tokio::select! {
                    sent = &mut sending => match sent {
                        Ok(()) => return Ok(()),
                        Err(error) => break error,
                    },
                    _ = self.ticks.tick() => self.go_on(&mut patience).await?,
                    () = self.interrupt.came() => return Err(Stop::Interrupted),
                }
            };
            if let SinkError::Partial(partial) = &error {
                // Those that took it must not get it twice; the others are insisted upon one by one.
                for (target, error) in partial.failed() {
                    returned(error.clone().returning(message.clone()))?;
                    let target = self.factory.create_sink(target).await;
                    let target = target.map_err(|error| Stop::Refused(Box::new(error)))?;
                    Box::pin(self.insist(&target, message.clone())).await?;
                }
                return Ok(());
            }
            returned(error)?;
            self.go_on(&mut patience).await?;
            sleep(RETRY).await;
        }
    }

    /// Waits until everything is delivered, for as long as the sink gets on.
    async fn deliver(&mut self) -> Result<(), Stop> {
        let mut patience = self.patience().await;
        loop {
            let within = TICK.min(self.deadline);
            let report = tokio::select! {
                report = self.sink.flush(within) => report,
                () = self.interrupt.came() => return Err(Stop::Interrupted),
            };
            let report = report.map_err(|error| Stop::Refused(Box::new(error)))?;
            if report.waiting == 0 {
                return Ok(());
            }
            self.go_on(&mut patience).await?;
        }
    }

    async fn patience(&self) -> Patience {
        let settled = Outlook::of(&self.sink).await.settled();
        Patience::new(self.deadline, settled, now())
    }

    /// Returns whether to wait on.
    async fn go_on(&mut self, patience: &mut Patience) -> Result<(), Stop> {
        let settled = self.look().await.settled();
        if patience.lasts(settled, now()) {
            Ok(())
        } else {
            Err(Stop::NoProgress)
        }
    }

    async fn look(&mut self) -> Outlook {
        let outlook = Outlook::of(&self.sink).await;
        self.display.show(&self.service, &outlook, now());
        outlook
    }

    /// Says what became of everything.
    fn said(&self, end: Result<(), Stop>, outlook: &Outlook, now: Instant) -> Said {
        let done = outlook.ledger.delivered + self.written_only(outlook);
        let missing = outlook.ledger.accepted - done;
        let (service, line) = (&self.service, self.line);
        let mut said = match end {
            Ok(()) | Err(Stop::Interrupted) if missing == 0 => Said::default(),
            Ok(()) => Said::fault(
                format!("service `{service}`: {missing} messages are not known to be delivered"),
                None,
                LOST,
            ),
            Err(Stop::Interrupted) => Said::fault(
                format!("interrupted with {missing} messages undelivered"),
                Some(&outlook.hint(service)),
                LOST,
            ),
            Err(Stop::NoProgress) => self.gave_up(missing, outlook),
            Err(Stop::Refused(error)) => {
                let text = Said::error(&error);
                Said::fault(
                    format!("line {line} was not sent, nor those behind it"),
                    None,
                    LOST,
                )
                .also(text.stderr.trim_end())
            }
            Err(Stop::Overlong(longest)) => Said::fault(
                format!(
                    "line {line} is longer than {longest} bytes; it was not sent, nor those behind it"
                ),
                Some("send shorter lines, or raise `max_message_bytes` on both sides"),
                LOST,
            ),
            Err(Stop::Input(error)) => Said::fault(
                format!("cannot read on behind line {line}: {error}"),
                None,
                LOST,
            ),
        };
        debug_assert!(said.code == LOST || said.code == DONE);
        for part in &outlook.parts {
            if let Some(kept_in) = part.kept_in.as_ref().filter(|_| part.ledger.waiting > 0) {
                said = said.also(format!(
                    "{} messages are kept in {}; the next `wakewire send {}` delivers them",
                    grouped(part.ledger.waiting),
                    kept_in.display(),
                    part.name,
                ));
            }
        }
        let seconds = self.display.seconds(now);
        if self.json {
            let mut value = outlook.json(service, seconds);
            if let Some(object) = value.as_object_mut() {
                object.remove("state");
            }
            said = said.answering(&value);
        } else {
            let plural = if outlook.connects == 1 { "" } else { "s" };
            said = said.also(format!(
                "`{service}`: {}; {} connection{plural}, {seconds:.2} s, {} messages/s",
                outlook.ledger,
                outlook.connects,
                grouped(rate(done, Duration::from_secs_f64(seconds))),
            ));
        }
        said
    }

    /// Returns how many messages were written where nobody can confirm more than that.
    fn written_only(&self, outlook: &Outlook) -> u64 {
        let parts = outlook.parts.iter();
        parts
            .filter(|part| self.unconfirmed.contains(&part.name))
            .map(|part| part.ledger.in_doubt)
            .sum()
    }

    fn gave_up(&self, missing: u64, outlook: &Outlook) -> Said {
        let place = match &outlook.endpoint {
            Some(endpoint) => format!(" at {endpoint}"),
            None => String::new(),
        };
        let mut message = format!(
            "service `{}`{place}: {} messages are not delivered, and none was for {:?}",
            self.service,
            grouped(missing),
            self.deadline,
        );
        if let Some(error) = &outlook.last_error
            && outlook.state != wakewire::ConnectionState::Connected
        {
            // Place and advice are said already.
            let prefix = format!("service `{}`{place}: ", self.service);
            let error = error.strip_prefix(&prefix).unwrap_or(error);
            let error = error.split("; hint: ").next().unwrap_or(error);
            message += &format!("; the last error: {error}");
        }
        Said::fault(message, Some(&outlook.hint(&self.service)), LOST)
    }
}

/// Returns the message of an error that waiting may cure.
fn returned(mut error: SinkError) -> Result<Message, Stop> {
    if matches!(error, SinkError::BufferFull(_))
        && let Some(message) = error.take_message()
    {
        return Ok(message);
    }
    Err(Stop::Refused(Box::new(error)))
}

/// Returns the longest line that any of these services takes.
fn longest(registry: &ServiceRegistry) -> usize {
    let services = registry.config().services.values();
    let limits = services.map(|service| service.max_message_bytes);
    limits.max().unwrap_or_default()
}

/// Returns the services over UDP: what arrives there does not say what was lost before it.
fn unconfirmed(registry: &ServiceRegistry) -> BTreeSet<String> {
    let services = registry.config().services.iter();
    services
        .filter(|(_, service)| {
            let endpoint = service.endpoint.as_ref();
            endpoint.is_some_and(|endpoint| endpoint.scheme() == Scheme::Udp)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// The one place of this command that reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a command shows how long it takes"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How often is looked at the sink, and progress shown.
const TICK: Duration = Duration::from_millis(100);

/// How long a message rests that came back for lack of room: 10,000 of them, the default buffer, are gone in
/// less.
const RETRY: Duration = Duration::from_millis(5);

/// What closing takes at most when not all is delivered.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
