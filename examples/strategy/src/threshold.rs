//! A threshold in per cent, exactly in millionths. No I/O, no clock.

/// Reads a decimal number of per cent: `0.3` are 3000 millionths.
///
/// # Errors
///
/// Says what it takes instead: a number of per cent with at most four decimals, up to 4294.9672.
pub(crate) fn millionths(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = || {
        if !digits(whole) || !digits(part) || part.len() > 4 {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let part: u32 = format!("{part:0<4}").parse().ok()?;
        whole.checked_mul(10_000)?.checked_add(part)
    };
    read().ok_or_else(|| {
        "a number of per cent with at most four decimals, such as `0.3`, up to 4294.9672".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_are_read_exactly_or_refused() {
        for (text, number) in [
            ("0.3", 3000),
            ("0.3%", 3000),
            ("1", 10_000),
            ("0.0001", 1),
            ("0", 0),
            ("4294.9672", 42_949_672),
            ("100 %", 1_000_000),
        ] {
            assert_eq!(millionths(text), Ok(number), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "0.00001",
            "1e3",
            "999999999999",
            "1,5",
        ] {
            assert!(millionths(text).is_err(), "{text}");
        }
    }
}
