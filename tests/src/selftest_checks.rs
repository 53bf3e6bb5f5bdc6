//! The self-test notices every hook that is attached in name alone, and leaves nothing behind.

use crate::cli_checks::{Setting, finish, no_programs_but};
use crate::{report, sys};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

/// A start under emulation takes some seconds.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Into how many groups the hooks are put.
const GROUPS: usize = 5;
/// Without these others cannot be judged.
const ALONE: [&str; 3] = ["scan", "commit", "copy_tree"];

/// Each hook that this kernel has is muted, with others or alone. The self-test must blame those that are
/// and no other, and the coverage must say so, unless a replacement works.
pub(crate) fn notices_each_hook(setting: &Setting) -> Result<()> {
    let whole = status(setting, &[])?;
    ensure!(whole["selftest"]["ok"] == true, "it fails without a reason: {}", whole["selftest"]);
    ensure!(whole["coverage"] == "complete", "not complete: {}", whole["blind"]);
    let attached = whole["attached"].as_array().context("no array `attached`")?;
    let hooks: BTreeSet<_> = attached.iter().filter_map(|one| one["hook"].as_str()).collect();
    // The hooks that every kernel has.
    ensure!(hooks.len() >= 13, "few hooks: {hooks:?}");
    let (alone, others): (Vec<_>, Vec<_>) =
        hooks.into_iter().partition(|hook| ALONE.contains(hook));
    let group = |first: usize| others.iter().copied().skip(first).step_by(GROUPS).collect();
    let mut found = Vec::new();
    for group in alone.into_iter().map(|hook| vec![hook]).chain((0..GROUPS).map(group)) {
        let Err(error) = blames(&muted(setting, &group)?, &group) else { continue };
        // Without one of them another may not be tested.
        println!("cli_selftest_notices_each_hook: one by one, since {error:#}");
        for hook in group {
            let status = muted(setting, &[hook])?;
            if let Err(error) = blames(&status, &[hook]) {
                found.push(format!("{hook}: {error:#}: {}", status["selftest"]));
            }
        }
    }
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}

/// Hooks that tell who and whence, on which the index does not rest: without them nothing is blind. What
/// is said where calls are not told; copies are not looked at.
const OF_OPERATIONS: [(&str, &str); 2] = [("call", "calls are not told"), ("clone_mnt", "")];

/// A start takes half the time without them.
const WITHOUT_OPERATIONS: [&str; 4] = ["--without-hook", "call", "--without-hook", "clone_mnt"];

fn muted(setting: &Setting, hooks: &[&str]) -> Result<Value> {
    let mut arguments: Vec<_> = hooks.iter().flat_map(|hook| ["--mute-hook", hook]).collect();
    if OF_OPERATIONS.iter().all(|(name, _)| !hooks.contains(name)) {
        arguments.extend(WITHOUT_OPERATIONS);
    }
    status(setting, &arguments)
}

/// All of `hooks`, and no other.
fn blames(status: &Value, hooks: &[&str]) -> Result<()> {
    let sentences = |key: &str| -> Vec<&str> {
        status[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let named = |key: &str| -> BTreeSet<&str> {
        let list = status["selftest"][key].as_array();
        list.into_iter().flatten().filter_map(|one| one["hook"].as_str()).collect()
    };
    let (failed, replaced) = (named("failed"), named("replaced"));
    let of_operations = OF_OPERATIONS.iter().filter(|(name, _)| hooks.contains(name));
    for (name, said) in of_operations.filter(|(_, said)| !said.is_empty()) {
        let is_said = sentences("unattributed").iter().any(|one| one.contains(said));
        ensure!(is_said, "nothing is said of {name}");
    }
    let is_of_index = |hook: &&&str| OF_OPERATIONS.iter().all(|(name, _)| name != *hook);
    let of_index: BTreeSet<_> = hooks.iter().filter(is_of_index).copied().collect();
    ensure!(failed == of_index, "it blames {failed:?}, muted were {hooks:?}");
    for hook in &of_index {
        let sentence = format!("hook {hook} does not fire: ");
        let is_blind = sentences("blind").iter().any(|said| said.contains(&sentence));
        let is_replaced = replaced.contains(hook);
        ensure!(is_blind != is_replaced, "{hook} blind: {is_blind}, replaced: {is_replaced}");
    }
    let is_ok = of_index.is_subset(&replaced);
    ensure!((status["selftest"]["ok"] == true) == is_ok, "`ok` does not say so");
    Ok(())
}

/// Killed in the middle of the self-test it leaves nothing behind: no mount, no namespace, no
/// program.
pub(crate) fn is_gone_when_killed(setting: &Setting) -> Result<()> {
    let programs = sys::bpf_ids(sys::BpfKind::Program)?;
    let namespaces = status(setting, &WITHOUT_OPERATIONS)?["namespaces"].clone();
    let mounts = fs::read("/proc/self/mountinfo")?;
    for delay_ms in [0, 10, 60] {
        let mut child = setting
            .command(&[&["status"], &WITHOUT_OPERATIONS[..]].concat())
            .spawn()
            .context("cannot start mountwatch")?;
        let killed = wait_for_canary(&child).map(|()| {
            thread::sleep(Duration::from_millis(delay_ms));
        });
        child.kill()?;
        child.wait()?;
        killed?;
    }
    no_programs_but(&programs)?;
    ensure!(fs::read("/proc/self/mountinfo")? == mounts, "mounts are left");
    report::eventually(Duration::from_secs(10), || {
        let now = status(setting, &WITHOUT_OPERATIONS)?["namespaces"].clone();
        ensure!(now == namespaces, "{now} namespaces, {namespaces} before");
        Ok(())
    })
}

/// Waits until the self-test is under way.
fn wait_for_canary(child: &Child) -> Result<()> {
    let tasks = format!("/proc/{}/task", child.id());
    let start = Instant::now();
    while start.elapsed() < START_LIMIT {
        for task in fs::read_dir(&tasks)? {
            // A thread may be gone by now.
            let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
            if name == "canary\n" {
                return Ok(());
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("no self-test is seen")
}

/// The exit status does not matter: without some hooks there is no index to speak of.
fn status(setting: &Setting, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["status", "-J"], arguments].concat();
    let command = setting.command(&arguments).spawn().context("cannot start mountwatch")?;
    let output = finish(command)?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("{arguments:?} gives no JSON: {}", String::from_utf8_lossy(&output.stderr))
    })
}
