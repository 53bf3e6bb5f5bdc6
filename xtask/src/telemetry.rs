//! `cargo xtask telemetry`: metrics, alert rules and the dashboard, looked at by Prometheus' own
//! tools.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::toolchain::{Wanted, prometheus};
use crate::{process, workspace};

/// What a scrape looks like, as the tests of the library keep it.
const SCRAPE: &str = "mountwatch/src/metrics/snapshots/mountwatch__metrics__tests__classic.snap";
pub(crate) const RULES: &str = "contrib/prometheus/mountwatch.rules.yml";
const RULES_TEST: &str = "contrib/prometheus/mountwatch.rules.test.yml";
const DASHBOARD: &str = "contrib/grafana/mountwatch.json";
/// What Grafana puts in place of its variables, as any value.
const VARIABLES: [(&str, &str); 3] =
    [("$__rate_interval", "5m"), ("$__range", "6h"), ("$instance", ".*")];

/// Checks all of it.
pub(crate) fn run() -> Result<()> {
    let promtool = || prometheus::prepare(Wanted::Any).map(|found| found.promtool());
    process::run(promtool()?.args(["check", "rules"]).arg(workspace::path(RULES)))?;
    process::run(promtool()?.args(["test", "rules"]).arg(workspace::path(RULES_TEST)))?;
    let snapshot = read(SCRAPE)?;
    let scrape = snapshot.splitn(3, "---\n").nth(2).context("a snapshot file has a head")?;
    process::run_on(promtool()?.args(["check", "metrics"]), &written("scrape.prom", scrape)?)?;
    let known = names_of(scrape);
    let questions = questions(&serde_json::from_str(&read(DASHBOARD)?)?)?;
    for (title, question) in &questions {
        let unknown = names_in(question).find(|name| !known.contains(*name));
        ensure!(unknown.is_none(), "{DASHBOARD}: {title}: there is no metric {unknown:?}");
    }
    let rules = as_rules(&questions)?;
    let rules = written("dashboard.rules.yml", &rules)?;
    process::run(promtool()?.args(["check", "rules"]).arg(rules))?;
    println!("telemetry: {} metrics, {} questions of the dashboard", known.len(), questions.len());
    Ok(())
}

fn read(relative: &str) -> Result<String> {
    fs::read_to_string(workspace::path(relative)).with_context(|| format!("cannot read {relative}"))
}

fn written(name: &str, text: &str) -> Result<PathBuf> {
    let path = workspace::path("target").join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The names under which a scrape's metrics can be asked for.
pub(crate) fn names_of(scrape: &str) -> BTreeSet<&str> {
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The names of ours that an expression of PromQL has in it.
fn names_in(question: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = question.split(move |letter| !is_part(letter));
    words.filter(|word| word.starts_with("mountwatch_") || word.starts_with("process_"))
}

/// Each panel's title with each of its expressions.
fn questions(dashboard: &Value) -> Result<Vec<(String, String)>> {
    let mut questions = Vec::new();
    for panel in dashboard["panels"].as_array().context("a dashboard has panels")? {
        let title = panel["title"].as_str().context("a panel has a title")?;
        let targets = panel["targets"].as_array().context("a panel has targets")?;
        ensure!(!targets.is_empty(), "{title}: asks nothing");
        for target in targets {
            let question = target["expr"].as_str().context("a target has an expression")?;
            questions.push((title.to_owned(), question.to_owned()));
        }
    }
    Ok(questions)
}

/// The same, ready to be asked.
pub(crate) fn dashboard_questions() -> Result<Vec<(String, String)>> {
    let questions = questions(&serde_json::from_str(&read(DASHBOARD)?)?)?;
    Ok(questions.into_iter().map(|(title, question)| (title, filled(&question))).collect())
}

/// An expression with values for its variables.
fn filled(question: &str) -> String {
    VARIABLES.iter().fold(question.to_owned(), |question, (from, to)| question.replace(from, to))
}

/// Rules that promtool can check, which it cannot do with a dashboard.
fn as_rules(questions: &[(String, String)]) -> Result<String> {
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (index, (_, question)) in questions.iter().enumerate() {
        writeln!(rules, "      - record: question:{index}")?;
        writeln!(rules, "        expr: {}", serde_json::to_string(&filled(question))?)?;
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_questions_and_scrapes() {
        let question = "rate(mountwatch_a_total{b=\"c\"}[5m]) / on (mount) process_d + sum(x)";
        assert_eq!(names_in(question).collect::<Vec<_>>(), ["mountwatch_a_total", "process_d"]);
        let names = names_of("# TYPE a counter\na_total{b=\"c\"} 1\nd 2\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a_total", "d"]);
    }

    #[test]
    fn a_panel_that_asks_nothing_is_told() {
        let panel = serde_json::json!({"panels": [{"title": "Mounts", "targets": []}]});
        assert!(questions(&panel).unwrap_err().to_string().starts_with("Mounts: "));
    }
}
