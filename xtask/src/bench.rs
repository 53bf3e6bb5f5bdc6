//! `cargo xtask bench`: mountwatch and its peers side by side, in one run on the same mounts.

mod page;
mod plot;
mod table;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process;
use crate::toolchain::kernel::Series;
use crate::workspace;

/// Memory of a virtual machine: a hundred thousand mounts take the kernel some.
const MEMORY_MB: &str = "2048";
/// Seconds after which a virtual machine counts as hung.
const LIMIT: &str = "3000";
/// The groups of one size.
const GROUPS: [&str; 6] = ["questions", "latency", "cpu", "seeding", "memory", "agent"];
/// What a run puts before its result.
const RESULT: &str = "BENCH ";

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// This group alone: questions, latency, cpu, seeding, memory, agent; or cost, what watching costs
    /// others
    name: Option<String>,
    /// How many mounts
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1000,10000,90000")]
    sizes: Vec<u64>,
    /// The kernel's series; without it the machine's own kernel
    #[arg(long, value_enum)]
    kernel: Option<Series>,
    /// The back end: hooks, notify or auto
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: String,
    /// Write the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Add to docs/: bench.json, bench.svg and BENCHMARKS.md, which is made of all that is there
    #[arg(long)]
    docs: bool,
    /// Make the page anew from docs/bench.json, and measure nothing
    #[arg(long, conflicts_with_all = ["name", "json", "svg", "docs"])]
    page: bool,
}

/// Measures and prints one table.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.page {
        page::write(&page::known()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runs = runs(arguments)?;
    print!("{}", table::text(&runs));
    let place = arguments.kernel.map_or("host", Series::name);
    let result = json!({ "place": place, "runs": runs });
    if let Some(file) = &arguments.json {
        write(file, &format!("{result:#}\n"))?;
    }
    if let Some(file) = &arguments.svg {
        write(file, &plot::svg(&runs))?;
    }
    if arguments.docs {
        page::write(&page::with(page::known()?, place, &runs))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn runs(arguments: &Arguments) -> Result<Vec<Value>> {
    let mut runs = Vec::new();
    let backend = ["--backend", &arguments.backend].map(str::to_owned);
    match arguments.name.as_deref() {
        Some("cost") => {
            let words = ["cost".to_owned()].into_iter().chain(backend);
            runs.push(one(arguments, words.collect())?);
        }
        Some(other) if !GROUPS.contains(&other) => {
            bail!("there is no group {other}: {}, cost", GROUPS.join(", "));
        }
        name => {
            for size in &arguments.sizes {
                let mut words = vec!["size".to_owned(), size.to_string()];
                words.extend(backend.clone());
                if let Some(name) = name {
                    words.extend(["--only".to_owned(), name.to_owned()]);
                }
                runs.push(one(arguments, words)?);
            }
        }
    }
    Ok(runs)
}

/// One run of the program; each starts with fresh memory and fresh mounts.
fn one(arguments: &Arguments, words: Vec<String>) -> Result<Value> {
    let program = workspace::build_static("vm-bench")?;
    let mut command = match arguments.kernel {
        None => Command::new(&program),
        Some(series) => {
            let mut add = program.as_os_str().to_owned();
            add.push(":/usr/bin/vm-bench");
            let mut command = Command::new(std::env::current_exe().context("cannot find myself")?);
            command.args(["vm", "--kernel", series.name(), "--modules", "overlay"]);
            command.args(["--memory-mb", MEMORY_MB, "--timeout", LIMIT, "--no-mountwatch"]);
            command.arg("--add").arg(add).args(["--", "vm-bench"]);
            command
        }
    };
    command.args(words);
    let mut result = None;
    let status = process::tee(&mut command, &mut io::sink(), |line| {
        if let Some(text) = line.trim_end().strip_prefix(RESULT) {
            result = serde_json::from_str(text).ok();
        }
    })?;
    ensure!(status.success(), "vm-bench failed: {status}");
    result.context("vm-bench gave no result")
}
