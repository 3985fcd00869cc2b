//! Durations as they are written on a command line.

use std::time::Duration;

/// Reads `30s`, `500ms`, `2m`, `1h`, `1.5s`, or a plain number of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let is_unit = |c: char| c.is_ascii_alphabetic();
    let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
    let number = number.trim_end();
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value: f64 = match number.parse() {
        Ok(value) if is_plain => value,
        _ => {
            return Err(format!(
                "`{number}` is no number of seconds; write for example `30s` or `500ms`"
            ));
        }
    };
    let seconds = match unit {
        "ms" => value / 1000.0,
        "s" | "" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is no unit of time; there are `ms`, `s`, `m` and `h`"
            ));
        }
    };
    Duration::try_from_secs_f64(seconds).map_err(|_too_long| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn what_people_write_is_read() {
        let cases = [
            ("30s", 30_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("7", 7_000),
            ("1.5s", 1_500),
            ("2 s", 2_000),
            ("0", 0),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        let cases = [
            ("", "no number"),
            ("soon", "no number"),
            ("-1s", "no number"),
            ("inf", "no number"),
            ("NaN", "no number"),
            ("1e3s", "no unit"),
            ("5d", "no unit"),
            ("1.2.3s", "no number"),
            ("99999999999999999999999h", "too long"),
        ];
        for (text, reason) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
