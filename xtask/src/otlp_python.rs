//! `cargo xtask otlp-python`: what the agent sends over OTLP, received by a collector in Python on
//! OpenTelemetry's own definitions, which is ended and started again meanwhile.

use anyhow::{Context as _, Result};

use crate::agent::{Agent, free_port};
use crate::{process, python, workspace};

/// Where the packages are.
const WORK: &str = "target/otlp-python";
/// From PyPI: gRPC's C core, and what the OpenTelemetry project makes of its definitions.
const PACKAGES: [&str; 2] = ["grpcio", "opentelemetry-proto"];
const SCRIPT: &str = "tests/python/otlp_contract.py";

/// Arguments of `cargo xtask otlp-python`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often something is mounted and unmounted
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    mounts: u32,
    /// The back end of the agent
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: String,
}

/// Starts an agent on this machine that sends to the collector. Needs root.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let work = workspace::path(WORK);
    let python = python::prepare(&work, &PACKAGES)?;
    let port = free_port()?.to_string();
    let endpoint = format!("http://127.0.0.1:{port}");
    // Nothing may be dropped: no bound on the rate.
    let words = ["--otlp", &endpoint, "--export-rate", "0"];
    let variables = [("OTEL_METRIC_EXPORT_INTERVAL", "1000")];
    let agent = Agent::start_with(&work, &arguments.backend, &words, &variables)?;
    let ground = work.join("ground");
    let mut script = python::on_ground(&python, &workspace::path(SCRIPT), &ground)?;
    script.arg(&agent.mountwatch).arg(&agent.socket).arg(&port).arg(&ground);
    script.arg(arguments.mounts.to_string());
    process::run(&mut script).context("the collector in Python complains")
}
