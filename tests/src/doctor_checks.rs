//! `mountwatch doctor`, and what is taken on a host that allows less.

use crate::cli_checks::{Setting, ensure_status, finish};
use crate::sys;
use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use serde_json::Value;
use std::process::Output;
use std::thread;

/// Where the kernel describes its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// It names what is there and what runs, and its exit status says whether that is the best.
pub(crate) fn doctor(setting: &Setting) -> Result<()> {
    let output = finish(setting.command(&["doctor", "-J"]).spawn().context("cannot start it")?)?;
    let found = json(&output)?;
    let checks = list(&found, "checks")?;
    let names: Vec<_> = checks.iter().filter_map(|one| one["name"].as_str()).collect();
    for name in ["rights", "btf", "fentry", "kprobe", "tracepoint", "notifications", "statmount"] {
        ensure!(names.contains(&name), "no check {name}: {found}");
    }
    if let Some(backend) = setting.backend {
        ensure!(found["backend"] == backend, "another back end: {found}");
    }
    let is_best = found["backend"] == "hooks" && found["coverage"] == "complete";
    ensure!(found["well"] == is_best, "{found}");
    ensure_status(&output, i32::from(!is_best))?;
    ensure!(
        is_best || !list(&found, "blind")?.is_empty(),
        "it does not say what is unseen: {found}"
    );
    // Nothing costs nothing, and what does is said.
    ensure!(!list(&found, "costs")?.is_empty(), "no costs: {found}");
    let output = finish(setting.command(&["doctor"]).spawn().context("cannot start it")?)?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("What it costs:"), "{text}");
    Ok(())
}

/// Where the kernel's types are not to be read no program can be loaded: `auto` takes `poll`, says
/// why nothing better, and is right all the same.
pub(crate) fn without_types(setting: &Setting) -> Result<()> {
    let auto = Setting { backend: Some("auto"), ..setting.clone() };
    let status = json(&hidden(&auto, &["status", "-J"])?)?;
    ensure!(status["backend"] == "poll" && status["coverage"] == "polling", "{status}");
    let refused = list(&status, "refused")?;
    for backend in ["hooks", "notify"] {
        let start = format!("the back end {backend} does not start: ");
        let is_it = |why: &&Value| why.as_str().is_some_and(|why| why.starts_with(&start));
        let why = refused.iter().find(is_it).with_context(|| format!("{backend}: {status}"))?;
        let is_known = backend == "notify" || why.as_str().is_some_and(|why| why.contains(BTF));
        ensure!(is_known, "another reason: {why}");
    }
    ensure!(status["syscall_ns_before"].is_null(), "no program runs: {status}");
    ensure_status(&hidden(&auto, &["verify"])?, 0)?;
    let diagnosis = hidden(&auto, &["doctor", "-J"])?;
    ensure_status(&diagnosis, 1)?;
    let cures = list(&json(&diagnosis)?, "cures")?.len();
    ensure!(cures > 0, "nothing would help");
    Ok(())
}

/// Runs the command where the kernel's types are hidden, in a mount namespace of its own.
fn hidden(setting: &Setting, arguments: &[&str]) -> Result<Output> {
    thread::scope(|scope| {
        let run = || {
            sys::unshare(libc::CLONE_NEWNS).context("cannot unshare")?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            mount_bind("/dev/null", BTF).context("cannot hide the types")?;
            finish(setting.command(arguments).spawn().context("cannot start mountwatch")?)
        };
        scope.spawn(run).join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })
}

fn json(output: &Output) -> Result<Value> {
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).with_context(said)
}

fn list(found: &Value, key: &str) -> Result<Vec<Value>> {
    found[key].as_array().cloned().with_context(|| format!("no list {key}: {found}"))
}
