//! Operations as text and JSON. Secrets in their arguments are hidden here.

use super::json::{Json, Object};
use super::redact::HIDDEN;
use super::{Secrets, text};
use crate::model::{Bytes, Call, Effects, Given, GivenText, Operation, UniqueMountId};
use std::fmt::Write;
use std::sync::Arc;

/// `AT_FDCWD`: a path begins at the working directory.
const AT_FDCWD: i32 = -100;

/// An operation as one JSON object.
pub fn operation_json(operation: &Operation, secrets: Secrets) -> String {
    let mut object = Object::default();
    put(&mut object, operation, secrets);
    object.line()
}

/// The operation without the secrets in its arguments.
pub(crate) fn redacted(operation: &Operation, secrets: Secrets) -> Arc<Operation> {
    let mut redacted = operation.clone();
    for (index, (name, _)) in operation.call.arguments().iter().enumerate() {
        for text in redacted.texts.iter_mut().filter(|text| usize::from(text.index) == index) {
            let hidden = shown(operation, name, text, secrets);
            text.text = hidden.map(Bytes::from);
        }
    }
    Arc::new(redacted)
}

/// The keys of an operation, in their order. Documented in README.md.
pub(super) fn put(line: &mut Object, operation: &Operation, secrets: Secrets) {
    line.put("operation", operation.id.get());
    line.put("call", operation.call.name());
    line.put("kernel_made", operation.call.is_kernel_made());
    line.put("arguments", arguments_json(operation, secrets));
    line.put("result", operation.result.map_or(Json::Null, Json::Signed));
    line.put("errno", operation.errno_name().or_else(|| operation.errno().map(|_| "?")));
    line.put("begin_ktime_ns", operation.begin_ktime_ns);
    line.put("duration_ns", operation.duration_ns);
    put_task(line, operation);
    put_effects(line, &operation.effects);
}

fn put_task(line: &mut Object, operation: &Operation) {
    let (task, around) = (&operation.task, &operation.surroundings);
    line.put("pid", task.pid);
    line.put("tid", task.tid);
    line.put("uid", task.uid);
    line.put_bytes("comm", Some(&task.comm));
    line.put_bytes("executable", around.executable.as_deref());
    line.put("parent_pid", around.parent_pid);
    line.put_bytes("parent_comm", around.parent_comm.as_deref());
    line.put("ns", around.mount_namespace.map(|inode| inode.0));
    line.put("ns_id", around.mount_namespace_id.map(|id| id.0));
    line.put("pid_ns", around.pid_namespace);
    line.put("cgroup_id", Some(task.cgroup_id).filter(|id| *id != 0));
    line.put_bytes("cgroup", around.cgroup_path.as_deref());
    line.put("container", around.container.as_ref().map(|container| container.id.clone()));
    line.put("runtime", around.container.as_ref().map(|container| container.runtime.word()));
}

fn put_effects(line: &mut Object, effects: &Effects) {
    let ids = |ids: &[UniqueMountId]| Json::List(ids.iter().map(|id| Json::Number(id.0)).collect());
    line.put("created", effects.created);
    line.put("created_ids", ids(&effects.created_ids));
    line.put("changed", effects.changed);
    line.put("changed_ids", ids(&effects.changed_ids));
    line.put("removed", effects.removed);
    line.put("removed_ids", ids(&effects.removed_ids));
    line.put("first_revision", effects.revisions.map(|(first, _)| first.0));
    line.put("last_revision", effects.revisions.map(|(_, last)| last.0));
}

fn arguments_json(operation: &Operation, secrets: Secrets) -> Object {
    let mut object = Object::default();
    for (name, given) in operation.given() {
        match given {
            Given::Text(text) => {
                let shown = shown(operation, name, text, secrets);
                object.put_bytes(name, shown.as_deref());
                if text.text.is_none() {
                    object.put(format!("{name}_unreadable"), true);
                }
                if text.is_truncated {
                    object.put(format!("{name}_truncated"), true);
                }
            }
            Given::Nothing => object.put(name, Json::Null),
            Given::Descriptor(fd) => object.put(name, Json::Signed(i64::from(fd))),
            Given::Flags(names, rest) => object.put(name, Json::List(flags(&names, rest))),
            Given::Word(word) => object.put(name, word),
            Given::Number(number) => object.put(name, number),
            Given::Address(address) => object.put(name, format!("{address:#x}")),
        }
    }
    object
}

fn flags(names: &[&'static str], rest: u64) -> Vec<Json> {
    let rest = (rest != 0).then(|| Json::Text(format!("{rest:#x}")));
    names.iter().map(|name| Json::Text((*name).to_owned())).chain(rest).collect()
}

/// A text without its secrets; `None` if it could not be read.
fn shown(
    operation: &Operation,
    name: &str,
    given: &GivenText,
    secrets: Secrets,
) -> Option<Vec<u8>> {
    let text = given.text.as_deref()?;
    Some(match (operation.call, name) {
        (Call::Mount, "data") => secrets.options(text),
        (Call::Mount, "source") => secrets.source(text),
        (Call::Fsconfig, "value") => {
            let key = operation.text("key").and_then(|key| key.text.clone()).unwrap_or_default();
            let value = secrets.value(&key, text);
            value.map_or_else(|| HIDDEN.to_vec(), |value| secrets.source(&value))
        }
        _ => text.to_vec(),
    })
}

/// An operation in one line: the call as strace(1) writes it, how long it took, what it did, who.
pub fn operation_text(operation: &Operation, secrets: Secrets) -> String {
    let mut line = call_text(operation, secrets);
    if let Some(duration_ns) = operation.duration_ns {
        // Writing to a `String` cannot fail.
        let _ = write!(line, " in {} us", duration_ns.div_ceil(1_000));
    }
    let effects = &operation.effects;
    let counts =
        [(effects.created, "created"), (effects.changed, "changed"), (effects.removed, "removed")];
    for (count, word) in counts.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(line, ", {count} {word}");
    }
    let (task, around) = (&operation.task, &operation.surroundings);
    let _ = write!(line, " by {}[{}]", text::visible(&task.comm), task.pid);
    if let (Some(comm), Some(pid)) = (&around.parent_comm, around.parent_pid) {
        let _ = write!(line, " of {}[{pid}]", text::visible(comm));
    }
    if let Some(container) = &around.container {
        let id = container.id.get(..12).unwrap_or(&container.id);
        let _ = write!(line, " in container {id} ({})", container.runtime.word());
    }
    let _ = write!(line, " (operation {})", operation.id);
    line
}

/// `umount2("/mnt", MNT_DETACH) = -1 EBUSY`.
pub(super) fn call_text(operation: &Operation, secrets: Secrets) -> String {
    if operation.call.is_kernel_made() || operation.call == Call::Unseen {
        return operation.call.name().to_owned();
    }
    let given: Vec<_> =
        operation.given().map(|(name, given)| one_text(operation, name, &given, secrets)).collect();
    let mut line = format!("{}({})", operation.call.name(), given.join(", "));
    match (operation.result, operation.errno()) {
        (Some(_), Some(errno)) => {
            let name = operation.errno_name().map_or_else(|| errno.to_string(), str::to_owned);
            let _ = write!(line, " = -1 {name}");
        }
        (Some(result), None) => {
            let _ = write!(line, " = {result}");
        }
        (None, _) => {}
    }
    line
}

fn one_text(operation: &Operation, name: &str, given: &Given<'_>, secrets: Secrets) -> String {
    match given {
        Given::Text(text) => {
            let more = if text.is_truncated { "..." } else { "" };
            shown(operation, name, text, secrets).map_or_else(
                || String::from("(unreadable)"),
                |shown| format!("\"{}\"{more}", text::visible(&shown)),
            )
        }
        Given::Nothing => String::from("NULL"),
        Given::Descriptor(AT_FDCWD) => String::from("AT_FDCWD"),
        Given::Descriptor(fd) => fd.to_string(),
        Given::Flags(names, 0) if names.is_empty() => String::from("0"),
        Given::Flags(names, 0) => names.join("|"),
        Given::Flags(names, rest) if names.is_empty() => format!("{rest:#x}"),
        Given::Flags(names, rest) => format!("{}|{rest:#x}", names.join("|")),
        Given::Word(word) => (*word).to_owned(),
        Given::Number(number) => number.to_string(),
        Given::Address(address) => format!("{address:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, Container, Descent, OperationId, Runtime, Surroundings, Task};
    use std::sync::Arc;

    fn operation(call: Call, arguments: [u64; 6], texts: &[(u8, &str)], result: i64) -> Operation {
        let text = |(index, text): &(u8, &str)| GivenText {
            index: *index,
            text: Some(Bytes::from(text.as_bytes())),
            is_truncated: false,
        };
        Operation {
            id: OperationId::new(7).expect("not 0"),
            call,
            arguments,
            texts: texts.iter().map(text).collect(),
            result: Some(result),
            begin_ktime_ns: 1_000,
            duration_ns: Some(1_500),
            task: Arc::new(Task {
                pid: 70,
                tid: 71,
                uid: 1000,
                comm: Bytes::from(&b"umo\nunt"[..]),
                cgroup_id: 0,
                descent: Descent::No,
            }),
            surroundings: Arc::new(Surroundings {
                parent_pid: Some(60),
                parent_comm: Some(Bytes::from(&b"runc"[..])),
                container: Some(Container { id: "c0ffee".repeat(10), runtime: Runtime::CriO }),
                ..Surroundings::default()
            }),
            effects: Effects {
                removed: 2,
                removed_ids: vec![UniqueMountId(1 << 31)],
                ..Effects::default()
            },
        }
    }

    #[test]
    fn a_call_reads_as_in_strace() {
        let busy = operation(Call::Umount2, [1, 2, 0, 0, 0, 0], &[(0, "/m\nnt")], -16);
        insta::assert_snapshot!(
            operation_text(&busy, Secrets::Hidden),
            @r#"umount2("/m\x0ant", MNT_DETACH) = -1 EBUSY in 2 us, 2 removed by umo\x0aunt[70] of runc[60] in container c0ffeec0ffee (cri-o) (operation 7)"#
        );
        insta::assert_snapshot!(
            operation_json(&busy, Secrets::Hidden),
            @r#"{"operation":7,"call":"umount2","kernel_made":false,"arguments":{"target":"/m\nnt","flags":["MNT_DETACH"]},"result":-16,"errno":"EBUSY","begin_ktime_ns":1000,"duration_ns":1500,"pid":70,"tid":71,"uid":1000,"comm":"umo\nunt","executable":null,"parent_pid":60,"parent_comm":"runc","ns":null,"ns_id":null,"pid_ns":null,"cgroup_id":null,"cgroup":null,"container":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffee","runtime":"cri-o","created":0,"created_ids":[],"changed":0,"changed_ids":[],"removed":2,"removed_ids":[2147483648],"first_revision":null,"last_revision":null}"#
        );
    }

    #[test]
    fn arguments_hide_secrets() {
        let text = |operation: &Operation, secrets| call_text(operation, secrets);
        let texts = [(0, "//h/s?password=b"), (1, "/mnt"), (2, "cifs"), (4, "user=a,password=b")];
        let mount = operation(Call::Mount, [1, 1, 1, 1, 1, 0], &texts, 0);
        insta::assert_snapshot!(
            text(&mount, Secrets::Hidden),
            @r#"mount("//h/s?password=<hidden>", "/mnt", "cifs", MS_RDONLY, "user=a,password=<hidden>") = 0"#
        );
        let texts = [(2, "password"), (3, "b")];
        let option = operation(Call::Fsconfig, [4, 1, 9, 9, 0, 0], &texts, 0);
        insta::assert_snapshot!(
            text(&option, Secrets::Hidden),
            @r#"fsconfig(4, FSCONFIG_SET_STRING, "password", "<hidden>", 0) = 0"#
        );
        assert!(text(&option, Secrets::Shown).contains("\"b\""));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut mount = operation(Call::OpenTree, [u64::MAX - 99, 8, 1 << 40, 0, 0, 0], &[], -14);
        mount.texts.push(GivenText { index: 1, text: None, is_truncated: false });
        insta::assert_snapshot!(
            call_text(&mount, Secrets::Hidden),
            @"open_tree(AT_FDCWD, (unreadable), 0x10000000000) = -1 EFAULT"
        );
    }
}
