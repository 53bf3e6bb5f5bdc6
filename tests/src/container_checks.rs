//! Containers as a real runtime starts them (runc, crun), on an overlay as containerd prepares it: who
//! made each mount of a container, in which container, and that nothing of it stays.
//!
//! Runs where there are runtimes and the machine is there for the tests alone: `cargo xtask containers`.

use crate::agent::{Agent, Ground};
use crate::bundle::Bundle;
use crate::cli_checks::{Setting, ensure_status};
use crate::report::{self, Report, Verdict};
use crate::watch_checks::Watch;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// Runtimes, and how the names of the processes begin with which they make a container: crun runs a
/// copy of itself.
const RUNTIMES: [(&str, &str, &[&str]); 2] = [
    ("containers_runc", "runc", &["runc:["]),
    ("containers_crun", "crun", &["crun", "memfd:crun"]),
];
const LOOP: &str = "containers_loop";
/// One in so many of the loop is made by runc, which is slow under emulation.
const RUNC_ONE_IN: u32 = 10;
/// What one container may take under emulation.
const EACH_MAX: Duration = Duration::from_mins(1);
/// After the last process of a container ended.
const GONE_MAX: Duration = Duration::from_secs(20);
/// Of its memory after half of the containers, the agent may have so much more in the end. The first
/// dozen fill the heaps of its threads, and now and then one of them takes some megabytes more.
const GROWTH_PERCENT_MAX: u64 = 10;
const COLUMNS: &str =
    "TARGET,FSTYPE,UNIQ-ID,CREATED-BY,CREATED-COMM,CREATED-CONTAINER,CHANGED-BY,CONTAINER";
/// What a container is to have.
const FILE_SYSTEMS: [&str; 7] =
    ["overlay", "proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup2"];

/// Runs those that are wanted, with that many containers in the loop.
pub(crate) fn run(
    report: &mut Report,
    setting: &Setting,
    count: u32,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    for (name, runtime, comms) in RUNTIMES.into_iter().filter(|(name, ..)| is_wanted(name)) {
        let setting = setting.clone();
        let result =
            report::with_limit(EACH_MAX * 4, move |at| story(&setting, runtime, comms, at));
        report.add(name, verdict(result));
    }
    if is_wanted(LOOP) {
        let setting = setting.clone();
        let limit = EACH_MAX * 2 + EACH_MAX * count / 4;
        report.add(LOOP, verdict(report::with_limit(limit, move |at| many(&setting, count, at))));
    }
}

fn verdict(result: Result<Result<()>, String>) -> Verdict {
    match result {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
        Err(why) => Verdict::Failed(vec![why]),
    }
}

/// What `watch` told of the namespace of one container.
#[derive(Debug, Default)]
struct Story {
    attached: BTreeSet<u64>,
    detached: BTreeSet<u64>,
    /// Names of those who did it, and calls in the container.
    comms: BTreeSet<String>,
    calls: BTreeSet<String>,
    containers: BTreeSet<String>,
    born: u32,
    gone: u32,
}

/// One container, from the mount of its overlay to its end.
fn story(setting: &Setting, runtime: &str, comms: &[&str], at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    let bundle = Bundle::new(&ground, 1)?;
    let agent = Agent::start(setting, &[])?;
    let before = counts(&agent)?;
    let watch = Watch::of(&mut agent.command(&["watch", "-J", "--operations", "--initial"]))?;
    watch.present()?;
    let is_runtime = |comm: &str| comms.iter().any(|begin| comm.starts_with(begin));

    at("the start");
    bundle.mount()?;
    let pid = bundle.start(runtime)?;
    let inode = fs::metadata(format!("/proc/{pid}/ns/mnt"))?.ino();
    at("the questions");
    let ids = check_list(&agent, &bundle, pid, &is_runtime)?;
    check_answers(&agent, &bundle, pid, inode, &is_runtime)?;
    at("the end");
    bundle.end(runtime)?;
    bundle.unmount()?;

    let rootfs = bundle.rootfs();
    let mut story = Story::default();
    loop {
        let line = watch.line().context("waiting for the end of the overlay")?;
        if line["ns"] == inode {
            story.take(&line)?;
        } else if line["event"] == "detach" && line["mountpoint"] == *rootfs {
            break;
        }
    }
    story.check(&bundle.id, &ids, &is_runtime)?;
    println!(
        "{runtime}: {} mounts came and went, {} stayed until the end; made by {:?} with {:?}",
        story.attached.len(),
        ids.len(),
        story.comms,
        story.calls
    );
    watch.interrupt()?;
    nothing_stays(&agent, before)?;
    agent.terminate().map(drop)
}

/// Each mount that the container has now, as the index lists it; their unique IDs.
fn check_list(
    agent: &Agent,
    bundle: &Bundle,
    pid: u32,
    is_runtime: &dyn Fn(&str) -> bool,
) -> Result<BTreeSet<u64>> {
    let list = json(agent, &["list", "-J", "-l", "-N", &pid.to_string(), "-o", COLUMNS])?;
    let mounts = list["filesystems"].as_array().context("no array `filesystems`")?;
    let kernel = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let targets: Vec<_> = kernel.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let told: Vec<_> = mounts.iter().filter_map(|mount| mount["target"].as_str()).collect();
    ensure!(told == targets, "{told:?} are listed, the kernel has {targets:?}");
    for mount in mounts {
        let comm = mount["created-comm"].as_str().unwrap_or_default();
        ensure!(is_runtime(comm), "not made by the runtime: {mount}");
        ensure!(!mount["created-by"].is_null(), "no call made it: {mount}");
        for key in ["created-container", "container"] {
            ensure!(mount[key] == *bundle.id, "another container: {mount}");
        }
        let is_root = mount["target"] == "/";
        ensure!(!is_root || mount["changed-by"] == "pivot_root", "no pivot_root: {mount}");
    }
    for file_system in FILE_SYSTEMS {
        let is_there = mounts.iter().any(|mount| mount["fstype"] == file_system);
        ensure!(is_there, "no {file_system}: {kernel}");
    }
    let id = |mount: &Value| mount["uniq-id"].as_u64().context("no unique ID");
    mounts.iter().map(id).collect()
}

/// Other questions about the same.
fn check_answers(
    agent: &Agent,
    bundle: &Bundle,
    pid: u32,
    inode: u64,
    is_runtime: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let namespaces = json(agent, &["namespaces", "-J"])?;
    let namespaces = namespaces["namespaces"].as_array().context("no array `namespaces`")?;
    let own = namespaces.iter().find(|one| one["ns"] == inode).context("no such namespace")?;
    ensure!(own["pid"] == pid && own["container"] == *bundle.id, "another one: {own}");
    let info = json(agent, &["info", "-J", "-N", &pid.to_string(), "/data"])?.to_string();
    ensure!(info.contains(&bundle.id), "no container: {info}");
    let text = agent.run(&["info", "-N", &pid.to_string(), "/data"])?;
    ensure_status(&text, 0)?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let is_named = text.split_whitespace().any(is_runtime);
    ensure!(is_named, "it does not say who: {text}");
    ensure_status(&agent.run(&["verify"])?, 0)
}

impl Story {
    /// A line about the container's namespace, or an operation in it.
    fn take(&mut self, line: &Value) -> Result<()> {
        let event = line["event"].as_str().context("no event")?;
        match event {
            "attach" => {
                self.attached.insert(line["unique_id"].as_u64().context("no ID")?);
            }
            "detach" => {
                self.detached.insert(line["unique_id"].as_u64().context("no ID")?);
            }
            "namespace_born" => self.born += 1,
            "namespace_gone" => self.gone += 1,
            "operation" => {
                self.calls.insert(line["call"].as_str().context("no call")?.to_owned());
                let container = line["container"].as_str();
                self.containers.insert(container.unwrap_or("none").to_owned());
            }
            "move" | "attributes" => {}
            _ => anyhow::bail!("not expected: {line}"),
        }
        if ["attach", "move", "attributes"].contains(&event) {
            self.comms.insert(line["comm"].as_str().unwrap_or("nobody").to_owned());
        }
        Ok(())
    }

    fn check(
        &self,
        id: &str,
        stayed: &BTreeSet<u64>,
        is_runtime: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        ensure!(self.comms.iter().all(|comm| is_runtime(comm)), "others did it: {:?}", self.comms);
        ensure!(stayed.is_subset(&self.attached), "not told: {stayed:?} {:?}", self.attached);
        ensure!(self.attached.len() > stayed.len(), "the copies are not told: {:?}", self.attached);
        ensure!(
            self.attached == self.detached,
            "{:?} came, {:?} went",
            self.attached,
            self.detached
        );
        ensure!((self.born, self.gone) == (1, 1), "{} births, {} deaths", self.born, self.gone);
        for call in ["mount", "pivot_root", "umount2"] {
            ensure!(self.calls.contains(call), "no {call}: {:?}", self.calls);
        }
        let containers: Vec<_> = self.containers.iter().collect();
        ensure!(containers == [id], "it is {id}, told are {containers:?}");
        Ok(())
    }
}

/// Many containers: then the index is as it was, and the agent has not grown.
fn many(setting: &Setting, count: u32, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    let agent = Agent::start(setting, &[])?;
    let before = counts(&agent)?;
    let settled = count / 2;
    let mut early = (0, 0);
    let start = Instant::now();
    for number in 1..=count {
        at(&format!("container {number}"));
        let runtime = if number % RUNC_ONE_IN == 0 { "runc" } else { "crun" };
        let bundle = Bundle::new(&ground, number)?;
        bundle.mount()?;
        bundle.run(runtime)?;
        bundle.unmount()?;
        if number == settled {
            nothing_stays(&agent, before)?;
            early = (memory_kb(agent.pid())?, descriptors(agent.pid())?);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    nothing_stays(&agent, before)?;
    let late = (memory_kb(agent.pid())?, descriptors(agent.pid())?);
    println!(
        "{LOOP}: {count} containers in {seconds:.0} s; the agent has {} KiB after {settled}, {} KiB in \
         the end, and {} and {} descriptors",
        early.0, late.0, early.1, late.1
    );
    let status = json(&agent, &["status", "-J"])?;
    ensure!(status["losses"] == 0 && status["anomalies"] == 0, "{status}");
    ensure!(late.0 * 100 <= early.0 * (100 + GROWTH_PERCENT_MAX), "it grows: {early:?} {late:?}");
    ensure!(late.1 <= early.1, "descriptors are left: {early:?} {late:?}");
    agent.terminate().map(drop)
}

/// The index is what it was, and what the kernel says.
fn nothing_stays(agent: &Agent, before: (u64, u64)) -> Result<()> {
    report::eventually(GONE_MAX, || {
        let after = counts(agent)?;
        ensure!(after == before, "mounts and namespaces were {before:?}, are {after:?}");
        Ok(())
    })?;
    ensure_status(&agent.run(&["verify"])?, 0)
}

/// Mounts and namespaces.
fn counts(agent: &Agent) -> Result<(u64, u64)> {
    let status = json(agent, &["status", "-J"])?;
    let count = |key: &str| status[key].as_u64().with_context(|| format!("no {key}: {status}"));
    Ok((count("mounts")?, count("namespaces")?))
}

fn json(agent: &Agent, arguments: &[&str]) -> Result<Value> {
    let output = agent.run(arguments)?;
    ensure_status(&output, 0)?;
    serde_json::from_slice(&output.stdout).context("the output is no JSON")
}

/// What a process has in memory, in KiB.
pub(crate) fn memory_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
