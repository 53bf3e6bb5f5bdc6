//! What mountwatch and its peers take for the same questions on the same mounts, in one run on one
//! machine. `cargo xtask bench` runs it, on the host and in virtual machines, and makes the page.
//!
//! Its last line on stdout is `BENCH ` and an object of JSON. It works in a mount namespace of its
//! own and leaves nothing behind.

mod agent;
mod changes;
mod cost;
mod data;
mod measure;
mod memory;
mod peers;
mod questions;
mod sys;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use measure::Row;
use mountwatch::agent::{BackendChoice, Config, Tracker};
use serde_json::json;
use std::path::PathBuf;

/// That of the command: memory is what users have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Questions, changes and memory with so many mounts
    Size {
        /// How many
        size: usize,
        /// This group alone: questions, latency, cpu, seeding, memory, agent
        #[arg(long)]
        only: Option<String>,
        /// The back end
        #[arg(long, default_value = "auto")]
        backend: String,
    },
    /// What watching costs others
    Cost {
        /// The back end
        #[arg(long, default_value = "auto")]
        backend: String,
    },
    /// Runs an agent with its sockets in a directory
    Agent {
        /// The back end
        #[arg(long)]
        backend: String,
        /// The directory
        #[arg(long)]
        directory: PathBuf,
    },
    /// Holds a copy of the mount namespace until stdin ends
    Copy,
}

fn main() -> Result<()> {
    sys::give_back_at_once();
    let verb = Arguments::parse().verb;
    match &verb {
        Verb::Copy => return memory::hold_copy(),
        Verb::Agent { backend, directory } => return agent::run(config(backend)?, directory),
        Verb::Size { .. } | Verb::Cost { .. } => {}
    }
    sys::unshare_mounts().context("a mount namespace of its own needs root")?;
    let (size, backend, rows) = match verb {
        Verb::Size { size, only, backend } => {
            let (used, rows) = size_rows(size, only.as_deref(), &backend)?;
            (size, used, rows)
        }
        Verb::Cost { backend } => {
            let config = config(&backend)?;
            let rows = cost::measure(&config)?;
            (0, start(&config)?.status()?.backend, rows)
        }
        Verb::Copy | Verb::Agent { .. } => return Ok(()),
    };
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    println!(
        "BENCH {}",
        json!({ "size": size, "backend": backend, "machine": machine(), "rows": rows })
    );
    Ok(())
}

fn config(backend: &str) -> Result<Config> {
    let backend = match backend {
        "auto" => BackendChoice::Auto,
        "hooks" => BackendChoice::Hooks,
        "notify" => BackendChoice::Notify,
        other => anyhow::bail!("there is no back end {other} to measure: hooks, notify or auto"),
    };
    Ok(Config { backend, ..Config::new() })
}

pub(crate) fn start(config: &Config) -> Result<Tracker> {
    Tracker::start(config).context("mountwatch does not start")
}

fn size_rows(size: usize, only: Option<&str>, backend: &str) -> Result<(&'static str, Vec<Row>)> {
    let config = &config(backend)?;
    let wants = |name: &str| only.is_none_or(|only| only == name);
    let before = if wants("memory") { Some(memory::before(backend)?) } else { None };
    let data = data::make(size)?;
    if !data.has_overlay {
        eprintln!("vm-bench: this machine mounts no overlay: bind mounts stand in for them");
    }
    let mut rows = match before {
        Some(before) => memory::measure(backend, &data, before)?,
        None => Vec::new(),
    };
    let tracker = start(config)?;
    let backend = tracker.status()?.backend;
    ensure!(changes::knows(&tracker, &data.paths[size / 2])?, "the index lacks a mount");
    if wants("questions") {
        rows.extend(questions::ask(&tracker, &data)?);
    }
    if wants("latency") {
        rows.extend(changes::latency(&tracker, &data)?);
    }
    if wants("cpu") {
        rows.extend(changes::cpu(&tracker, &data)?);
    }
    if wants("seeding") {
        rows.extend(changes::seeding(&tracker)?);
    }
    drop(tracker);
    if wants("agent") {
        rows.extend(agent::ask(backend, &data)?);
    }
    ensure!(!rows.is_empty(), "there is no group {}", only.unwrap_or_default());
    data.end()?;
    Ok((backend, rows))
}

/// What it ran on.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": model.unwrap_or("unknown"),
        "cpus": cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        "load": read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    })
}
