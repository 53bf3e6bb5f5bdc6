//! `cargo xtask agent-python`: the agent's interface, by a client in Python that has the .proto alone.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::{process, workspace};

/// Where the packages and the stubs are.
const WORK: &str = "target/agent-python";
/// From PyPI: the implementation on gRPC's C core, and what makes stubs.
const PACKAGES: [&str; 2] = ["grpcio", "grpcio-tools"];
const PROTO: &str = "mountwatch/proto";
const SCRIPT: &str = "tests/python/agent_contract.py";
/// The agent's start, with its self-test.
const START_MAX: Duration = Duration::from_mins(1);

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
    let python = prepare(&work)?;
    let mountwatch = workspace::build_static("mountwatch")?;
    let ground = work.join("ground");
    fs::create_dir_all(&ground)?;
    let socket = work.join("run/mountwatch.sock");
    let mut agent = Command::new(mountwatch);
    agent.args(["--backend", &arguments.backend, "agent", "--socket"]).arg(&socket);
    let mut agent = agent.spawn().context("cannot start the agent")?;
    let done = wait_for(&socket, &mut agent)
        .and_then(|()| contract(&python, &socket, &ground, arguments.changes));
    agent.kill().context("cannot end the agent")?;
    agent.wait()?;
    done
}

/// In a mount namespace of its own: whatever goes wrong, the machine's mounts stay as they are.
fn contract(python: &Path, socket: &Path, ground: &Path, changes: u32) -> Result<()> {
    let mut client = Command::new("unshare");
    client.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    client.arg("mount -t tmpfs ground \"$1\" && shift && exec \"$@\"").arg("sh").arg(ground);
    client.arg(python).arg(workspace::path(SCRIPT)).arg(socket).arg(ground);
    client.arg(changes.to_string());
    client.env("PYTHONPATH", workspace::path(WORK).join("stubs"));
    process::run(&mut client).context("the client in Python complains")
}

fn wait_for(socket: &Path, agent: &mut Child) -> Result<()> {
    let start = Instant::now();
    while !socket.exists() {
        ensure!(agent.try_wait()?.is_none(), "the agent ended");
        ensure!(start.elapsed() < START_MAX, "the agent has no socket");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The interpreter with the packages; makes the stubs.
fn prepare(work: &Path) -> Result<std::path::PathBuf> {
    let venv = work.join("venv");
    let python = venv.join("bin/python");
    if !venv.join("ready").exists() {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("python3 with its module venv is needed")?;
        let mut pip = Command::new(&python);
        process::run(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        fs::write(venv.join("ready"), "")?;
    }
    let stubs = work.join("stubs");
    fs::create_dir_all(&stubs)?;
    let proto = workspace::path(PROTO);
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    for out in ["--python_out", "--grpc_python_out"] {
        protoc.arg(format!("{out}={}", stubs.display()));
    }
    process::run(protoc.arg(proto.join("mountwatch/v1/mountwatch.proto")))?;
    Ok(python)
}
