//! A running `mountwatch agent`, for checks.

use crate::cli_checks::{Setting, ensure_status, finish};
use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

/// The self-test and the seed under emulation.
const START_MAX: Duration = Duration::from_secs(90);

/// A directory for a socket, and what else a check puts there.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    /// A new one that everybody may enter.
    pub(crate) fn new() -> Result<Self> {
        let name = format!("mountwatch-agent-{}", std::process::id());
        let path = env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("run/mountwatch.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file system of one's own to mount on, in the namespace of this process.
pub(crate) struct Ground(pub(crate) PathBuf);

impl Ground {
    pub(crate) fn new(setting: &Setting) -> Result<Self> {
        let flags = MountFlags::empty();
        mount("mountwatch-agent", &setting.base, "tmpfs", flags, None).context("cannot mount")?;
        rustix::mount::mount_change(&setting.base, rustix::mount::MountPropagationFlags::PRIVATE)?;
        Ok(Self(setting.base.clone()))
    }

    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// An agent that answers.
pub(crate) struct Agent {
    child: Option<Child>,
    pub(crate) place: Place,
    mountwatch: PathBuf,
}

impl Agent {
    /// Starts it with the back end that is under test, and waits until its socket is there.
    pub(crate) fn start(setting: &Setting, arguments: &[&str]) -> Result<Self> {
        Self::start_with(setting, arguments, |_| {})
    }

    pub(crate) fn start_with(
        setting: &Setting,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::start_at(setting, Place::new()?, arguments, change)
    }

    pub(crate) fn start_at(
        setting: &Setting,
        place: Place,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let socket = place.socket();
        let log = File::create(place.0.join("log"))?;
        let mut command = setting.command(&["agent", "--socket"]);
        command.arg(&socket).args(arguments).stdout(Stdio::null()).stderr(log);
        change(&mut command);
        let child = command.spawn().context("cannot start the agent")?;
        let mut agent = Self { child: Some(child), place, mountwatch: setting.mountwatch.clone() };
        let start = Instant::now();
        // A stale one may be there: it counts once it answers.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let ended = agent.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            ensure!(ended.is_none(), "the agent ended: {}", agent.log());
            ensure!(start.elapsed() < START_MAX, "the agent has no socket: {}", agent.log());
            thread::sleep(Duration::from_millis(10));
        }
        Ok(agent)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    /// What it said on stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.0.join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What it has in memory (`VmRSS` of proc_pid_status(5)).
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.context("a process without memory")?.trim().trim_end_matches(" kB");
        Ok(words.parse::<u64>()? << 10)
    }

    /// A command that asks it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&self.mountwatch, arguments)
    }

    pub(crate) fn command_of(&self, mountwatch: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(mountwatch);
        command.arg("--socket").arg(self.socket()).args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        finish(self.command(arguments).spawn().context("cannot start mountwatch")?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, signal).context("cannot send it a signal")
    }

    /// Kills it as the kernel does when there is no memory.
    pub(crate) fn kill(mut self) -> Result<Place> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(std::mem::replace(&mut self.place, Place(PathBuf::from("/nonexistent"))))
    }

    /// Ends it as a service manager does: its exit status is 0, and its socket is gone.
    pub(crate) fn terminate(mut self) -> Result<String> {
        let socket = self.socket();
        self.signal(Signal::TERM)?;
        let child = self.child.take().context("it ended already")?;
        let output = finish(child)?;
        let log = self.log();
        ensure_status(&output, 0).with_context(|| log.clone())?;
        ensure!(!socket.exists(), "the socket is still there");
        Ok(log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
