//! What a command ends with, printed in one place.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use wakewire::SinkError;

use crate::diagnostic;
use crate::talk;

/// What a command says at its end, and how it ends.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// The answer, for other programs too.
    pub(crate) stdout: String,
    /// The talk.
    pub(crate) stderr: String,
    /// [`DONE`], [`LOST`] or [`REFUSED`].
    pub(crate) code: u8,
}

/// All that was asked for was done.
pub(crate) const DONE: u8 = 0;
/// Something was not delivered, or is lost.
pub(crate) const LOST: u8 = 1;
/// It was not called rightly, or its configuration is not sound, or not there.
pub(crate) const REFUSED: u8 = 2;

impl Said {
    /// Says why it cannot be done.
    pub(crate) fn fault(message: impl Display, hint: Option<&str>, code: u8) -> Self {
        Self {
            stderr: diagnostic::titled(&message.to_string(), hint, talk::is_colourful()),
            code,
            ..Self::default()
        }
    }

    /// Says what a sink or source answered.
    pub(crate) fn error(error: &SinkError) -> Self {
        let code = match error {
            SinkError::InvalidConfig(_) | SinkError::UnknownService(_) => REFUSED,
            _ => LOST,
        };
        Self::fault(without_hint(error), error.failure().advice(), code)
    }

    /// Adds a line to the talk.
    #[must_use]
    pub(crate) fn also(mut self, line: impl Display) -> Self {
        self.stderr += &format!("{line}\n");
        self
    }

    /// Adds the answer.
    #[must_use]
    pub(crate) fn answering(mut self, value: &serde_json::Value) -> Self {
        self.stdout = format!("{value}\n");
        self
    }

    /// Prints it and returns what the process ends with.
    pub(crate) fn print(self) -> ExitCode {
        let printed = if self.stdout.is_empty() {
            // Not even looked at: it may be stuck.
            Ok(())
        } else {
            io::stdout().write_all(self.stdout.as_bytes())
        };
        let printed = printed.and_then(|()| io::stderr().write_all(self.stderr.as_bytes()));
        match printed {
            // Nobody reads on: that is theirs to decide, and no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::from(self.code),
        }
    }
}

/// Returns the text of an error without its hint, which is drawn below it.
fn without_hint(error: &SinkError) -> String {
    let text = error.to_string();
    let hint = error.failure().advice();
    match hint.and_then(|hint| text.strip_suffix(&format!("; hint: {hint}"))) {
        Some(text) => text.to_owned(),
        None => text,
    }
}
