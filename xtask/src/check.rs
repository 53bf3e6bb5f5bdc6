//! `cargo xtask check`: what can be told in a minute, without root and without a virtual machine.

use std::io;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tally::{self, Tally, Words};
use crate::{api, docs, kernels, process, proto, tidy, workspace};

/// Everything but the kernel side: it builds for its own target only, with `cargo xtask ebpf`.
const HOST_PACKAGES: [&str; 4] = ["--locked", "--workspace", "--exclude", "mountwatch-ebpf"];

/// Stops at the first thing that is wrong.
pub(crate) fn run() -> Result<()> {
    format()?;
    lints()?;
    tidy::run()?;
    kernels::check()?;
    docs::check()?;
    proto::check()?;
    api::check()?;
    let tally = tests()?;
    ensure!(tally.failed == 0, "{} of {} tests failed", tally.failed, tally.passed + tally.failed);
    Ok(())
}

/// rustfmt, the kernel side too.
pub(crate) fn format() -> Result<()> {
    process::run(&mut workspace::cargo(["fmt", "--all", "--check"]))
        .context("the sources are not formatted: run `cargo fmt --all`")
}

/// The compiler's and clippy's warnings are errors.
pub(crate) fn lints() -> Result<()> {
    let mut clippy = host("clippy");
    process::run(clippy.args(["--all-targets", "--", "-D", "warnings"])).context("clippy complains")
}

/// All tests that need neither root nor a machine of their own.
pub(crate) fn tests() -> Result<Tally> {
    let mut test = host("test");
    tally::run("cargo test", Words::CargoTest, test.arg("--no-fail-fast"), &mut io::stdout())
}

fn host(verb: &str) -> Command {
    let mut command = workspace::cargo([verb, "--quiet"]);
    command.args(HOST_PACKAGES);
    command
}
