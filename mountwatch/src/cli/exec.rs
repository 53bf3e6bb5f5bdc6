//! `mountwatch exec`.

mod book;
mod report;

use super::{Global, start};
use crate::kernel::command::{Came, CommandError, Ended, Parent};
use crate::kernel::descent::{self, Process};
use crate::kernel::holders;
use crate::kernel::host::clock;
use crate::model::Holders;
use crate::render::{Exit, Judgement};
use anyhow::{Context, bail};
use book::Book;
use clap::Args;
use report::Reports;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the steps of the index are taken, which wait in a queue meanwhile.
const TICK: Duration = Duration::from_millis(20);
/// How long a namespace that nobody is known to hold may take to end: the kernel ends it in its own time.
const GRACE: Duration = Duration::from_secs(5);
/// The command succeeded and left something behind.
const LEFT_BEHIND: u8 = 90;

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The report as JSON. It is written even if nothing was left behind.
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Write the report to this file, not to stderr.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a report for continuous integration to this file, too: JUnit's XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Run the command in a mount namespace of its own that is private: it sees the mounts that are
    /// there, and what it mounts ends with it.
    #[arg(long)]
    pub namespace: bool,
    /// After the command's end wait this long at most for processes that it started.
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds, default_value = "0")]
    pub wait: Duration,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

pub(super) fn run(global: &Global, args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let name = args.command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let doing = format!("run {name}");
    let reports = Reports::open(args).with_context(|| doing.clone())?;
    let mut parent = Parent::new().with_context(|| doing.clone())?;
    let tracker = start::tracker_of(global, Some(std::process::id()))?;
    let mut book = Book::begin(&tracker)?;
    if let Came::Signal(signal) = parent.wait(Duration::ZERO).with_context(|| doing.clone())? {
        bail!("{doing}: signal {signal} came before it was started");
    }
    let started = Instant::now();
    if let Err(error) = parent.spawn(&args.command, args.namespace) {
        let status = match &error {
            CommandError::Execute { status, .. } => *status,
            _ => 1,
        };
        eprintln!("mountwatch: cannot {doing}: {error}");
        return Ok(ExitCode::from(status));
    }
    let ended = watch(&mut parent, &mut book)?;
    let duration = started.elapsed();
    let deadline = Instant::now() + args.wait;
    let processes = wait_for_others(&mut parent, &mut book, deadline)?;
    let holders = settle(&mut parent, &mut book)?;
    let left = book.left(&holders)?;
    let status = match ended.status() {
        0 if !left.is_empty() => LEFT_BEHIND,
        status => status,
    };
    let told = tracker.status().context("ask how the index is doing")?;
    let words: Vec<_> = args.command.iter().map(|word| word.as_bytes().to_vec()).collect();
    let processes: Vec<_> =
        processes.into_iter().map(|process| (process.pid, process.comm)).collect();
    let judgement = Judgement {
        command: &words,
        exit: match ended {
            Ended::Status(status) => Exit::Status(status),
            Ended::Signal(signal) => Exit::Signal(signal),
        },
        status,
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        is_private: args.namespace,
        backend: told.backend,
        snapshot: book.snapshot(),
        left: &left,
        processes: &processes,
        notes: &book.notes(&told, left.has_unknown()),
        clock: clock(),
        secrets: global.secrets(),
    };
    reports.write(&judgement)?;
    Ok(ExitCode::from(status))
}

/// Until the command's end.
fn watch(parent: &mut Parent, book: &mut Book<'_>) -> anyhow::Result<Ended> {
    loop {
        match parent.wait(TICK).context("wait for the command")? {
            Came::Child(Some(ended)) => return Ok(ended),
            Came::Signal(signal) => parent.pass_on(signal),
            Came::Child(None) | Came::Nothing => {}
        }
        book.take()?;
    }
}

/// Until every other process below us has ended, or the time is over, or a signal says so. Those that
/// have not.
fn wait_for_others(
    parent: &mut Parent,
    book: &mut Book<'_>,
    deadline: Instant,
) -> anyhow::Result<Vec<Process>> {
    loop {
        let others = descent::living().context("list the processes below the command")?;
        if others.is_empty() || Instant::now() >= deadline {
            return Ok(others);
        }
        if let Came::Signal(_) = parent.wait(TICK).context("wait for the command's processes")? {
            return Ok(others);
        }
        book.take()?;
    }
}

/// Until no namespace that was made ends any more: one that nobody holds is about to. Who holds those
/// that stay.
fn settle(parent: &mut Parent, book: &mut Book<'_>) -> anyhow::Result<Holders> {
    let deadline = Instant::now() + GRACE;
    loop {
        book.catch_up()?;
        let asked = book.namespaces();
        if asked.is_empty() {
            return Ok(Holders::new());
        }
        let holders = holders::all(asked).context("find out who holds the mount namespaces")?;
        if !book.is_dying(&holders) || Instant::now() >= deadline {
            // Whoever let go of one did so before this was asked.
            book.catch_up()?;
            return Ok(holders);
        }
        parent.wait(TICK).context("wait for mount namespaces to end")?;
    }
}
