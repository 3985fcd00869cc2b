//! Which of the names that exist was probably meant. No I/O, no clock.

/// Returns the names sorted by how near they are to `name`, at most `most` of them.
pub(super) fn ranked<'n>(
    name: &str,
    names: impl IntoIterator<Item = &'n str>,
    most: usize,
) -> Vec<&'n str> {
    let mut ranked: Vec<_> = names
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .collect();
    ranked.sort();
    ranked.truncate(most);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Returns the name that was probably meant; `None` when all of them are too far away to be a slip.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let best = ranked(name, names, 1).pop()?;
    let slips = name.chars().count().max(best.chars().count()) / 3;
    (distance(name, best) <= slips.max(1)).then_some(best)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two names, case aside.
fn distance(left: &str, right: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        text.chars()
            .take(COMPARED)
            .flat_map(char::to_lowercase)
            .collect()
    };
    let (left, right) = (letters(left), letters(right));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &r) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(l != r);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && l == right[column - 1] && left[row - 1] == r {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

/// How much of a name is compared. Work grows with the square, and nobody mistypes the sixty-fifth letter.
const COMPARED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_one() {
        for (left, right, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("relay", "Relay", 0),
            ("buffer_sise", "buffer_size", 1),
            ("buffre", "buffer", 1),
            ("targts", "targets", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), slips, "{left} {right}");
            assert_eq!(distance(right, left), slips, "{right} {left}");
        }
    }

    #[test]
    fn a_stranger_is_nobodys_slip() {
        assert_eq!(nearest("zzz", ["endpoint", "type"]), None);
        assert_eq!(nearest("endpiont", ["type", "endpoint"]), Some("endpoint"));
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn long_names_are_compared_quickly() {
        let long = "x".repeat(10_000_000);
        assert_eq!(ranked(&long, [long.as_str(), "y"], 1), [long.as_str()]);
    }
}
