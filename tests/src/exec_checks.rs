//! `mountwatch exec`: what is left behind is told, what others do is not, and the commands that are
//! printed undo it.

use crate::cli_checks::{Setting, ensure_status, finish};
use crate::{report, sys};
use anyhow::{Context as _, Result, anyhow, ensure};
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Something that a command does comes long before, also under emulation.
const PATIENCE: Duration = Duration::from_secs(50);
/// A name that a shell does not leave alone.
const ODD: &str = "it's $x\n100%\\n";

/// A place to mount on, in a mount namespace of its own.
struct Stage<'a> {
    setting: &'a Setting,
    /// A file system of its own; the directory `a` is in it.
    base: PathBuf,
}

/// Runs a check in a thread that has a mount namespace of its own, as what it starts has too.
fn staged(
    setting: &Setting,
    propagation: MountPropagationFlags,
    check: impl FnOnce(&Stage<'_>) -> Result<()> + Send,
) -> Result<()> {
    let run = || {
        enter_own_namespace()?;
        let base = setting.base.clone();
        mount("stage", &base, "tmpfs", MountFlags::empty(), None).context("cannot mount")?;
        mount_change(&base, propagation).context("cannot change the propagation")?;
        fs::create_dir(base.join("a"))?;
        check(&Stage { setting, base: base.clone() })?;
        unmount(&base, UnmountFlags::DETACH).context("cannot unmount")
    };
    thread::scope(|scope| scope.spawn(run).join().map_err(|_| anyhow!("the thread panicked"))?)
}

fn enter_own_namespace() -> Result<()> {
    sys::unshare(libc::CLONE_NEWNS).context("no mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make it private")
}

impl Stage<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Starts `exec` with these options and a script, to which the base directory and then these
    /// words are given.
    fn start(&self, options: &[&str], script: &str, words: &[&str]) -> Result<Child> {
        let mut command = self.setting.command(&[&["exec"], options].concat());
        command.args(["--", "sh", "-c", script, "sh"]).arg(&self.base).args(words);
        command.spawn().context("cannot start mountwatch")
    }

    fn exec(&self, options: &[&str], script: &str, words: &[&str]) -> Result<Output> {
        finish(self.start(options, script, words)?)
    }

    /// The same with a report in JSON.
    fn report(&self, script: &str, words: &[&str], status: i32) -> Result<Value> {
        let reporting = self.start_reporting(script, words)?;
        reporting.wait(status)
    }

    fn start_reporting(&self, script: &str, words: &[&str]) -> Result<Reporting> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mountwatch-report-{}-{number}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let options = ["-J", "--output", file.to_str().context("no text")?];
        Ok(Reporting { child: self.start(&options, script, words)?, file })
    }

    fn wait_for(&self, name: &str) -> Result<()> {
        report::eventually(PATIENCE, || {
            ensure!(self.path(name).exists(), "{name} does not come");
            Ok(())
        })
    }
}

/// A command that will have a report in a file.
struct Reporting {
    child: Child,
    file: PathBuf,
}

impl Reporting {
    /// Waits for its end, and gives the report.
    fn wait(self, status: i32) -> Result<Value> {
        let output = finish(self.child)?;
        let text = fs::read(&self.file).unwrap_or_default();
        fs::remove_file(&self.file).ok();
        let said = || String::from_utf8_lossy(&text).into_owned();
        ensure_status(&output, status).with_context(said)?;
        let found: Value = serde_json::from_slice(&text).with_context(said)?;
        ensure!(found["status"] == status, "another status: {found}");
        for key in ["command", "backend", "revision", "coverage", "duration_ns", "notes"] {
            ensure!(!found[key].is_null(), "no key {key}: {found}");
        }
        Ok(found)
    }
}

/// What is mounted in the namespace of this thread.
fn mounts() -> Result<Vec<u8>> {
    fs::read("/proc/thread-self/mountinfo").context("cannot read mountinfo")
}

fn list<'a>(found: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    found[key].as_array().with_context(|| format!("no list {key}: {found}"))
}

/// Runs the commands of a report, in their order.
fn undo(found: &Value) -> Result<()> {
    for left in list(found, "mounts")? {
        let Some(command) = left["unmount"].as_str() else {
            ensure!(!left["goes_with"].is_null(), "no way to unmount it: {left}");
            continue;
        };
        let output = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .output()
            .context("cannot start a shell")?;
        ensure_status(&output, 0).with_context(|| command.to_owned())?;
    }
    Ok(())
}

const PRIVATE: MountPropagationFlags = MountPropagationFlags::PRIVATE;

/// Whoever cleans up hears nothing, and stdout is the command's.
pub(crate) fn clean(setting: &Setting) -> Result<()> {
    staged(setting, PRIVATE, |stage| {
        let before = mounts()?;
        let script = r#"echo "$2"; mount -t tmpfs x "$1/a" && umount "$1/a""#;
        let output = stage.exec(&[], script, &["said"])?;
        ensure_status(&output, 0)?;
        ensure!(output.stdout == b"said\n", "another stdout: {output:?}");
        ensure!(output.stderr.is_empty(), "not silent: {output:?}");
        // What a private namespace has ends with it.
        let output = stage.exec(&["--namespace"], r#"mount -t tmpfs x "$1/a""#, &[])?;
        ensure_status(&output, 0)?;
        ensure!(output.stderr.is_empty(), "not silent: {output:?}");
        ensure!(mounts()? == before, "the mounts are others than before");
        Ok(())
    })
}

/// A grandchild in a session of its own, whose parent is gone, mounts three times; so does somebody
/// else meanwhile.
pub(crate) fn left_by_a_grandchild(setting: &Setting) -> Result<()> {
    staged(setting, PRIVATE, |stage| {
        fs::create_dir(stage.path("other"))?;
        fs::create_dir(stage.path(ODD))?;
        let script = r#"
            ( setsid sh -c '
                touch "$1/ready"
                while [ ! -e "$1/go" ]; do sleep 0.05; done
                mount -t tmpfs one "$1/a" && mkdir "$1/a/b" && mount -t tmpfs two "$1/a/b"
                mount -t tmpfs three "$1/a/b"
                mount -t tmpfs four "$1/$2"
                touch "$1/done"
            ' sh "$1" "$2" & )
            while [ ! -e "$1/done" ]; do sleep 0.05; done"#;
        let reporting = stage.start_reporting(script, &[ODD])?;
        stage.wait_for("ready")?;
        mount("other", stage.path("other"), "tmpfs", MountFlags::empty(), None)?;
        let before = mounts()?;
        File::create(stage.path("go"))?;
        let found = reporting.wait(90)?;
        let left = list(&found, "mounts")?;
        ensure!(left.len() == 4 && list(&found, "namespaces")?.is_empty(), "{found}");
        for one in left {
            ensure!(one["owner"] == "descendant" && one["comm"] == "mount", "{one}");
            ensure!(one["time"].is_string() && one["pid"].is_u64(), "{one}");
            ensure!(one["call"].as_str().is_some_and(|call| call.starts_with("mount(")), "{one}");
        }
        undo(&found)?;
        ensure!(mounts()? == before, "the commands do not undo it: {found}");
        unmount(stage.path("other"), UnmountFlags::empty())?;
        Ok(())
    })
}

/// Leaks in another namespace: one that a process that is not the command's holds open, and one that
/// the command made and that a descriptor of its daemon keeps.
pub(crate) fn left_in_other_namespaces(setting: &Setting) -> Result<()> {
    staged(setting, PRIVATE, |stage| {
        let before = mounts()?;
        let other = another_namespace()?;
        let way = format!("/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
        let script = r#"nsenter --mount="$2" mount -t tmpfs x "$1/a""#;
        let found = stage.report(script, &[&way], 90)?;
        let left = list(&found, "mounts")?;
        let command = format!("nsenter --mount={way} umount {}", stage.path("a").display());
        ensure!(left.len() == 1 && list(&found, "namespaces")?.is_empty(), "{found}");
        ensure!(left.iter().all(|one| one["unmount"] == *command), "not {command}: {found}");
        undo(&found)?;
        drop(other);

        let script = r#"
            unshare -m sh -c 'mount -t tmpfs x "$1/a"; echo $$ > "$1/pid"; exec sleep 1000' sh "$1" &
            while [ ! -s "$1/pid" ]; do sleep 0.05; done
            pid=$(cat "$1/pid")
            exec 7< "/proc/$pid/ns/mnt"
            setsid sleep 1000 < /dev/null > /dev/null 2>&1 &
            exec 7<&-
            kill -9 "$pid""#;
        let found = stage.report(script, &[], 90)?;
        let left = list(&found, "namespaces")?;
        let keeper = left.first().with_context(|| format!("no namespace: {found}"))?;
        ensure!(left.len() == 1 && keeper["held_by_fd"] == 7, "{found}");
        let pid = keeper["held_by_pid"].as_i64().context("nobody holds it")?;
        let command =
            format!("nsenter --mount=/proc/{pid}/fd/7 umount {}", stage.path("a").display());
        let made = list(&found, "mounts")?;
        ensure!(made.len() == 1 && made.iter().all(|one| one["unmount"] == *command), "{found}");
        undo(&found)?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
        kill_process(pid, Signal::KILL)?;
        ensure!(mounts()? == before, "the mounts are others than before");
        Ok(())
    })
}

/// A mount namespace like this one that a descriptor of this process keeps.
fn another_namespace() -> Result<File> {
    let make = || {
        sys::unshare(libc::CLONE_NEWNS).context("no mount namespace")?;
        File::open("/proc/thread-self/ns/mnt").context("cannot open a namespace")
    };
    thread::scope(|scope| scope.spawn(make).join().map_err(|_| anyhow!("the thread panicked"))?)
}

/// A copy in a namespace that is a peer goes with its original.
pub(crate) fn left_by_propagation(setting: &Setting) -> Result<()> {
    staged(setting, MountPropagationFlags::SHARED, |stage| {
        let other = another_namespace()?;
        let way = format!("--mount=/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
        let in_other = || {
            let output = Command::new("nsenter")
                .args([&way, "cat", "/proc/self/mountinfo"])
                .output()
                .context("cannot start nsenter")?;
            ensure_status(&output, 0)?;
            Ok::<_, anyhow::Error>(output.stdout)
        };
        let before = (mounts()?, in_other()?);
        let script = r#"mount -t tmpfs x "$1/a" && mkdir "$1/a/b" && mount -t tmpfs y "$1/a/b""#;
        let found = stage.report(script, &[], 90)?;
        let left = list(&found, "mounts")?;
        let with = left.iter().filter(|one| one["goes_with"].is_u64()).count();
        ensure!(left.len() == 4 && with == 2, "{found}");
        undo(&found)?;
        ensure!((mounts()?, in_other()?) == before, "the commands do not undo it: {found}");
        Ok(())
    })
}

/// The command's exit status is kept, whatever it left; signals reach it.
pub(crate) fn status(setting: &Setting) -> Result<()> {
    staged(setting, PRIVATE, |stage| {
        let before = mounts()?;
        let junit = std::env::temp_dir().join(format!("mountwatch-junit-{}", std::process::id()));
        let option = ["--junit", junit.to_str().context("no text")?];
        let output = stage.exec(&option, r#"mount -t tmpfs x "$1/a"; exit 3"#, &["\u{1}<&"])?;
        ensure_status(&output, 3)?;
        unmount(stage.path("a"), UnmountFlags::empty())?;
        let text = fs::read_to_string(&junit)?;
        fs::remove_file(&junit)?;
        let parsed = Report::deserialize_from_str(&text).with_context(|| text.clone())?;
        let cases: Vec<_> = parsed.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
        let is_failure = |status: &TestCaseStatus| {
            matches!(status, TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, .. })
        };
        ensure!(cases.len() == 2 && cases.iter().all(|case| is_failure(&case.status)), "{text}");

        let output = stage.exec(&[], "kill -9 $$", &[])?;
        ensure_status(&output, 128 + 9)?;
        for (command, status) in [("/nothing/here", 127), ("/proc/version", 126)] {
            let output = finish(setting.command(&["exec", command]).spawn()?)?;
            ensure_status(&output, status)?;
            ensure!(output.stderr.starts_with(b"mountwatch: cannot run "), "{output:?}");
        }
        let script = r#"trap "exit 7" TERM; touch "$1/ready"; while :; do sleep 0.05; done"#;
        let child = stage.start(&[], script, &[])?;
        stage.wait_for("ready")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        ensure_status(&finish(child)?, 7)?;
        ensure!(mounts()? == before, "the mounts are others than before");
        Ok(())
    })
}

/// A daemon of the command is waited for, if that is wanted, and named if not.
pub(crate) fn wait(setting: &Setting) -> Result<()> {
    staged(setting, PRIVATE, |stage| {
        let script = r#"mount -t tmpfs x "$1/a"
            ( setsid sh -c 'exec > /dev/null 2>&1; sleep 2; umount "$1/a"' sh "$1" & )"#;
        let output = stage.exec(&["--wait", "50"], script, &[])?;
        ensure_status(&output, 0)?;
        ensure!(output.stderr.is_empty(), "not silent: {output:?}");
        let script = "( setsid sh -c 'exec > /dev/null 2>&1; exec sleep 1000' & )";
        let found = stage.report(script, &[], 0)?;
        let processes = list(&found, "processes")?;
        ensure!(processes.len() == 1 && found["clean"] == true, "{found}");
        let pid = processes.iter().find_map(|one| one["pid"].as_i64()).context("no process")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
        kill_process(pid, Signal::KILL)?;
        Ok(())
    })
}

/// Where nobody sees who mounts, everything that is new counts, and that is said.
pub(crate) fn poll(setting: &Setting) -> Result<()> {
    let setting = Setting { backend: Some("poll"), ..setting.clone() };
    staged(&setting, PRIVATE, |stage| {
        let before = mounts()?;
        let found = stage.report(r#"mount -t tmpfs x "$1/a""#, &[], 90)?;
        let left = list(&found, "mounts")?;
        ensure!(left.len() == 1 && left.iter().all(|one| one["owner"] == "unknown"), "{found}");
        ensure!(!list(&found, "notes")?.is_empty(), "it does not say what that is worth: {found}");
        undo(&found)?;
        ensure!(mounts()? == before, "the commands do not undo it: {found}");
        Ok(())
    })
}
