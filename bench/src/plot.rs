//! A table as a picture: a bar for each contestant, on a logarithmic scale, since the slowest is some thousand times
//! slower than the fastest.

use std::fmt::Write;

/// A bar: whose it is, how long, and what is written behind it.
pub struct Bar {
    pub name: &'static str,
    pub value: f64,
    pub label: String,
}

const WIDTH: f64 = 760.0;
/// Where the bars begin, and where the longest ends.
const FROM: f64 = 190.0;
const TO: f64 = 660.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 40.0;

/// Draws the bars as SVG; those of wakewire stand out.
pub fn svg(title: &str, bars: &[Bar]) -> String {
    let values = || {
        bars.iter()
            .map(|bar| bar.value)
            .filter(|&value| value > 0.0)
    };
    let longest = values().fold(1.0, f64::max);
    // The shortest bar is seen too.
    let base = values().fold(longest, f64::min) / 2.0;
    let height = HEAD + ROW * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n<text x='12' y='24' font-size='15'>{title}</text>\n"
    );
    for (row, bar) in bars.iter().enumerate() {
        let top = HEAD + ROW * row as f64;
        let share = (bar.value.max(base) / base).ln() / (longest / base).ln();
        let length = (TO - FROM) * share;
        let colour = if bar.name.starts_with("wakewire") {
            "#c2410c"
        } else {
            "#94a3b8"
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x='{}' y='{}' text-anchor='end'>{}</text>\
             <rect x='{FROM}' y='{}' width='{length:.1}' height='{}' fill='{colour}'/>\
             <text x='{:.1}' y='{}'>{}</text>",
            FROM - 8.0,
            top + 15.0,
            bar.name,
            top + 3.0,
            ROW - 6.0,
            FROM + length + 6.0,
            top + 15.0,
            bar.label,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_ends_where_it_should_and_each_is_there() {
        let bar = |name, value| Bar {
            name,
            value,
            label: format!("{value}/s"),
        };
        let svg = svg(
            "64 B",
            &[bar("wakewire", 1e7), bar("other", 1e3), bar("failed", 0.0)],
        );
        assert_eq!(svg.matches("<rect x=").count(), 3);
        assert!(svg.contains("width='470.0'"), "{svg}");
        assert!(svg.contains(">1000/s<") && svg.contains("#c2410c"));
    }
}
