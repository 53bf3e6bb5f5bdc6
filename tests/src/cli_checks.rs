//! The command `mountwatch`, run as a user runs it: output, exit status, nothing left behind.

use crate::agent_checks;
use crate::agent_load_checks;
use crate::command::Unshare;
use crate::doctor_checks;
use crate::exec_checks;
use crate::findmnt_checks;
use crate::operation_checks;
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::selftest_checks;
use crate::sys::{self, BpfKind};
use crate::visit;
use crate::watch_checks;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::BackendChoice;
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A start of the command under emulation takes half a minute on 7.3, and twice that beside another machine.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);
/// All of one check, besides what it is told to do.
const CHECK_LIMIT: Duration = Duration::from_mins(9);
/// User and group that own nothing.
pub(crate) const NOBODY: u32 = 65534;

/// What a check works with.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The command.
    pub(crate) mountwatch: PathBuf,
    /// The back end to ask for.
    pub(crate) backend: Option<&'static str>,
    /// A directory to mount on.
    pub(crate) base: PathBuf,
    /// How much is done in the checks of the agent that do something again and again.
    pub(crate) agent: Lengths,
}

/// How long some checks of the agent are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// Mounts and unmounts, each with a question after it.
    pub(crate) writes: u32,
    /// Seconds of questions by many at once.
    pub(crate) seconds: u64,
    /// Connections that only are there.
    pub(crate) connections: usize,
}

impl Setting {
    /// The command with these arguments, and the back end that is under test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.mountwatch);
        command.args(self.backend.iter().flat_map(|backend| ["--backend", backend]));
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The back end to ask for, in the words of the library.
    pub(crate) fn choice(&self) -> BackendChoice {
        match self.backend {
            Some("hooks") => BackendChoice::Hooks,
            Some("notify") => BackendChoice::Notify,
            Some("poll") => BackendChoice::Poll,
            _ => BackendChoice::Auto,
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        finish(self.command(arguments).spawn().context("cannot start mountwatch")?)
    }

    /// The back end that runs with it.
    pub(crate) fn backend_in_use(&self) -> Result<String> {
        let output = self.run(&["status", "-J"])?;
        let status: Value = serde_json::from_slice(&output.stdout).context("no JSON")?;
        Ok(status["backend"].as_str().context("no key backend")?.to_owned())
    }

    fn run_json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(arguments)?;
        ensure_status(&output, 0)?;
        serde_json::from_slice(&output.stdout).context("the output is no JSON")
    }
}

/// Waits for the command's end, and ends it if it does not come.
pub(crate) fn finish(mut child: Child) -> Result<Output> {
    // Both pipes are read at once: a full one would stop the command.
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                std::io::Read::read_to_end(&mut pipe, &mut bytes).ok();
            }
            bytes
        })
    };
    let stdout = read(stdout.map(|pipe| Box::new(pipe) as _));
    let stderr = read(stderr.map(|pipe| Box::new(pipe) as _));
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() > COMMAND_LIMIT => {
                child.kill()?;
                child.wait()?;
                bail!("the command does not end");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let taken = |thread: thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Output { status, stdout: taken(stdout), stderr: taken(stderr) })
}

/// Complains, with what the command said, if its exit status is another one.
pub(crate) fn ensure_status(output: &Output, expected: i32) -> Result<()> {
    ensure!(
        output.status.code() == Some(expected),
        "{}, expected was {expected}; stdout: {}; stderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// No BPF program stays loaded that was not there before, or that another process holds.
pub(crate) fn no_programs_but(before: &[u32]) -> Result<()> {
    report::eventually(Duration::from_secs(5), || {
        let mut left = sys::bpf_ids(BpfKind::Program).context("cannot count BPF programs")?;
        left.retain(|id| !before.contains(id));
        if !left.is_empty() {
            let held = visit::bpf_programs_of_others();
            left.retain(|id| !held.contains(id));
        }
        ensure!(left.is_empty(), "BPF programs stay loaded: {left:?}");
        Ok(())
    })
}

type Check = fn(&Setting) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("cli_usage", usage),
    ("cli_not_root", not_root),
    ("cli_list_mountinfo", list_mountinfo),
    ("cli_list_json", list_json),
    ("cli_findmnt_values", findmnt_checks::values),
    ("cli_findmnt_forms", findmnt_checks::forms),
    ("cli_is_mountpoint", findmnt_checks::is_mountpoint),
    ("cli_info", findmnt_checks::info),
    ("cli_namespaces", findmnt_checks::namespaces),
    ("cli_status_json", status_json),
    ("cli_doctor", doctor_checks::doctor),
    ("cli_without_types", doctor_checks::without_types),
    ("cli_verify", verify),
    ("cli_verify_divergence", verify_divergence),
    ("cli_selftest_notices_each_hook", selftest_checks::notices_each_hook),
    ("cli_selftest_killed", selftest_checks::is_gone_when_killed),
    ("cli_watch", watch_checks::follow),
    ("cli_watch_interrupt", watch_checks::interrupt),
    ("cli_watch_killed", watch_checks::killed),
    ("cli_watch_timeout", watch_checks::timeout),
    ("cli_operations", operation_checks::told),
    ("cli_operations_remembered", operation_checks::remembered),
    ("cli_agent_commands", agent_checks::commands),
    ("cli_agent_watch", agent_checks::watch),
    ("cli_agent_socket", agent_checks::socket),
    ("cli_agent_others", agent_checks::others),
    ("cli_agent_mapped", agent_checks::mapped),
    ("cli_agent_systemd", agent_checks::systemd),
    ("cli_agent_writes", agent_load_checks::writes),
    ("cli_agent_clients", agent_load_checks::clients),
    ("cli_agent_resume", agent_load_checks::resume),
    ("cli_agent_bad_input", agent_load_checks::bad_input),
    ("cli_agent_limits", agent_load_checks::limits),
    ("cli_exec_clean", exec_checks::clean),
    ("cli_exec_grandchild", exec_checks::left_by_a_grandchild),
    ("cli_exec_namespaces", exec_checks::left_in_other_namespaces),
    ("cli_exec_propagation", exec_checks::left_by_propagation),
    ("cli_exec_status", exec_checks::status),
    ("cli_exec_wait", exec_checks::wait),
    ("cli_exec_poll", exec_checks::poll),
];

/// The names of all checks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs all checks that are wanted.
pub(crate) fn run(report: &mut Report, setting: &Setting, is_wanted: &dyn Fn(&str) -> bool) {
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_wanted(name)) {
        let is_about_hooks =
            ["cli_verify_divergence", "cli_selftest_notices_each_hook", "cli_selftest_killed"];
        if is_about_hooks.contains(name) && matches!(setting.backend, Some("notify" | "poll")) {
            let why = "the hooks that this check leaves out are those of the back end hooks";
            report.add(name, Verdict::NotClaimed(why.to_owned()));
            continue;
        }
        if name.starts_with("cli_operations") && setting.backend == Some("poll") {
            let why = "the back end poll sees mounts, and nobody who makes them";
            report.add(name, Verdict::NotClaimed(why.to_owned()));
            continue;
        }
        if let Some(why) = findmnt_checks::reason_to_skip(name) {
            report.add(name, Verdict::Skipped(why));
            continue;
        }
        // Under emulation each of these takes some milliseconds.
        let told = u64::from(setting.agent.writes) / 20 + setting.agent.seconds;
        let limit = CHECK_LIMIT + Duration::from_secs(told);
        let (setting, check) = (setting.clone(), *check);
        let result = report::with_limit(limit, move |_| check(&setting));
        report.add(
            name,
            match result {
                Ok(Ok(())) => Verdict::Passed,
                Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
                Err(why) => Verdict::Failed(vec![why]),
            },
        );
    }
}

fn usage(setting: &Setting) -> Result<()> {
    for arguments in [&["frob"][..], &["list", "--frob"], &["watch", "-n", "many"], &[]] {
        let output = finish(
            Command::new(&setting.mountwatch)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot start mountwatch")?,
        )?;
        ensure_status(&output, 2).with_context(|| format!("{arguments:?}"))?;
    }
    let output = setting.run(&["--help"])?;
    ensure_status(&output, 0)
}

fn not_root(setting: &Setting) -> Result<()> {
    let programs = sys::bpf_ids(BpfKind::Program)?;
    // The directories above the command may be root's alone: the copy is where anyone can get it.
    let copy = std::env::temp_dir().join(format!("mountwatch-{}", std::process::id()));
    fs::copy(&setting.mountwatch, &copy).context("cannot copy mountwatch")?;
    let mut command = Setting { mountwatch: copy.clone(), ..setting.clone() }.command(&["status"]);
    let output = command.uid(NOBODY).gid(NOBODY).spawn().context("cannot start it as nobody");
    let output = output.and_then(finish);
    fs::remove_file(&copy)?;
    let output = output?;
    ensure_status(&output, 1)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.lines().count() == 1, "not one line: {said}");
    ensure!(said.starts_with("mountwatch: cannot "), "another form: {said}");
    no_programs_but(&programs)?;
    Ok(())
}

/// A scenario's world with something in it, for commands that look at it.
pub(crate) fn world(setting: &Setting) -> Result<World> {
    let mut world = World::new(&setting.base)?;
    for line in [
        "mkdir /a",
        "mount tmpfs -s \"with blank\" -o size=64k,nodev /a",
        "make shared /a",
        "mkdir \"/a/b\\nc\"",
        "mount tmpfs \"/a/b\\nc\"",
        "mkdir /d",
        "rbind /a /d",
    ] {
        world.line(MAIN, line)?;
    }
    world.namespace("A", MAIN, Unshare::Slave)?;
    world.line("A", "umount -l /d")?;
    Ok(world)
}

fn list_mountinfo(setting: &Setting) -> Result<()> {
    let world = world(setting)?;
    for viewer in world.viewers() {
        let task = viewer.tid.to_string();
        let output = setting.run(&["list", "--mountinfo", "-N", &task])?;
        ensure_status(&output, 0)?;
        let kernel = fs::read(format!("/proc/{task}/mountinfo"))?;
        let found = crate::mountinfo::differences(
            &output.stdout,
            &kernel,
            crate::kernel::Kernel::running()?.has_known_order(),
        );
        ensure!(found.is_empty(), "{}: {}", viewer.name, found.join("; "));
    }
    world.tear_down();
    Ok(())
}

fn list_json(setting: &Setting) -> Result<()> {
    let world = world(setting)?;
    let viewers = world.viewers();
    let viewer = viewers.first().context("no task")?;
    let list = setting.run_json(&["list", "-J", "-l", "-N", &viewer.tid.to_string()])?;
    let mounts = list["filesystems"].as_array().context("no array `filesystems`")?;
    let kernel = fs::read(format!("/proc/{}/mountinfo", viewer.tid))?;
    let lines = crate::mountinfo::lines(&kernel).len();
    ensure!(mounts.len() == lines, "{} mounts of {lines}", mounts.len());
    let path = setting.base.join("a");
    ensure!(
        mounts.iter().any(|mount| mount["target"].as_str() == path.to_str()),
        "no mount has the target {}",
        path.display()
    );
    let all = setting.run_json(&["list", "-J", "-A"])?;
    ensure!(all["filesystems"].is_array(), "no array `filesystems` with -A");
    world.tear_down();
    Ok(())
}

fn status_json(setting: &Setting) -> Result<()> {
    let output = setting.run(&["status", "-J"])?;
    let status: Value = serde_json::from_slice(&output.stdout).context("the output is no JSON")?;
    for key in [
        "backend",
        "coverage",
        "revision",
        "mounts",
        "namespaces",
        "records",
        "losses",
        "rescans",
        "rereads",
    ] {
        ensure!(!status[key].is_null(), "no key {key}: {status}");
    }
    ensure!(status["mounts"].as_u64() > Some(0), "no mounts: {status}");
    // What a back end cannot see is no reason for 1.
    let expected = i32::from(status["coverage"] == "stale");
    ensure_status(&output, expected)
}

fn verify(setting: &Setting) -> Result<()> {
    let world = world(setting)?;
    let output = setting.run(&["verify"])?;
    ensure_status(&output, 0)?;
    world.tear_down();
    Ok(())
}

/// Without the hook that tells of new mounts a mount that is made after the seed is missing.
fn verify_divergence(setting: &Setting) -> Result<()> {
    let mut world = world(setting)?;
    let mut child = setting
        .command(&["verify", "--without-hook", "attach", "--settle-ms", "3000"])
        .spawn()
        .context("cannot start mountwatch")?;
    // Again and again, so that one falls between the seed and the comparison.
    let mut number = 0;
    while child.try_wait()?.is_none() && number < 400 {
        number += 1;
        world.line(MAIN, &format!("mkdir /divergence{number}"))?;
        world.line(MAIN, &format!("mount tmpfs /divergence{number}"))?;
        thread::sleep(Duration::from_millis(100));
    }
    let output = finish(child)?;
    world.tear_down();
    ensure_status(&output, 1)?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("/divergence"), "the mount is not named: {said}");
    Ok(())
}
