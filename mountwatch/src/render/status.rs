//! `status`: what the tracker is, and what it has counted.

mod selftest;

use super::json::{Json, Object};
use crate::agent::Status;
use crate::model::SyscallCost;
use std::fmt::Write;

/// The status as JSON.
pub fn status_json(status: &Status) -> String {
    let mut object = Object::default();
    object.put("backend", status.backend);
    object.put("coverage", status.coverage.word());
    object.put("blind", status.coverage.blind().to_vec());
    object.put("revision", status.revision.0);
    for (name, value) in numbers(status) {
        object.put(name, value);
    }
    let syscall_ns =
        |part: fn(SyscallCost) -> u64| status.cost.map_or(Json::Null, |cost| part(cost).into());
    object.put("syscall_ns_before", syscall_ns(|cost| cost.before_ns));
    object.put("syscall_ns_after", syscall_ns(|cost| cost.after_ns));
    object.put("ring_bytes", status.ring_bytes);
    object.put("ring_used_bytes_max", status.ring_used_bytes_max);
    object.put("names", status.names);
    object.put("kernel", status.kernel.as_str());
    let attached = status.attached.iter().map(|(hook, function, kind)| {
        let mut object = Object::default();
        object.put("hook", hook.as_str());
        object.put("function", function.as_str());
        object.put("kind", kind.as_str());
        Json::from(object)
    });
    object.put("attached", Json::List(attached.collect()));
    object.put("selftest", selftest::json(status.selftest.as_ref()));
    object.put("refused", status.refused.clone());
    object.put("unattributed", status.unattributed.clone());
    let mut counters = Object::default();
    for (name, value) in &status.counters {
        counters.put(name.clone(), *value);
    }
    object.put("counters", counters);
    object.lines()
}

/// The status for people.
pub fn status_text(status: &Status) -> String {
    let mut out = String::new();
    push(&mut out, "backend", &status.backend);
    push(&mut out, "kernel", &status.kernel);
    push(&mut out, "coverage", &status.coverage);
    for sentence in status.coverage.blind() {
        push(&mut out, "blind", sentence);
    }
    push(&mut out, "revision", &status.revision);
    for (name, value) in numbers(status) {
        push(&mut out, name, &value);
    }
    if let Some(cost) = &status.cost {
        push(&mut out, "cost", cost);
    }
    push(&mut out, "ring_bytes", &status.ring_bytes);
    push(&mut out, "ring_used_max", &status.ring_used_bytes_max);
    push(&mut out, "names", &status.names);
    for (index, (hook, function, kind)) in status.attached.iter().enumerate() {
        let name = if index == 0 { "attached" } else { "" };
        push(&mut out, name, &format!("{hook:<16} {kind:<12} {function}"));
    }
    for (name, value) in selftest::lines(status.selftest.as_ref()) {
        push(&mut out, name, &value);
    }
    for (index, sentence) in status.refused.iter().enumerate() {
        push(&mut out, if index == 0 { "refused" } else { "" }, sentence);
    }
    for (index, sentence) in status.unattributed.iter().enumerate() {
        push(&mut out, if index == 0 { "unattributed" } else { "" }, sentence);
    }
    for (name, value) in &status.counters {
        push(&mut out, name, value);
    }
    out
}

fn numbers(status: &Status) -> [(&'static str, u64); 9] {
    [
        ("mounts", status.mounts),
        ("namespaces", status.namespaces),
        ("records", status.records),
        ("losses", status.losses),
        ("rescans", status.rescans),
        ("rereads", status.rereads),
        ("looks", status.looks),
        ("anomalies", status.anomalies),
        ("lag_us_max", status.lag_us_max),
    ]
}

fn push(out: &mut String, name: &str, value: &dyn std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{name:<20} {value}");
}

#[cfg(test)]
pub(crate) fn sample() -> Status {
    Status {
        backend: "hooks",
        coverage: crate::model::Coverage::Blind(
            [String::from("renames of directories are not seen")].into(),
        ),
        revision: crate::model::Revision(3),
        mounts: 40,
        namespaces: 2,
        records: 100,
        losses: 0,
        rescans: 0,
        rereads: 0,
        looks: 0,
        anomalies: 0,
        lag_us_max: 25,
        attached: vec![
            (String::from("attach"), String::from("__attach_mnt"), String::from("fentry")),
            (String::from("commit"), String::from("namespace_unlock"), String::from("fexit")),
        ],
        selftest: Some(selftest::sample()),
        refused: vec![String::from("rename: no such function")],
        unattributed: vec![String::from("calls of fsopen are not told")],
        counters: vec![("roots_lost".into(), 0)],
        cost: Some(SyscallCost { before_ns: 80, after_ns: 81 }),
        ring_bytes: 16 << 20,
        ring_used_bytes_max: 4_096,
        names: 90,
        kernel: String::from("6.12.0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn people_read_it() {
        insta::assert_snapshot!(status_text(&sample()), @r#"
        backend              hooks
        kernel               6.12.0
        coverage             blind
        blind                renames of directories are not seen
        revision             3
        mounts               40
        namespaces           2
        records              100
        losses               0
        rescans              0
        rereads              0
        looks                0
        anomalies            0
        lag_us_max           25
        cost                 system calls take no longer than without it (80 ns for the cheapest)
        ring_bytes           16777216
        ring_used_max        4096
        names                90
        attached             attach           fentry       __attach_mnt
                             commit           fexit        namespace_unlock
        selftest             ok (36 acts)
        selftest_us          21000
                             namespace_gone: the death was not told
                             namespace_gone: replaced by mnt_ns_tree_remove
                             skipped: an open_tree_attr: not there
        refused              rename: no such function
        unattributed         calls of fsopen are not told
        roots_lost           0
        "#);
    }

    #[test]
    fn programs_find_their_keys() {
        let parsed: serde_json::Value = serde_json::from_str(&status_json(&sample())).unwrap();
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
            assert!(parsed.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
        assert_eq!(parsed.get("coverage").unwrap(), "blind");
        assert_eq!(parsed.pointer("/selftest/failed/0/hook").unwrap(), "namespace_gone");
        assert_eq!(parsed.pointer("/attached/1/function").unwrap(), "namespace_unlock");
    }
}
