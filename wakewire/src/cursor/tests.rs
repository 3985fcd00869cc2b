//! The file: ours alone, whole after any death, and never somebody else's.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::wire::SessionId;

const A: u128 = 1;
const B: u128 = 2;

fn position(session: u128, sequence: u64) -> Position {
    Position::new(SessionId(session), sequence)
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cursor");
    (directory, path)
}

fn said(cursor: &Cursor) -> Vec<(u128, u64)> {
    let mut said: Vec<_> = cursor
        .positions()
        .iter()
        .map(|p| (p.session(), p.sequence()))
        .collect();
    said.sort_unstable();
    said
}

fn mark(text: &str) -> Option<Mark> {
    Mark::new(text.as_bytes())
}

#[test]
fn what_was_written_is_there_in_the_next_life() {
    let (_directory, path) = place();
    let cursor = Cursor::open(&path).unwrap();
    cursor.advance(position(A, 3), None).unwrap();
    cursor.advance(position(B, 5), mark("half")).unwrap();
    cursor.advance(position(A, 4), mark("whole")).unwrap();
    cursor.advance(position(A, 2), None).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        4 * 64,
        "what is old is not written"
    );
    drop(cursor);
    let cursor = Cursor::open(&path).unwrap();
    assert_eq!(said(&cursor), [(1, 4), (2, 5)]);
    assert_eq!(cursor.mark().unwrap(), b"whole");
    assert_eq!(cursor.path(), path);
    cursor.set_mark(mark("").unwrap()).unwrap();
    drop(cursor);
    assert_eq!(Cursor::open(&path).unwrap().mark().unwrap(), b"");
}

#[test]
fn it_is_written_anew_before_it_grows_too_long() {
    let (directory, path) = place();
    let cursor = Cursor::open(&path).unwrap();
    for sequence in 1..=40_000 {
        cursor.advance(position(A, sequence), None).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < 2 * 1024 * 1024);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(cursor);
    assert_eq!(said(&Cursor::open(&path).unwrap()), [(1, 40_000)]);
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["cursor", "cursor.lock"]);
}

#[test]
fn only_one_at_a_time_has_it() {
    let (_directory, path) = place();
    let first = Cursor::open(&path).unwrap();
    let error = Cursor::open(&path).unwrap_err();
    assert!(matches!(error, SinkError::Io(_)), "{error}");
    assert!(
        error.to_string().contains("this process uses it"),
        "{error}"
    );
    drop(first);
    Cursor::open(&path).unwrap();
}

#[test]
fn a_torn_end_is_cut_off_and_written_over() {
    let (_directory, path) = place();
    let cursor = Cursor::open(&path).unwrap();
    cursor.advance(position(A, 3), None).unwrap();
    cursor.advance(position(A, 4), None).unwrap();
    drop(cursor);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let cursor = Cursor::open(&path).unwrap();
    assert_eq!(said(&cursor), [(1, 3)]);
    cursor.advance(position(A, 4), None).unwrap();
    drop(cursor);
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Of a header as well: nothing had been written.
    for length in [0, 10] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(said(&Cursor::open(&path).unwrap()), []);
        assert_eq!(fs::read(&path).unwrap(), whole[..64]);
    }
}

#[test]
fn what_is_damaged_or_foreign_is_refused_with_its_place_and_left_as_it_is() {
    let (_directory, path) = place();
    let cursor = Cursor::open(&path).unwrap();
    cursor.advance(position(A, 3), None).unwrap();
    cursor.advance(position(B, 4), None).unwrap();
    drop(cursor);
    let mut damaged = fs::read(&path).unwrap();
    damaged[64 + 20] ^= 1;
    let mut newer = fs::read(&path).unwrap();
    newer[19] = 2;
    for (bytes, said) in [
        (damaged, "byte 64: a record is damaged"),
        (newer, "byte 0: it was written by another version"),
        (
            b"price,amount\n3412.07,1\n".to_vec(),
            "byte 0: it is not a cursor",
        ),
        (vec![0; 11 * 1024 * 1024], "byte 0: it is longer than any"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = Cursor::open(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("cursor"), "{error}");
        assert!(fs::read(&path).unwrap() == bytes, "left as it is");
    }
}

#[test]
fn no_link_is_followed_and_no_file_taken_that_others_may_write() {
    let (directory, path) = place();
    let elsewhere = directory.path().join("elsewhere");
    symlink(&elsewhere, &path).unwrap();
    Cursor::open(&path).unwrap_err();
    assert!(!elsewhere.exists());
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, directory.path().join("cursor.new")).unwrap();
    drop(Cursor::open(&path).unwrap());
    assert!(!elsewhere.exists(), "the link was removed, not followed");
    fs::set_permissions(&path, Permissions::from_mode(0o622)).unwrap();
    let error = Cursor::open(&path).unwrap_err();
    assert!(error.to_string().contains("may write to it"), "{error}");
    fs::remove_file(directory.path().join("cursor.lock")).unwrap();
    symlink(&elsewhere, directory.path().join("cursor.lock")).unwrap();
    Cursor::open(&path).unwrap_err();
    assert!(!elsewhere.exists());
    Cursor::open(directory.path()).unwrap_err();
}

#[test]
fn a_write_that_fails_leaves_a_cursor_that_goes_on() {
    let (_directory, path) = place();
    let cursor = Cursor::open(&path).unwrap();
    cursor.advance(position(A, 1), None).unwrap();
    // A descriptor that cannot be written to stands for a full disk.
    let good = std::mem::replace(&mut cursor.state.lock().file, File::open(&path).unwrap());
    cursor.advance(position(A, 2), None).unwrap_err();
    assert_eq!(said(&cursor), [(1, 1)], "what is not written is not known");
    cursor.state.lock().file = good;
    // And half of a record lies there.
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(&[7; 30])
        .unwrap();
    cursor.advance(position(A, 2), None).unwrap();
    drop(cursor);
    assert_eq!(said(&Cursor::open(&path).unwrap()), [(1, 2)]);
}
