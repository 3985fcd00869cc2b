//! What stands behind a key, read by the shape that the key allows. No I/O, no clock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::shown;
use super::findings::{Findings, Said};
use super::key_path::KeyPath;
use super::keys::Shape;
use super::{limits, nearest};
use crate::wire::text;

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Names(Vec<(String, Range<usize>)>),
    Whole(u64),
    Decimal(f64),
    Flag(bool),
    Strings(BTreeMap<String, String>),
    Uids(Vec<u32>),
}

/// Reads one value. `Ok(None)` when it is unreadable and that has been said, `Err` with what is to be said.
pub(super) fn read(
    shape: &Shape,
    value: &Spanned<DeValue<'_>>,
    path: KeyPath<'_>,
    findings: &mut Findings,
) -> Result<Option<Value>, Said> {
    let found = value.get_ref();
    let read = match shape {
        Shape::Word(words) => word(words, text(shape, found)?)?,
        Shape::Endpoint => Value::Text(text(shape, found)?.to_owned()),
        Shape::Names => return names(shape, found, path, findings),
        Shape::Whole { least, most } => Value::Whole(whole(shape, *least, *most, found)?),
        Shape::Decimal { least, most, zero } => {
            let number = number(shape, found)?;
            // NaN is in no range.
            let within = (*least..=*most).contains(&number) || (*zero && number == 0.0);
            if !within {
                return Err(out_of_range(shape, found));
            }
            Value::Decimal(number)
        }
        Shape::Flag => Value::Flag(found.as_bool().ok_or_else(|| wrong_type(shape, found))?),
        Shape::Strings => return strings(shape, found, path, findings),
        Shape::Path => Value::Text(absolute(text(shape, found)?)?),
        Shape::Variable => Value::Text(variable(text(shape, found)?)?),
        Shape::Name => Value::Text(name(text(shape, found)?)?),
        Shape::Uids => return uids(shape, found, path, findings),
    };
    Ok(Some(read))
}

/// Says what kind of value this is, never the value itself.
pub(super) fn what(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn text<'v>(shape: &Shape, found: &'v DeValue<'_>) -> Result<&'v str, Said> {
    found.as_str().ok_or_else(|| wrong_type(shape, found))
}

fn word(words: &'static [&'static str], text: &str) -> Result<Value, Said> {
    if words.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    let message = format!(
        "`{}` is none of {}",
        shown(text),
        Shape::Word(words).expected()
    );
    let hint =
        nearest::nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
    Err((message, hint))
}

/// Absolute, so that it means the same wherever the program is started, like the path of a socket.
fn absolute(text: &str) -> Result<String, Said> {
    let hint = || Some("write the whole path, such as `/etc/wakewire/ca.pem`".to_owned());
    if text.len() > limits::TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(("this is no path".to_owned(), hint()));
    }
    if !Path::new(text).is_absolute() {
        return Err(("the path is not absolute".to_owned(), hint()));
    }
    Ok(text.to_owned())
}

/// What is no name of a variable may be the password itself, and is not echoed.
fn variable(text: &str) -> Result<String, Said> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_digit());
    if text.is_empty() || starts || text.len() > limits::TEXT_BYTES || !text.chars().all(plain) {
        return Err((
            "this is not the name of an environment variable".to_owned(),
            Some("write letters, digits and `_`, such as `FEED_PASSWORD`".to_owned()),
        ));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, Said> {
    match text::bad_name(text) {
        Some(why) => Err((why.to_owned(), Some("write another name".to_owned()))),
        None => Ok(text.to_owned()),
    }
}

fn uids(
    shape: &Shape,
    found: &DeValue<'_>,
    path: KeyPath<'_>,
    findings: &mut Findings,
) -> Result<Option<Value>, Said> {
    let array = found.as_array().ok_or_else(|| wrong_type(shape, found))?;
    let number = Shape::Whole {
        least: 0,
        most: LAST_UID,
    };
    let mut uids = Vec::new();
    let mut sound = true;
    for entry in array.iter() {
        match whole(&number, 0, LAST_UID, entry.get_ref()) {
            // Every number up to that one fits.
            Ok(uid) => uids.extend(u32::try_from(uid)),
            Err(said) => {
                sound = false;
                findings.wrong(entry.span(), path, || said);
            }
        }
    }
    Ok(sound.then_some(Value::Uids(uids)))
}

fn names(
    shape: &Shape,
    found: &DeValue<'_>,
    path: KeyPath<'_>,
    findings: &mut Findings,
) -> Result<Option<Value>, Said> {
    let array = found.as_array().ok_or_else(|| wrong_type(shape, found))?;
    let mut names = Vec::new();
    let mut sound = true;
    for entry in array.iter() {
        match entry.get_ref().as_str() {
            Some(name) => names.push((name.to_owned(), entry.span())),
            None => {
                sound = false;
                findings.wrong(entry.span(), path, || {
                    let message = format!("expected a name, found {}", what(entry.get_ref()));
                    (message, Some("write each name in quotes".to_owned()))
                });
            }
        }
    }
    Ok(sound.then_some(Value::Names(names)))
}

fn strings(
    shape: &Shape,
    found: &DeValue<'_>,
    path: KeyPath<'_>,
    findings: &mut Findings,
) -> Result<Option<Value>, Said> {
    let table = found.as_table().ok_or_else(|| wrong_type(shape, found))?;
    let mut strings = BTreeMap::new();
    let mut sound = true;
    for (key, value) in table {
        let Some(text) = value.get_ref().as_str() else {
            sound = false;
            findings.wrong(value.span(), path, || {
                let message = format!(
                    "expected a string for `{}`, found {}",
                    shown(key.get_ref()),
                    what(value.get_ref())
                );
                (message, Some("write the value in quotes".to_owned()))
            });
            continue;
        };
        strings.insert(key.get_ref().to_string(), text.to_owned());
    }
    Ok(sound.then_some(Value::Strings(strings)))
}

fn whole(shape: &Shape, least: u64, most: u64, found: &DeValue<'_>) -> Result<u64, Said> {
    let integer = found.as_integer().ok_or_else(|| wrong_type(shape, found))?;
    // What does not even fit 128 bits is out of range like the rest.
    i128::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| out_of_range(shape, found))
}

fn number(shape: &Shape, found: &DeValue<'_>) -> Result<f64, Said> {
    let number = match found {
        // Through i32: whatever is larger is out of every range anyway.
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| i32::try_from(number).ok())
            .map(f64::from),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => return Err(wrong_type(shape, found)),
    };
    number.ok_or_else(|| out_of_range(shape, found))
}

fn wrong_type(shape: &Shape, found: &DeValue<'_>) -> Said {
    let message = format!("expected {}, found {}", shape.expected(), what(found));
    let hint = match (shape, found) {
        (Shape::Names, DeValue::String(_)) => Some("write it in brackets, `[\"NAME\"]`"),
        (Shape::Uids, DeValue::Integer(_)) => Some("write it in brackets, `[1000]`"),
        (Shape::Whole { .. }, DeValue::Float(_)) => Some("write it without a fraction"),
        (Shape::Whole { .. } | Shape::Decimal { .. } | Shape::Flag, DeValue::String(_)) => {
            Some("write it without quotes")
        }
        _ => None,
    };
    (message, hint.map(ToOwned::to_owned))
}

fn out_of_range(shape: &Shape, found: &DeValue<'_>) -> Said {
    let number = match found {
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        _ => String::new(),
    };
    let message = format!("{} is out of range", shown(&number));
    (message, Some(format!("write {}", shape.expected())))
}

/// The last number of a user; the one after it means none.
const LAST_UID: u64 = u32::MAX as u64 - 1;
