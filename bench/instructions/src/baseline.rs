//! The counts that are compared with, in a file that is committed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::callgrind;

/// What was counted, and with what.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Baseline {
    pub(crate) toolchain: Toolchain,
    pub(crate) counts: Vec<Count>,
}

/// What counts depend on beside the code.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Toolchain {
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
    pub(crate) architecture: String,
}

/// Instructions a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Count {
    pub(crate) path: String,
    pub(crate) size: usize,
    pub(crate) instructions: f64,
}

impl Toolchain {
    /// Returns those of this machine.
    pub(crate) fn here() -> Result<Self> {
        let rustc = Command::new("rustc").arg("--version").output();
        let rustc = rustc.context("cannot run rustc")?;
        Ok(Self {
            rustc: String::from_utf8(rustc.stdout)?.trim().to_owned(),
            valgrind: callgrind::version()?,
            architecture: std::env::consts::ARCH.to_owned(),
        })
    }
}

impl Count {
    pub(crate) fn new(path: &str, size: usize, instructions: f64) -> Self {
        Self {
            path: path.to_owned(),
            size,
            // What is behind this is a matter of when a timer rang.
            instructions: (instructions * 10.0).round() / 10.0,
        }
    }
}

impl Baseline {
    /// Reads the file; none if there is none.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>> {
        match fs::read(file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the old one with what was counted now in its place.
    pub(crate) fn merged(old: Option<Self>, toolchain: Toolchain, now: Vec<Count>) -> Self {
        let mut counts = old.map_or_else(Vec::new, |old| old.counts);
        for count in now {
            match counts.iter_mut().find(|old| old.is_of(&count)) {
                Some(old) => *old = count,
                None => counts.push(count),
            }
        }
        Self { toolchain, counts }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Returns what this path took at that time.
    pub(crate) fn of(&self, count: &Count) -> Option<f64> {
        let old = self.counts.iter().find(|old| old.is_of(count));
        old.map(|old| old.instructions)
    }
}

impl Count {
    fn is_of(&self, other: &Self) -> bool {
        self.path == other.path && self.size == other.size
    }
}
