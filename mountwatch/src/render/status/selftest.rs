//! What the self-test found.

use super::super::json::{Json, Object};
use crate::agent::SelfTest;

/// As JSON: null for a back end without one.
pub(super) fn json(selftest: Option<&SelfTest>) -> Json {
    let Some(found) = selftest else { return Json::Null };
    let pairs = |pairs: &[(String, String)], value: &'static str| {
        let objects = pairs.iter().map(|(hook, text)| {
            let mut object = Object::default();
            object.put("hook", hook.as_str());
            object.put(value, text.as_str());
            Json::from(object)
        });
        Json::List(objects.collect())
    };
    let mut object = Object::default();
    object.put("ok", found.is_ok());
    object.put("us", found.us);
    object.put("acts", found.acts);
    object.put("failed", pairs(&found.failed, "why"));
    object.put("replaced", pairs(&found.replaced, "function"));
    object.put("skipped", found.skipped.clone());
    object.put("blind", found.blind.clone());
    object.into()
}

/// For people: names and texts of lines. What it is blind to is said with the coverage.
pub(super) fn lines(selftest: Option<&SelfTest>) -> Vec<(&'static str, String)> {
    let Some(found) = selftest else { return Vec::new() };
    let word = if found.is_ok() { "ok" } else { "failed" };
    let mut lines = vec![
        ("selftest", format!("{word} ({} acts)", found.acts)),
        ("selftest_us", found.us.to_string()),
    ];
    for (hook, why) in &found.failed {
        lines.push(("", format!("{hook}: {why}")));
    }
    for (hook, function) in &found.replaced {
        lines.push(("", format!("{hook}: replaced by {function}")));
    }
    for why in &found.skipped {
        lines.push(("", format!("skipped: {why}")));
    }
    lines
}

/// One in which something failed.
#[cfg(test)]
pub(super) fn sample() -> SelfTest {
    let text = String::from;
    SelfTest {
        us: 21_000,
        acts: 36,
        failed: vec![(text("namespace_gone"), text("the death was not told"))],
        replaced: vec![(text("namespace_gone"), text("mnt_ns_tree_remove"))],
        skipped: vec![text("an open_tree_attr: not there")],
        blind: Vec::new(),
        unattributed: Vec::new(),
    }
}
