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

/// Each hook that this kernel has is muted in turn. The self-test must blame that one and no other,
/// and the coverage must say so, unless a replacement works.
pub(crate) fn notices_each_hook(setting: &Setting) -> Result<()> {
    let whole = status(setting, &[])?;
    ensure!(whole["selftest"]["ok"] == true, "it fails without a reason: {}", whole["selftest"]);
    ensure!(whole["coverage"] == "complete", "not complete: {}", whole["blind"]);
    let attached = whole["attached"].as_array().context("no array `attached`")?;
    let hooks: BTreeSet<_> = attached.iter().filter_map(|one| one["hook"].as_str()).collect();
    // The hooks that every kernel has.
    ensure!(hooks.len() >= 13, "few hooks: {hooks:?}");
    let mut found = Vec::new();
    for hook in hooks {
        let muted = status(setting, &["--mute-hook", hook])?;
        if let Err(error) = blames(&muted, hook) {
            found.push(format!("{hook}: {error:#}: {}", muted["selftest"]));
        }
    }
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}

/// Hooks that tell who and whence, on which the index does not rest: without them nothing is blind. What
/// is said where calls are not told; copies are not looked at.
const OF_OPERATIONS: [(&str, &str); 2] = [("call", "calls are not told"), ("clone_mnt", "")];

fn blames(status: &Value, hook: &str) -> Result<()> {
    if let Some((_, said)) = OF_OPERATIONS.iter().find(|(name, _)| *name == hook) {
        let sentences = status["unattributed"].as_array().context("no array `unattributed`")?;
        let mut sentences = sentences.iter().filter_map(Value::as_str);
        ensure!(said.is_empty() || sentences.any(|one| one.contains(said)), "nothing is said");
        ensure!(status["selftest"]["ok"] == true, "it is no matter of the index");
        return Ok(());
    }
    let names = |key: &str| -> Vec<&str> {
        let list = status["selftest"][key].as_array();
        list.into_iter().flatten().filter_map(|one| one["hook"].as_str()).collect()
    };
    ensure!(names("failed") == [hook], "it blames {:?}", names("failed"));
    let sentence = format!("hook {hook} does not fire: ");
    let is_blind = status["blind"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|said| said.as_str().is_some_and(|said| said.contains(&sentence)));
    let is_replaced = names("replaced").contains(&hook);
    ensure!(is_blind != is_replaced, "blind: {is_blind}, replaced: {is_replaced}");
    ensure!(is_blind == (status["selftest"]["ok"] == false), "`ok` does not say so");
    Ok(())
}

/// Killed in the middle of the self-test it leaves nothing behind: no mount, no namespace, no
/// program.
pub(crate) fn is_gone_when_killed(setting: &Setting) -> Result<()> {
    let programs = sys::bpf_ids(sys::BpfKind::Program)?;
    let namespaces = status(setting, &[])?["namespaces"].clone();
    let mounts = fs::read("/proc/self/mountinfo")?;
    for delay_ms in [0, 3, 10, 30, 60] {
        let mut child = setting.command(&["status"]).spawn().context("cannot start mountwatch")?;
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
        let now = status(setting, &[])?["namespaces"].clone();
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
