//! The self-test notices every hook that is attached in name alone.

use crate::cli_checks::{Setting, finish};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

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

fn blames(status: &Value, hook: &str) -> Result<()> {
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

/// The exit status does not matter: without some hooks there is no index to speak of.
fn status(setting: &Setting, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["status", "-J"], arguments].concat();
    let command = setting.command(&arguments).spawn().context("cannot start mountwatch")?;
    let output = finish(command)?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("{arguments:?} gives no JSON: {}", String::from_utf8_lossy(&output.stderr))
    })
}
