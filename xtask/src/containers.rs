//! `cargo xtask containers`: containers that real runtimes make, in a virtual machine.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::test::{Machine, World};
use crate::toolchain::kernel::Series;

/// What booting and one container of each runtime may take.
const SPARE_SECONDS: u64 = 600;
/// What one container of the loop may take.
const EACH_SECONDS: u64 = 20;

/// Arguments of `cargo xtask containers`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel's series
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    /// How many containers are made one after another
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(5..=10_000))]
    loops: u32,
    /// The back end: hooks, notify or auto
    #[arg(long, value_name = "NAME", default_value = "hooks")]
    backend: String,
}

/// Runs them; the result is the last line.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let loops = arguments.loops.to_string();
    let words =
        ["--backend", &arguments.backend, "--only", "containers", "--container-loops", &loops];
    let world = World {
        machine: Machine::Vm(arguments.kernel),
        words: words.map(str::to_owned).to_vec(),
        limit: SPARE_SECONDS + u64::from(arguments.loops) * EACH_SECONDS,
        has_runtimes: true,
    };
    let status = world.command()?.status().context("cannot run the containers")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
