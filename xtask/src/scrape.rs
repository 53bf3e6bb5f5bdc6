//! `cargo xtask scrape`: a real Prometheus scrapes an agent on this machine, and evaluates the rules and
//! the dashboard's questions on what it got.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, Service, free_port};
use crate::toolchain::{Wanted, prometheus};
use crate::{process, telemetry, workspace};

const WORK: &str = "target/scrape";
/// Each metric of an agent that Prometheus has a value of now.
const NAMES: &str = "count by (__name__) ({job=\"mountwatch\"})";

/// Starts both, and looks. Needs root.
pub(crate) fn run() -> Result<()> {
    let work = workspace::path(WORK);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let (ours, theirs) = (free_port()?, free_port()?);
    let metrics = format!("127.0.0.1:{ours}");
    let _agent = Agent::start(&work, "auto", &["--metrics", &metrics])?;
    let mut server = serve(&work, &metrics, theirs)?;
    let ask = |question: &str| -> Result<String> {
        let mut promtool = prometheus::prepare(Wanted::Any)?.promtool();
        let address = format!("http://127.0.0.1:{theirs}");
        process::text(promtool.args(["query", "instant", &address, question]))
    };
    let is_up = || ask("up{job=\"mountwatch\"}").is_ok_and(|said| said.contains("=> 1 "));
    server.wait_for("a scrape that worked", is_up)?;

    let scrape = get(ours, "/metrics")?;
    let exposed = telemetry::names_of(&scrape);
    let said = ask(NAMES)?;
    let known = telemetry::names_of(&said);
    let missing: Vec<_> = exposed.difference(&known).collect();
    ensure!(missing.is_empty(), "Prometheus has no {missing:?}; it has {known:?}");
    let mounts = ask("mountwatch_mounts > 0 and mountwatch_namespaces > 0")?;
    ensure!(mounts.contains("=> "), "no mounts: {mounts}");
    let questions = telemetry::dashboard_questions()?;
    for (title, question) in &questions {
        ask(question).with_context(|| format!("the dashboard's {title}"))?;
    }
    let mut rules = 0;
    let mut said = String::new();
    let healthy = server.wait_for("rules that were evaluated and are healthy", || {
        said = get(theirs, "/api/v1/rules").unwrap_or_default();
        rules = healthy_rules(&said).unwrap_or(0);
        rules > 0
    });
    healthy.with_context(|| said.clone())?;
    println!(
        "scrape: up, {} metrics with values, {} questions answered, {rules} rules healthy",
        exposed.len(),
        questions.len()
    );
    Ok(())
}

/// Prometheus, with our rules, and the agent as its only target.
fn serve(work: &Path, target: &str, port: u16) -> Result<Service> {
    let config = work.join("prometheus.yml");
    let rules = workspace::path(telemetry::RULES);
    let text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [ {} ]\n\
         scrape_configs: [ {{ job_name: mountwatch, static_configs: [ {{ targets: [ '{target}' ] }} ] }} ]\n",
        serde_json::to_string(&rules)?
    );
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = prometheus::prepare(Wanted::Any)?.server();
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", work.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let log = work.join("prometheus.log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    Service::start(&mut command)
}

/// How many rules there are; an error as long as one was not evaluated, or failed.
fn healthy_rules(answer: &str) -> Result<usize> {
    let answer: Value = serde_json::from_str(answer)?;
    let groups = answer["data"]["groups"].as_array().context("no groups")?;
    let rules: Vec<_> =
        groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    for rule in &rules {
        ensure!(rule["health"] == "ok" && rule["lastError"].is_null(), "{rule}");
    }
    Ok(rules.len())
}

/// The body of a page of this machine, by HTTP/1.0: it comes whole and ends with the connection.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("nobody listens")?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_failed_or_waits_is_no_healthy_one() {
        let answer = |health: &str| {
            format!(r#"{{"data":{{"groups":[{{"rules":[{{"health":"{health}"}}]}}]}}}}"#)
        };
        assert_eq!(healthy_rules(&answer("ok")).unwrap(), 1);
        for health in ["unknown", "err"] {
            assert!(healthy_rules(&answer(health)).is_err());
        }
        assert!(healthy_rules("{}").is_err());
    }
}
