//! Rounds in which all ways to one answer take turns: what the machine does meanwhile hits all alike.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long one way is asked in one round, if once takes less.
const ROUND: Duration = Duration::from_millis(15);
/// Rounds, and rounds of what takes long.
const ROUNDS: usize = 9;
const ROUNDS_SLOW: usize = 3;
const SLOW: Duration = Duration::from_millis(100);

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was asked.
    pub(crate) what: &'static str,
    /// Whom.
    pub(crate) way: &'static str,
    /// The median.
    pub(crate) value: f64,
    /// The least, where there are several.
    pub(crate) min: f64,
    /// `ns`, `bytes`, `percent`.
    pub(crate) unit: &'static str,
    /// What one has to know of it.
    pub(crate) note: String,
}

impl Row {
    /// A figure that is no median of several.
    pub(crate) fn single(
        what: &'static str,
        way: &'static str,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self { what, way, value, min: value, unit, note: String::new() }
    }

    /// The median and the least of several.
    pub(crate) fn of(what: &'static str, way: &'static str, values: Vec<f64>) -> Self {
        let (value, min) = median(values);
        Self { what, way, value, min, unit: "ns", note: String::new() }
    }

    /// With a remark.
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "way": self.way,
            "value": self.value,
            "min": self.min,
            "unit": self.unit,
            "note": self.note,
        })
    }
}

/// The median of some values, and the least.
pub(crate) fn median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    (middle, values.first().copied().unwrap_or(f64::NAN))
}

/// One way to an answer.
pub(crate) struct Way<'a> {
    name: &'static str,
    ask: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// A way; each call of `ask` is one question, whose answer it has to look at.
pub(crate) fn way<'a>(name: &'static str, ask: impl FnMut() -> Result<()> + 'a) -> Way<'a> {
    Way { name, ask: Box::new(ask) }
}

/// Asks each way in turn, and gives what one question takes.
pub(crate) fn rounds(what: &'static str, ways: Vec<Way<'_>>) -> Result<Vec<Row>> {
    let mut ways: Vec<_> = ways.into_iter().map(|way| (way, Vec::new(), 1_u32)).collect();
    let mut slowest = Duration::ZERO;
    for (way, _, times) in &mut ways {
        // The first one warms up and says how often to ask in a round.
        (way.ask)()?;
        let start = Instant::now();
        (way.ask)()?;
        let one = start.elapsed().max(Duration::from_nanos(20));
        *times = u32::try_from(ROUND.as_nanos() / one.as_nanos()).unwrap_or(1).max(1);
        slowest = slowest.max(one);
    }
    let count = if slowest > SLOW { ROUNDS_SLOW } else { ROUNDS };
    for _ in 0..count {
        for (way, values, times) in &mut ways {
            let start = Instant::now();
            for _ in 0..*times {
                (way.ask)()?;
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            values.push(start.elapsed().as_nanos() as f64 / f64::from(*times));
        }
    }
    Ok(ways.into_iter().map(|(way, values, _)| Row::of(what, way.name, values)).collect())
}
