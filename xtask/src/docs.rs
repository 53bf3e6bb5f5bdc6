//! `cargo xtask docs`: completions of shells and man pages, out of the definitions of the command line.

use anyhow::Result;

use crate::workspace;

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
    workspace::run_example(EXAMPLE, arguments.check)
}

/// Fails if a file is not what the definitions give.
pub(crate) fn check() -> Result<()> {
    workspace::run_example(EXAMPLE, true)
}
