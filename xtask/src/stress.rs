//! `cargo xtask stress`: the random programs for as long as wanted, on a kernel of the test matrix
//! or on the machine's own.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::test::{Machine, World};
use crate::toolchain::kernel::Series;

/// What booting, building up and tearing down may take, on top of a round that drags on.
const SPARE_SECONDS: u64 = 600;

/// Arguments of `cargo xtask stress`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel's series; without it the machine's own kernel
    #[arg(long, value_enum)]
    kernel: Option<Series>,
    /// How long the programs run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// The back end: hooks, notify or auto
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: String,
    /// The seed, to run the same programs again; by default one from the clock
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs them; the result is the last line.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let seconds = arguments.minutes * 60;
    let mut words = vec!["--backend".to_owned(), arguments.backend.clone()];
    words.extend(["--only", "random", "--random-seconds"].map(str::to_owned));
    words.push(seconds.to_string());
    if let Some(seed) = arguments.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    let machine = arguments.kernel.map_or(Machine::Host, Machine::Vm);
    // A round ends when the slowest worker does: under emulation much later than its time is over.
    let world = World { machine, words, limit: seconds * 2 + SPARE_SECONDS, has_runtimes: false };
    let status = world.command()?.status().context("cannot run the programs")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
