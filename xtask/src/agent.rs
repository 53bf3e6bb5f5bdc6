//! An agent on this machine's own kernel, for the chores that talk to one. Needs root.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// The agent's start, with its self-test.
const START_MAX: Duration = Duration::from_mins(1);

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Service(Child);

impl Service {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let what = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start {what}"))?))
    }

    /// Waits until something is so, as long as the process is there.
    pub(crate) fn wait_for(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_so() {
            ensure!(self.0.try_wait()?.is_none(), "it ended before there was {what}");
            ensure!(start.elapsed() < START_MAX, "in vain: {what}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent that answers.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Ends with this.
    _service: Service,
    /// The command.
    pub(crate) mountwatch: PathBuf,
    /// Where it answers.
    pub(crate) socket: PathBuf,
}

impl Agent {
    /// Builds and starts it; its socket lies below `work`.
    pub(crate) fn start(work: &Path, backend: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_with(work, backend, arguments, &[])
    }

    /// The same with more variables of the environment.
    pub(crate) fn start_with(
        work: &Path,
        backend: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let mountwatch = workspace::build_static("mountwatch")?;
        let socket = work.join("run/mountwatch.sock");
        // A killed one left its own behind, which is no sign of life.
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(&mountwatch);
        command.args(["--backend", backend, "agent", "--socket"]).arg(&socket).args(arguments);
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        let mut service = Service::start(&mut command)?;
        // Connections are taken before there is somebody to answer, or to export.
        let asks = || {
            let mut status = Command::new(&mountwatch);
            status.arg("--socket").arg(&socket).arg("status").stdin(Stdio::null());
            status.stdout(Stdio::null()).stderr(Stdio::null());
            socket.exists() && status.status().is_ok_and(|status| status.success())
        };
        service.wait_for("an agent that answers", asks)?;
        Ok(Self { _service: service, mountwatch, socket })
    }
}

/// A port of this machine that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    Ok(listener.local_addr()?.port())
}
