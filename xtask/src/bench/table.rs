//! The table: each question with ours, each peer's, the ratio, and the target.

use std::fmt::Write as _;

use serde_json::Value;

/// What ours has to be.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// At most this, in the unit of the figure.
    AtMost(f64),
    /// At most so many times another way's.
    Times(f64, &'static str),
    /// At least so many times less than another way's.
    Less(f64, &'static str),
}

/// A question that has a target: of which way, what, and why it is missed where it is.
struct Goal {
    what: &'static str,
    way: &'static str,
    target: Target,
    /// The least size for which it counts.
    from: u64,
    why: &'static str,
}

const fn goal(
    what: &'static str,
    way: &'static str,
    target: Target,
    from: u64,
    why: &'static str,
) -> Goal {
    Goal { what, way, target, from, why }
}

const POINT: &str = "is P a mount point";
const OTHER: &str = "is P a mount point, from another process";
const SOCKET: &str = "is P a mount point, through the socket";
const CACHE: &str = "the path and its entry are in memory that no cache has";
const NAMES: &str = "a path of nine names is nine look-ups, in memory that no cache has";

/// A namespace has at most 100,000 mounts (`fs.mount-max`), the machine's own among them.
const LARGE: u64 = 90_000;

/// The targets of the design.
const GOALS: &[Goal] = &[
    goal(POINT, "mountwatch", Target::AtMost(100.0), 0, CACHE),
    goal(
        POINT,
        "mountwatch, one path again",
        Target::AtMost(100.0),
        0,
        "a hash of 122 bytes and one look-up",
    ),
    goal(POINT, "mountwatch", Target::Less(20.0, "statx"), 0, CACHE),
    goal(POINT, "mountwatch", Target::Less(500_000.0, "mountinfo"), 10_000, CACHE),
    goal(OTHER, "mountwatch", Target::AtMost(200.0), 0, NAMES),
    goal(
        OTHER,
        "mountwatch, one path again",
        Target::AtMost(200.0),
        0,
        "nine names, nine look-ups",
    ),
    goal(OTHER, "mountwatch", Target::Less(10.0, "statx"), 0, NAMES),
    goal(
        SOCKET,
        "mountwatch",
        Target::AtMost(150_000.0),
        0,
        "two processes and three threads take turns on two processors",
    ),
    goal(
        "mount+umount while others ask",
        "64 clients ask the agent",
        Target::Times(1.1, "off"),
        0,
        "who asks takes the processors' caches and memory",
    ),
    goal(
        "a mount by its ID",
        "mountwatch",
        Target::AtMost(100.0),
        0,
        "two look-ups in memory that no cache has",
    ),
    goal(
        "all mounts below a mount (10)",
        "mountwatch",
        Target::AtMost(1_000.0),
        0,
        "eleven paths are made, each an allocation",
    ),
    goal(
        "all mounts below a mount (10)",
        "mountwatch",
        Target::Less(250.0, "statx+listmount+statmount"),
        10_000,
        "eleven paths are made; the peer takes the longer the more mounts there are",
    ),
    goal(
        "a change, from the return of mount(2)",
        "mountwatch",
        Target::AtMost(50_000.0),
        0,
        "waking the writer takes longer on a machine that others use too",
    ),
    goal(
        "CPU of one core at 1,000 mount+umount/s",
        "mountwatch",
        Target::AtMost(3.0),
        0,
        "each change wakes the writer, and with notify is looked at by system calls",
    ),
    goal(
        "memory per mount",
        "mountwatch",
        Target::AtMost(400.0),
        LARGE,
        "names and indexes, see the text",
    ),
    goal(
        "memory per copied mount",
        "mountwatch",
        Target::AtMost(150.0),
        LARGE,
        "a mount and its entries in eight indexes, see the text",
    ),
    goal(
        "seeding",
        "mountwatch",
        Target::Times(1.3, "mountinfo"),
        10_000,
        "each mount is a record too",
    ),
    goal(
        "getppid",
        "on",
        Target::Times(1.02, "off"),
        0,
        "programs on tracepoints slow every call; with hooks there are none, and it is noise: see the least",
    ),
    goal("bind mount+umount", "on", Target::Times(1.10, "off"), 0, "programs on each mount"),
    goal("unshare of 10,000 mounts", "on", Target::Times(1.25, "off"), 0, "each mount is told"),
];

/// What may grow with the mounts, and by how much at most from the fewest to the most.
const FLAT: &[(&str, f64)] = &[
    ("CPU for one event", 2.0),
    ("CPU of one core at 1,000 mount+umount/s", 1.25),
    ("a change, from the return of mount(2)", 1.25),
];

/// Of runs of different sizes: what, at the fewest mounts, at the most, how many times that is, target.
pub(super) fn growth(runs: &[Value]) -> Vec<[String; 5]> {
    let size = |run: &&Value| run["size"].as_u64().unwrap_or(0);
    let sized = || runs.iter().filter(|run| size(run) > 0);
    let (Some(least), Some(most)) = (sized().min_by_key(size), sized().max_by_key(size)) else {
        return Vec::new();
    };
    let ours = |run: &Value, what: &str| {
        figures(run).into_iter().find(|one| one.what == what && one.way == "mountwatch")
    };
    let row = |(what, times): &(&str, f64)| {
        let (few, many) = (ours(least, what)?, ours(most, what)?);
        let grew = many.value / few.value;
        let verdict = if grew <= *times { "holds" } else { "misses" };
        Some([
            (*what).to_owned(),
            human(few.value, &few.unit),
            human(many.value, &many.unit),
            format!("{grew:.2}×"),
            format!("≤ {times}×: {verdict}"),
        ])
    };
    FLAT.iter().filter_map(row).collect()
}

/// One row of a run.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) way: String,
    pub(super) value: f64,
    pub(super) min: f64,
    pub(super) unit: String,
    pub(super) note: String,
}

/// The rows of a run.
pub(super) fn figures(run: &Value) -> Vec<Figure> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = run["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .map(|row| Figure {
            what: text(row, "what"),
            way: text(row, "way"),
            value: row["value"].as_f64().unwrap_or(f64::NAN),
            min: row["min"].as_f64().unwrap_or(f64::NAN),
            unit: text(row, "unit"),
            note: text(row, "note"),
        })
        .collect()
}

/// Everything as text.
pub(super) fn text(runs: &[Value]) -> String {
    let mut out = String::new();
    for run in runs {
        let _ = writeln!(out, "{}", title(run));
        for [what, way, value, least, ratio, target] in rows(run) {
            let _ =
                writeln!(out, "  {what:<42} {way:<30} {value:>9} {least:>9} {ratio:>12}  {target}");
        }
    }
    out
}

/// What a run was of.
pub(super) fn title(run: &Value) -> String {
    let backend = run["backend"].as_str().unwrap_or_default();
    match run["size"].as_u64() {
        Some(0) | None => format!("what watching costs others, back end {backend}"),
        Some(size) => format!("{} mounts, back end {backend}", grouped(size)),
    }
}

/// Number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number without its fraction.
fn whole(number: f64) -> String {
    format!("{number:.0}").parse().map_or_else(|_| String::new(), grouped)
}

/// The rows of a run: question, way, median, least, ratio to ours, target.
pub(super) fn rows(run: &Value) -> Vec<[String; 6]> {
    let figures = figures(run);
    let size = run["size"].as_u64().unwrap_or(0);
    let ours = |what: &str| {
        let is_ours =
            |one: &&Figure| one.what == what && ["mountwatch", "off"].contains(&&*one.way);
        figures.iter().find(is_ours).map(|one| one.value)
    };
    let mut last = String::new();
    figures
        .iter()
        .map(|one| {
            let what = if one.what == last { String::new() } else { one.what.clone() };
            last.clone_from(&one.what);
            let ratio = match ours(&one.what) {
                Some(ours) if one.way != "mountwatch" && one.way != "off" => {
                    ratio(one.value / ours)
                }
                _ => String::new(),
            };
            [
                what,
                one.way.clone(),
                human(one.value, &one.unit),
                if one.min < one.value { human(one.min, &one.unit) } else { String::new() },
                ratio,
                verdicts(one, &figures, size),
            ]
        })
        .collect()
}

fn verdicts(one: &Figure, all: &[Figure], size: u64) -> String {
    let goals = GOALS
        .iter()
        .filter(|goal| goal.what == one.what && goal.way == one.way && size >= goal.from);
    goals.filter_map(|goal| verdict(goal, one, all)).collect::<Vec<_>>().join("; ")
}

/// What is wanted, and whether it is so. `None` if there is nothing to compare with.
fn verdict(goal: &Goal, one: &Figure, all: &[Figure]) -> Option<String> {
    let other = |way: &str| {
        all.iter().find(|other| other.what == one.what && other.way == way).map(|other| other.value)
    };
    let (wanted, holds) = match goal.target {
        Target::AtMost(most) => (format!("≤ {}", human(most, &one.unit)), one.value <= most),
        Target::Times(times, way) => {
            (format!("≤ {times}× {way}"), one.value <= times * other(way)?)
        }
        Target::Less(times, way) => {
            (format!("{way} ≥ {}×", whole(times)), other(way)? >= times * one.value)
        }
    };
    Some(if holds { format!("{wanted}: holds") } else { format!("{wanted}: misses: {}", goal.why) })
}

fn ratio(ratio: f64) -> String {
    match ratio {
        _ if !ratio.is_finite() => String::new(),
        _ if ratio < 10.0 => format!("{ratio:.2}×"),
        _ if ratio < 100.0 => format!("{ratio:.1}×"),
        _ => format!("{}×", whole(ratio)),
    }
}

/// A figure with three digits and its unit.
pub(super) fn human(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "ns" if value >= 1e9 => (value / 1e9, "s"),
        "ns" if value >= 1e6 => (value / 1e6, "ms"),
        "ns" if value >= 1e3 => (value / 1e3, "µs"),
        "bytes" => (value, "B"),
        "percent" => (value, "%"),
        other => (value, other),
    };
    match value {
        _ if value < 10.0 => format!("{value:.2} {unit}"),
        _ if value < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(ours: f64, theirs: f64) -> Value {
        let row = |way, value: f64| json!({ "what": POINT, "way": way, "value": value, "unit": "ns", "note": "" });
        json!({ "size": 10_000, "backend": "hooks", "rows": [row("mountwatch", ours), row("statx", theirs)] })
    }

    #[test]
    fn a_target_holds_or_says_why_not() {
        let rows = rows(&run(50.0, 2_000.0));
        assert_eq!(rows[0][5], "≤ 100 ns: holds; statx ≥ 20×: holds");
        assert_eq!(rows[1][4], "40.0×");
        let rows = super::rows(&run(150.0, 1_000.0));
        assert!(rows[0][5].starts_with("≤ 100 ns: misses: "), "{rows:?}");
        assert!(rows[0][5].contains("statx ≥ 20×: misses"), "{rows:?}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(human(1_234_567.0, "ns"), "1.23 ms");
        assert_eq!(human(99.96, "ns"), "100.0 ns");
        assert_eq!(ratio(1_234_567.4), "1,234,567×");
        assert_eq!(
            title(&json!({ "size": 100_000, "backend": "x" })),
            "100,000 mounts, back end x"
        );
    }
}
