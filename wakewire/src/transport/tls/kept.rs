//! What was made of some files, made again when one of them has changed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::Unusable;

/// What was made of some files, made again when one of them has changed.
pub(super) struct Kept<T> {
    paths: Vec<PathBuf>,
    made: Mutex<Option<Made<T>>>,
}

struct Made<T> {
    from: Vec<Option<Stamp>>,
    value: Arc<T>,
}

/// A file at a moment, without reading it: when it was changed, its length, and which file it is. A clock ticks
/// every few milliseconds only, but who moves a new file into place makes another file.
type Stamp = (SystemTime, u64, u64);

impl<T> Kept<T> {
    /// Makes nothing yet of those files that are configured.
    pub(super) fn of<const N: usize>(paths: [&Option<PathBuf>; N]) -> Self {
        Self {
            paths: paths.into_iter().flatten().cloned().collect(),
            made: Mutex::new(None),
        }
    }

    /// Returns what the files say now. New ones that cannot be used are warned of once, and the old ones stay.
    pub(super) fn get(
        &self,
        make: impl FnOnce() -> Result<T, Unusable>,
    ) -> Result<Arc<T>, Unusable> {
        // Looked at before they are read: what is written in between is a change that the next call sees.
        let from: Vec<_> = self.paths.iter().map(stamp).collect();
        let mut kept = self.made.lock();
        if let Some(made) = &*kept
            && made.from == from
        {
            return Ok(Arc::clone(&made.value));
        }
        let value = match (make(), &*kept) {
            (Ok(value), _) => Arc::new(value),
            (Err(unusable), None) => return Err(unusable),
            (Err(unusable), Some(made)) => {
                tracing::warn!(error = %unusable, hint = unusable.hint, "changed certificates or keys cannot be used, the old ones stay");
                Arc::clone(&made.value)
            }
        };
        *kept = Some(Made {
            from,
            value: Arc::clone(&value),
        });
        Ok(value)
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), number(&metadata)))
}

#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_when_they_change_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let kept = Kept::of([&Some(path.clone()), &None]);
        let read = || {
            let text =
                fs::read_to_string(&path).map_err(|error| Unusable::new(error.to_string(), ""))?;
            text.parse::<u32>()
                .map_err(|error| Unusable::new(error.to_string(), ""))
        };
        assert!(kept.get(read).is_err(), "there is no file yet");
        fs::write(&path, "1").unwrap();
        assert_eq!(*kept.get(read).unwrap(), 1);
        let unread = || -> Result<u32, Unusable> { panic!("it has not changed") };
        assert_eq!(*kept.get(unread).unwrap(), 1);
        fs::write(&path, "22").unwrap();
        assert_eq!(*kept.get(read).unwrap(), 22);
        fs::write(&path, "none").unwrap();
        assert_eq!(*kept.get(read).unwrap(), 22, "the old one stays");
        assert_eq!(*kept.get(unread).unwrap(), 22, "looked at once");
        fs::remove_file(&path).unwrap();
        assert_eq!(*kept.get(read).unwrap(), 22);
        fs::write(&path, "333").unwrap();
        assert_eq!(*kept.get(read).unwrap(), 333);
    }
}
