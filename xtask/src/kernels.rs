//! `cargo xtask kernels`: what differs between kernels, written down and kept true.
//!
//! `KERNELS.md` and the plans in `mountwatch/kernels/` are made of the tables in the code and of the
//! features of each kernel of the matrix, which are committed too: they change only when a kernel is
//! asked again.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::toolchain::kernel::Series;
use crate::{process, workspace};

/// The example that knows the tables.
const EXAMPLE: &str = "kernels";

/// Arguments of `cargo xtask kernels`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if a file is not what the tables give
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Boot each kernel first and ask what it has
    #[arg(long)]
    update: bool,
}

/// Asks the kernels if that is wanted, then writes or compares.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.update {
        update()?;
    }
    workspace::run_example(EXAMPLE, arguments.check)
}

/// Fails if a file is not what the tables give.
pub(crate) fn check() -> Result<()> {
    workspace::run_example(EXAMPLE, true)
}

/// Reads the features of each kernel in a virtual machine.
fn update() -> Result<()> {
    let example = workspace::build_static_example(EXAMPLE)?;
    let mut add = example.into_os_string();
    add.push(":/usr/bin/kernels");
    for series in Series::ALL {
        let mut vm = Command::new(env::current_exe().context("cannot find myself")?);
        vm.args(["vm", "--kernel", series.name(), "--no-mountwatch", "--timeout", "300", "--add"]);
        vm.arg(&add).args(["--", "kernels", "features"]);
        let features = process::text(&mut vm)?;
        ensure!(features.starts_with("kernel "), "kernel {} gives no features", series.name());
        let path = workspace::path(&format!("mountwatch/kernels/{}.features", series.name()));
        fs::write(&path, features).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
