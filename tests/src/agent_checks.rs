//! `mountwatch agent`: what commands say through it, who may ask, how it starts and ends.

use crate::agent::{Agent, Ground, Place};
use crate::cli_checks::{NOBODY, Setting, ensure_status, finish, no_programs_but, world};
use crate::report;
use crate::scenario::MAIN;
use crate::sys::{self, BpfKind};
use crate::watch_checks::Watch;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch_mapped::{Binds, Mapped};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

/// How often both are asked, while others change what both are asked about.
const TRIES: u32 = 5;

/// Each command says through the agent what it says by itself.
pub(crate) fn commands(setting: &Setting) -> Result<()> {
    let world = world(setting)?;
    let agent = Agent::start(setting, &[])?;
    let viewers = world.viewers();
    let tids: Vec<String> = viewers.iter().map(|viewer| viewer.tid.to_string()).collect();
    let base = setting.base.to_str().context("no text")?;
    let a = format!("{base}/a");
    let columns = "TARGET,SOURCE,FSTYPE,OPTIONS,ID,PARENT,UNIQ-ID,MAJ:MIN,FSROOT,VFS-OPTIONS,\
                   FS-OPTIONS,PROPAGATION,OPT-FIELDS,NS,NS-ID,PEER-GROUP,MASTER,PROPAGATE-FROM,\
                   COVERED,BIND,PID,COMM,CONTAINER";
    for tid in tids.iter().map(String::as_str) {
        for arguments in [
            &["list", "-N", tid][..],
            &["list", "-N", tid, "-o", columns],
            &["list", "-N", tid, "-J", "-o", columns],
            &["list", "-N", tid, "--mountinfo"],
            &["list", "-N", tid, "-R", &a],
            &["list", "-N", tid, "-T", &a],
            &["list", "-N", tid, "/no/such/path"],
            &["list", "-N", tid, "-t", "tmpfs", "-l"],
            &["info", "-N", tid, &a],
            &["info", "-N", tid, "-J", &a],
            &["info", "-N", tid, "/no/such/path"],
            &["is-mountpoint", "-N", tid, &a],
            &["is-mountpoint", "-N", tid, "-J", &a],
            &["is-mountpoint", "-N", tid, "--no-bind", &a],
            &["is-mountpoint", "-N", tid, "/no/such/path"],
        ] {
            same(setting, &agent, arguments)?;
        }
    }
    for arguments in
        [&["is-mountpoint", "/proc"][..], &["is-mountpoint", "/no/such"], &["info", "/proc"]]
    {
        same(setting, &agent, arguments)?;
    }
    let output = agent.run(&["info", "/proc"])?;
    ensure!(said(&output.stdout).contains("Answered by agent at revision"), "who answered?");
    ensure_status(&agent.run(&["verify"])?, 0)?;
    let namespaces = agent.run(&["namespaces", "-J"])?;
    ensure_status(&namespaces, 0)?;
    for viewer in &viewers {
        let name = crate::task::namespace_of(viewer.pid, viewer.tid).context("it is gone")?;
        let inode = name.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        ensure!(said(&namespaces.stdout).contains(&inode), "no namespace {inode}");
    }
    let status: Value = serde_json::from_slice(&agent.run(&["status", "-J"])?.stdout)?;
    ensure!(status["counters"]["agent_calls"].as_u64() > Some(10), "nothing counted: {status}");
    // A back end that is named is one of the command's own; so is everything without a socket.
    let own = agent.run(&["--no-agent", "status", "-J"])?;
    let own: Value = serde_json::from_slice(&own.stdout)?;
    ensure!(own["counters"]["agent_calls"].is_null(), "the agent was asked: {own}");
    agent.terminate()?;
    world.tear_down();
    Ok(())
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What both have to say alike: all but who answers, and at which revision.
fn comparable(output: &Output) -> (Option<i32>, String, String) {
    let text = said(&output.stdout);
    let text = match serde_json::from_str::<Value>(&text) {
        Ok(mut value) => {
            for key in ["answered_by", "revision"] {
                value.as_object_mut().map(|object| object.remove(key));
            }
            value.to_string()
        }
        Err(_) => text
            .lines()
            .filter(|line| !line.starts_with("Answered by "))
            .flat_map(|line| [line, "\n"])
            .collect(),
    };
    let stderr = said(&output.stderr);
    let notes = stderr.lines().filter(|line| !line.contains(" note: ")).collect::<String>();
    (output.status.code(), text, notes)
}

fn same(setting: &Setting, agent: &Agent, arguments: &[&str]) -> Result<()> {
    let mut differences = String::new();
    for _ in 0..TRIES {
        let own = comparable(&finish(setting.command(arguments).spawn()?)?);
        let asked = comparable(&agent.run(arguments)?);
        if own == asked {
            return Ok(());
        }
        differences = format!("by itself {own:?}, through the agent {asked:?}");
    }
    bail!("{arguments:?}: {differences}")
}

const FOLLOWED: [&str; 12] = [
    "mkdir /w",
    "mount tmpfs -s some -o size=64k /w",
    "mkdir /w/x",
    "mount tmpfs /w/x",
    "remount -o ro,nosuid /w/x",
    "make shared /w",
    "mkdir /v",
    "mkdir /v/w",
    "bind /w /v/w",
    "rename /v /u",
    "umount /w/x",
    "umount -l /w",
];

/// Both follow the same changes, and tell the same of each.
pub(crate) fn watch(setting: &Setting) -> Result<()> {
    let mut world = world(setting)?;
    let agent = Agent::start(setting, &[])?;
    let own = Watch::start(setting, &["--initial"])?;
    let mut command = agent.command(&["watch", "-J", "--initial"]);
    let asked = Watch::of(&mut command)?;
    let (own_present, asked_present) = (own.present()?, asked.present()?);
    let below = |lines: Vec<Value>| -> Vec<Value> {
        lines.into_iter().filter_map(|line| about(line, setting)).collect()
    };
    ensure!(below(own_present) == below(asked_present), "what is there differs");
    world.line(MAIN, "mkdir /mark")?;
    let (mut own_lines, mut asked_lines) = (Vec::new(), Vec::new());
    for (number, line) in FOLLOWED.iter().enumerate() {
        world.line(MAIN, line)?;
        // What happens while one looks, it may tell as one change: so each waits for the other.
        let mark = format!("mark-{number}");
        world.line(MAIN, &format!("mount tmpfs -s {mark} /mark"))?;
        own_lines.extend(told_until(&own, &mark, setting)?);
        asked_lines.extend(told_until(&asked, &mark, setting)?);
    }
    ensure!(own_lines.len() > 5, "too little was told: {own_lines:?}");
    for (own, asked) in own_lines.iter().zip(&asked_lines) {
        ensure!(own == asked, "by itself {own}, through the agent {asked}");
    }
    ensure!(own_lines.len() == asked_lines.len(), "one tells more");
    own.interrupt()?;
    asked.interrupt()?;
    agent.terminate()?;
    world.tear_down();
    Ok(())
}

/// What is told of the world up to a mount with this source, and without such.
fn told_until(watch: &Watch, mark: &str, setting: &Setting) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    loop {
        let line = watch.line().with_context(|| format!("waiting for {mark}"))?;
        let source = line["source"].as_str().unwrap_or_default().to_owned();
        if !source.starts_with("mark-") {
            lines.extend(about(line, setting));
        } else if source == mark {
            return Ok(lines);
        }
    }
}

/// What two trackers say alike of a change of the world: not when, at which revision, and the how
/// manieth operation it was.
fn about(mut line: Value, setting: &Setting) -> Option<Value> {
    let base = setting.base.to_str()?;
    if !line["mountpoint"].as_str()?.starts_with(base) {
        return None;
    }
    for key in ["time", "revision", "ktime_ns", "operation"] {
        line.as_object_mut()?.remove(key);
    }
    Some(line)
}

/// A stale socket is replaced, a live one is not, and the end is clean.
pub(crate) fn socket(setting: &Setting) -> Result<()> {
    let programs = sys::bpf_ids(BpfKind::Program)?;
    let agent = Agent::start(setting, &[])?;
    let known = fs::metadata(agent.socket())?;
    ensure!(known.permissions().mode() & 0o777 == 0o660, "another mode");
    let directory = agent.place.0.join("run");
    ensure!(fs::metadata(directory)?.permissions().mode() & 0o777 == 0o755, "another mode");
    // Another one gives up, and this one does not notice.
    let second = agent.command(&["agent"]).spawn().context("cannot start it")?;
    let second = finish(second)?;
    ensure_status(&second, 1)?;
    let text = said(&second.stderr);
    ensure!(text.lines().count() == 1 && text.contains("another agent serves"), "{text}");
    ensure_status(&agent.run(&["is-mountpoint", "-q", "/proc"])?, 0)?;
    // Killed, it leaves the file behind, which commands do not mind, and the next agent replaces.
    let place = agent.kill()?;
    ensure!(place.socket().exists(), "the socket went with the agent");
    let mut command = setting.command(&["is-mountpoint", "-v", "/proc", "--socket"]);
    let output = finish(command.arg(place.socket()).spawn()?)?;
    ensure_status(&output, 0)?;
    ensure!(!said(&output.stderr).contains("answered by agent"), "who answered?");
    no_programs_but(&programs)?;
    let agent = Agent::start_at(setting, place, &["--socket-mode", "600"], |_| {})?;
    let again = fs::metadata(agent.socket())?;
    ensure!(again.ino() != known.ino() || again.ctime() != known.ctime(), "the old socket");
    ensure!(again.permissions().mode() & 0o777 == 0o600, "another mode");
    ensure_status(&agent.run(&["is-mountpoint", "-q", "/proc"])?, 0)?;
    agent.terminate()?;
    // What is no socket stays.
    let place = Place::new()?;
    fs::create_dir(place.0.join("run"))?;
    fs::write(place.socket(), "precious")?;
    let mut command = setting.command(&["agent", "--socket"]);
    let output = finish(command.arg(place.socket()).spawn()?)?;
    ensure_status(&output, 1)?;
    ensure!(fs::read(place.socket())? == b"precious", "it is gone");
    // Somebody who listens there and knows no lock is left alone as well.
    fs::remove_file(place.socket())?;
    let _listener = UnixListener::bind(place.socket())?;
    let mut command = setting.command(&["agent", "--socket"]);
    ensure_status(&finish(command.arg(place.socket()).spawn()?)?, 1)?;
    no_programs_but(&programs)
}

/// Another user sees the mount namespace alone in which its process is; a member of the group sees all.
pub(crate) fn others(setting: &Setting) -> Result<()> {
    const MEMBERS: u32 = 54_321;
    let world = world(setting)?;
    let members = MEMBERS.to_string();
    let agent = Agent::start(setting, &["--socket-mode", "666", "--socket-group", &members])?;
    // The directories above the command may be root's alone.
    let copy = agent.place.0.join("mountwatch");
    fs::copy(&setting.mountwatch, &copy).context("cannot copy mountwatch")?;
    let run = |gid: u32, arguments: &[&str]| -> Result<Output> {
        let mut command = agent.command_of(&copy, arguments);
        command.current_dir("/").uid(NOBODY).gid(gid);
        finish(command.spawn().context("cannot start it as nobody")?)
    };
    let namespaces = |output: Output| -> Result<Vec<Value>> {
        ensure_status(&output, 0)?;
        let value: Value = serde_json::from_slice(&output.stdout)?;
        Ok(value["namespaces"].as_array().context("no namespaces")?.clone())
    };
    let own = fs::metadata("/proc/self/ns/mnt")?.ino();
    let seen = namespaces(run(NOBODY, &["namespaces", "-J"])?)?;
    ensure!(seen.len() == 1 && seen[0]["ns"].as_u64() == Some(own), "sees {seen:?}, not {own}");
    let all = namespaces(run(MEMBERS, &["namespaces", "-J"])?)?;
    ensure!(all.len() > 2, "a member sees {all:?}");

    let viewers = world.viewers();
    let viewer = viewers.first().context("no task")?;
    let inode = crate::task::namespace_of(viewer.pid, viewer.tid).context("it is gone")?;
    let inode = inode.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let list = run(NOBODY, &["list", "--ns", &inode])?;
    ensure_status(&list, 1)?;
    ensure!(list.stdout.is_empty(), "it is shown");
    let asked = run(NOBODY, &["is-mountpoint", "--ns", &inode, "/"])?;
    ensure_status(&asked, 1)?;
    ensure!(said(&asked.stderr).contains("members of the socket's group alone"), "{asked:?}");
    ensure_status(&run(MEMBERS, &["list", "--ns", &inode])?, 0)?;
    ensure_status(&run(MEMBERS, &["is-mountpoint", "-q", "--ns", &inode, "/"])?, 0)?;

    // What it may see is what the kernel shows it.
    ensure_status(&run(NOBODY, &["is-mountpoint", "-q", "/proc"])?, 0)?;
    let text = run(NOBODY, &["list", "--mountinfo"])?;
    ensure_status(&text, 0)?;
    let kernel = fs::read("/proc/self/mountinfo")?;
    let ordered = crate::kernel::Kernel::running()?.has_known_order();
    let found = crate::mountinfo::differences(&text.stdout, &kernel, ordered);
    ensure!(found.is_empty(), "{}", found.join("; "));
    let verified = run(NOBODY, &["verify"])?;
    ensure!(!verified.status.success(), "it could not read the others");
    let log = agent.terminate()?;
    ensure!(!log.contains("panicked"), "{log}");
    world.tear_down();
    Ok(())
}

/// The agent hands out its index in shared memory, to each what it may see.
pub(crate) fn mapped(setting: &Setting) -> Result<()> {
    let ground = Ground::new(setting)?;
    let path = ground.directory("mapped")?;
    let agent = Agent::start(setting, &[])?;
    let socket = agent.socket().with_file_name("mapped.sock");
    let mut own = Mapped::connect(&socket)?;
    let inode = u32::try_from(fs::metadata("/proc/self/ns/mnt")?.ino())?;
    let mut named = Mapped::connect_to(&socket, inode)?;
    for round in 0..20 {
        for is_mounted in [true, false] {
            if is_mounted {
                mount("mapped", &path, "tmpfs", MountFlags::empty(), None)?;
            } else {
                unmount(&path, UnmountFlags::empty())?;
            }
            for table in [&mut own, &mut named] {
                table.sync()?;
                let answer = table.is_mount_point(path.as_os_str().as_bytes(), Binds::Count)?;
                ensure!(answer.value == is_mounted, "round {round}: {answer:?}");
            }
        }
    }
    let list = own.list()?.value.len();
    let lines = fs::read_to_string("/proc/self/mountinfo")?.lines().count();
    ensure!(list == lines, "{list} mounts in the table, {lines} in mountinfo");
    // Its end is seen, and that of the file too.
    let log = agent.terminate()?;
    ensure!(!log.contains("panicked"), "{log}");
    ensure!(own.is_mount_point(b"/proc", Binds::Count).is_err(), "nobody keeps it");
    ensure!(!socket.exists(), "the socket is left");
    Ok(())
}

/// sd_notify(3): ready once it answers, alive as often as is asked for, and the end.
pub(crate) fn systemd(setting: &Setting) -> Result<()> {
    const WATCHDOG: Duration = Duration::from_secs(2);
    let place = Place::new()?;
    let path = place.0.join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_mins(1)))?;
    let hear = || -> Result<String> {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).context("it says nothing")?;
        Ok(said(bytes.get(..length).unwrap_or_default()))
    };
    let agent = Agent::start_at(setting, place, &[], |command| {
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command.env_remove("WATCHDOG_PID");
    })?;
    let mut heard = Vec::new();
    while !heard.iter().any(|state: &String| state.starts_with("READY=1")) {
        heard.push(hear()?);
    }
    let status = heard.last().context("nothing")?;
    ensure!(status.contains("STATUS=") && status.contains("mount namespaces at"), "{status}");
    ensure!(heard.iter().all(|state| !state.contains("WATCHDOG")), "alive before it is ready");
    let start = Instant::now();
    let mut signs = 0;
    while start.elapsed() < WATCHDOG * 3 {
        signs += u32::from(hear()?.contains("WATCHDOG=1"));
    }
    ensure!(signs >= 3, "{signs} signs of life in three periods");
    // One that is stopped says nothing: that is what the manager watches for.
    let pid = agent.pid();
    ensure!(pid > 0, "no process");
    thread::spawn(move || agent.terminate());
    report::eventually(Duration::from_secs(30), || {
        ensure!(hear()?.contains("STOPPING=1"), "another state");
        Ok(())
    })
}
