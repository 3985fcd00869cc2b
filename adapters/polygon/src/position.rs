//! What was passed on, in a file: the next life of the process goes on there.
//!
//! The file is a recording of what the service has accepted, a line each, after a line that says where it begins. A log
//! is written when it is accepted, without anything in between that could be interrupted: a process that is told to end
//! repeats nothing. One that is killed just then repeats that one log; with a `spool` of the service it loses none. Nothing
//! is forced to the disk, so after a loss of power some may come again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::node::Log;
use crate::progress::Progress;

/// The file. One process at a time has it.
#[derive(Debug)]
pub struct Position {
    path: PathBuf,
    /// None before the first line, and after a failure: then it is written anew.
    file: Option<File>,
    lines: usize,
    /// What was accepted, which is less than what was heard.
    accepted: Progress,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    from: u64,
}

impl Position {
    /// Begins a new file with the first log.
    pub const fn beginning(path: PathBuf, progress: Progress) -> Self {
        Self {
            path,
            file: None,
            lines: 0,
            accepted: progress,
        }
    }

    /// Reads the file, if there is one; `progress` makes one of the first block, which is then brought to where the
    /// file says.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is none of this kind.
    pub fn read(path: &Path, progress: impl FnOnce(u64) -> Progress) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // What is behind the last newline was cut off when the process died: it counts as not passed on.
        let mut lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let Some(first) = lines.next() else {
            return Ok(None);
        };
        let mut accepted = progress(serde_json::from_str::<Beginning>(first)?.from);
        for line in lines {
            accepted.notified(serde_json::from_str(line)?);
        }
        Ok(Some(Self::beginning(path.to_owned(), accepted)))
    }

    /// Returns how far the service has come.
    pub const fn accepted(&self) -> &Progress {
        &self.accepted
    }

    /// Notes that a log was accepted; a disk that refuses is told of, and tried again with the next one.
    pub fn note(&mut self, log: &Log) {
        self.accepted.notified(log.clone());
        if let Err(error) = self.write(log) {
            self.file = None;
            let path = self.path.display();
            warn!(%error, %path, "what was passed on cannot be noted: it would be sent again after a restart");
        }
    }

    fn write(&mut self, log: &Log) -> io::Result<()> {
        match &mut self.file {
            Some(file) if self.lines < self.accepted.remembered().len() * 2 + FEW => {
                self.lines += 1;
                file.write_all(line(log)?.as_bytes())
            }
            _ => self.rewrite(),
        }
    }

    /// Writes what is remembered to a new file, which takes the place of the old one when it is whole.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut next = self.path.clone().into_os_string();
        next.push(".next");
        let mut file = io::BufWriter::new(File::create(&next)?);
        let from = self.accepted.from();
        file.write_all(line(&Beginning { from })?.as_bytes())?;
        for log in self.accepted.remembered() {
            file.write_all(line(log)?.as_bytes())?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&next, &self.path)?;
        self.lines = self.accepted.remembered().len() + 1;
        self.file = Some(file);
        Ok(())
    }
}

fn line(of: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(of)? + "\n")
}

/// So many lines more than need be are borne before the file is written anew.
const FEW: usize = 1000;

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, Bytes};

    use super::*;

    fn log(block: u64, version: u8) -> Log {
        Log {
            address: Address::ZERO,
            topics: Vec::new(),
            data: Bytes::new(),
            block_number: block,
            block_hash: B256::repeat_byte(version),
            transaction_hash: B256::ZERO,
            log_index: 0,
            removed: false,
        }
    }

    fn progress(first: u64) -> Progress {
        Progress::starting_at(first, 8, 1000)
    }

    fn blocks(position: &Position) -> Vec<u64> {
        let logs = position.accepted().remembered();
        logs.map(|log| log.block_number).collect()
    }

    #[test]
    fn the_next_life_knows_what_was_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("position");
        assert!(Position::read(&path, progress).unwrap().is_none());
        let mut position = Position::beginning(path.clone(), progress(3));
        position.note(&log(3, 1));
        position.note(&log(4, 2));
        let taken_back = Log {
            removed: true,
            ..log(4, 2)
        };
        position.note(&taken_back);
        position.note(&log(5, 3));
        let mut position = Position::read(&path, progress).unwrap().unwrap();
        assert_eq!(
            (blocks(&position), position.accepted().from()),
            (vec![3, 5], 3)
        );
        // It goes on, and a line that was cut off does not count.
        position.note(&log(6, 4));
        position.note(&log(7, 5));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.trim_end()).unwrap();
        let position = Position::read(&path, progress).unwrap().unwrap();
        assert_eq!(blocks(&position), [3, 5, 6]);
        // Damage before the end is no such thing.
        fs::write(&path, text.replacen("blockHash", "blockhash", 1)).unwrap();
        assert!(Position::read(&path, progress).is_err());
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("position");
        let mut position = Position::beginning(path.clone(), progress(0));
        for block in 0..10_000 {
            position.note(&log(block, 1));
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 1100, "{lines}");
        let position = Position::read(&path, progress).unwrap().unwrap();
        assert_eq!(blocks(&position), (9991..10_000).collect::<Vec<_>>());
    }
}
