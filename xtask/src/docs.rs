//! `cargo xtask docs`: completions of shells and man pages, out of the definitions of the command line.

use anyhow::Result;

use crate::{process, workspace};

/// The example that knows the definitions.
const EXAMPLE: &str = "docs";

/// Arguments of `cargo xtask docs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if a file is not what the definitions give
    #[arg(long)]
    check: bool,
}

/// Writes or compares.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    example(if arguments.check { "check" } else { "write" })
}

/// Fails if a file is not what the definitions give.
pub(crate) fn check() -> Result<()> {
    example("check")
}

fn example(verb: &str) -> Result<()> {
    let mut cargo = workspace::cargo(["run", "--quiet", "--package", "mountwatch"]);
    process::run(cargo.args(["--example", EXAMPLE, "--", verb]))
}
