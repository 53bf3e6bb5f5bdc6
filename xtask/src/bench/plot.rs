//! The plot: what each question takes as the number of mounts grows, ours and each peer's. Both axes
//! are logarithmic.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::table::{figures, human};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
/// Room for the labels of one panel.
const LEFT: f64 = 62.0;
const TOP: f64 = 34.0;
const COLUMNS: usize = 2;
const COLORS: [&str; 7] =
    ["#d62728", "#ff9896", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f"];

/// A line: its name, and its points.
type Line = (String, Vec<(f64, f64)>);

/// All questions that were asked with two sizes or more.
pub(super) fn svg(runs: &[Value]) -> String {
    let panels = panels(runs);
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (WIDTH * 2.0 + 20.0, (HEIGHT + 20.0) * as_f64(rows) + 10.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n"
    );
    for (at, (what, lines)) in panels.iter().enumerate() {
        let x = as_f64(at % COLUMNS) * (WIDTH + 10.0);
        let y = as_f64(at / COLUMNS) * (HEIGHT + 20.0);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        panel(&mut out, what, lines);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn as_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn panels(runs: &[Value]) -> Vec<(String, Vec<Line>)> {
    let mut panels: Vec<(String, Vec<Line>)> = Vec::new();
    for run in runs {
        let Some(size) = run["size"].as_f64().filter(|size| *size > 0.0) else { continue };
        for one in figures(run).into_iter().filter(|one| one.unit == "ns" && one.value > 0.0) {
            let at = panels.iter().position(|(what, _)| *what == one.what).unwrap_or_else(|| {
                panels.push((one.what.clone(), Vec::new()));
                panels.len() - 1
            });
            let lines = &mut panels[at].1;
            match lines.iter_mut().find(|(way, _)| *way == one.way) {
                Some((_, points)) => points.push((size, one.value)),
                None => lines.push((one.way, vec![(size, one.value)])),
            }
        }
    }
    panels.retain(|(_, lines)| lines.iter().any(|(_, points)| points.len() > 1));
    panels
}

fn panel(out: &mut String, what: &str, lines: &[Line]) {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let bounds = |part: fn(&(f64, f64)) -> f64| {
        let values = || all().map(part).map(f64::log10);
        (values().fold(f64::MAX, f64::min).floor(), values().fold(f64::MIN, f64::max).ceil())
    };
    let ((x0, x1), (y0, y1)) = (bounds(|point| point.0), bounds(|point| point.1));
    let x = |value: f64| LEFT + (value.log10() - x0) / (x1 - x0).max(1.0) * (WIDTH - LEFT - 150.0);
    let y = |value: f64| {
        HEIGHT - 20.0 - (value.log10() - y0) / (y1 - y0).max(1.0) * (HEIGHT - 20.0 - TOP)
    };
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">{what}</text>");
    for (at, label) in ticks(y0, y1).map(|tick| (y(tick), human(tick, "ns"))) {
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - 150.0,
            LEFT - 5.0,
            at + 4.0
        );
    }
    for (at, label) in ticks(x0, x1).map(|tick| (x(tick), tick)) {
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 5.0
        );
    }
    let mut taken = BTreeSet::new();
    for ((way, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
        let path: Vec<_> =
            points.iter().map(|(size, ns)| format!("{:.1},{:.1}", x(*size), y(*ns))).collect();
        let width = if way.starts_with("mountwatch") { 2.5 } else { 1.5 };
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"/>",
            path.join(" ")
        );
        let at = points.last().map_or(TOP, |(_, ns)| y(*ns));
        // Names of lines that end at the same height stand below each other.
        let mut slot = 0_u32;
        while f64::from(slot) * 13.0 < at {
            slot += 1;
        }
        while !taken.insert(slot) {
            slot += 1;
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\">{way}</text>",
            WIDTH - 145.0,
            f64::from(slot) * 13.0 + 4.0
        );
    }
}

/// The powers of ten between two.
fn ticks(from: f64, to: f64) -> impl Iterator<Item = f64> {
    (-1_i8..13)
        .map(f64::from)
        .filter(move |power| (from..=to).contains(power))
        .map(|power| 10_f64.powf(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_question_with_two_sizes_has_a_panel_with_its_lines() {
        let run = |size: u64, value: f64| {
            json!({ "size": size, "rows": [
                { "what": "a question", "way": "mountwatch", "value": value, "unit": "ns" },
                { "what": "a question", "way": "statx", "value": 10.0 * value, "unit": "ns" },
                { "what": "memory", "way": "mountwatch", "value": 1.0, "unit": "bytes" },
            ] })
        };
        let svg = svg(&[run(1_000, 50.0), run(10_000, 60.0)]);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(svg.contains(">a question<") && !svg.contains("memory"), "{svg}");
        assert_eq!(super::svg(&[run(1_000, 50.0)]).matches("<polyline").count(), 0);
    }
}
