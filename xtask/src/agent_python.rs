//! `cargo xtask agent-python`: the agent's interface, by a client in Python that has the .proto alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::agent::Agent;
use crate::{process, python, workspace};

/// Where the packages and the stubs are.
const WORK: &str = "target/agent-python";
/// From PyPI: the implementation on gRPC's C core, and what makes stubs.
const PACKAGES: [&str; 2] = ["grpcio", "grpcio-tools"];
const PROTO: &str = "mountwatch/proto";
const SCRIPT: &str = "tests/python/agent_contract.py";

/// Arguments of `cargo xtask agent-python`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many changes are followed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    changes: u32,
    /// The back end of the agent
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: String,
}

/// Starts an agent on this machine, and asks it. Needs root.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let work = workspace::path(WORK);
    let python = python::prepare(&work, &PACKAGES)?;
    let stubs = stubs(&work, &python)?;
    let agent = Agent::start(&work, &arguments.backend, &[])?;
    let ground = work.join("ground");
    let mut client = python::on_ground(&python, &workspace::path(SCRIPT), &ground)?;
    client.arg(&agent.socket).arg(&ground).arg(arguments.changes.to_string());
    process::run(client.env("PYTHONPATH", stubs)).context("the client in Python complains")
}

/// Makes the stubs.
fn stubs(work: &Path, python: &Path) -> Result<std::path::PathBuf> {
    let stubs = work.join("stubs");
    fs::create_dir_all(&stubs)?;
    let proto = workspace::path(PROTO);
    let mut protoc = Command::new(python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    for out in ["--python_out", "--grpc_python_out"] {
        protoc.arg(format!("{out}={}", stubs.display()));
    }
    process::run(protoc.arg(proto.join("mountwatch/v1/mountwatch.proto")))?;
    Ok(stubs)
}
