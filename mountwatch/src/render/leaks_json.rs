//! The same for programs. The keys are documented in README.md.

use super::facts::{Facts, Scene};
use super::json::{Json, Object};
use super::leaks::{Exit, Judgement, release};
use super::operation::call_text;
use super::rfc3339;
use crate::leaks::{LeftMount, LeftNamespace, Maker, Release, Unmount};

/// One JSON object.
pub fn leaks_json(judgement: &Judgement<'_>) -> String {
    let mut whole = Object::default();
    let words = judgement.command.iter();
    let words: Vec<_> =
        words.map(|word| Json::Text(String::from_utf8_lossy(word).into_owned())).collect();
    whole.put("command", Json::List(words));
    let (status, signal) = match judgement.exit {
        Exit::Status(status) => (Some(status), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    whole.put("exit_status", status.map(u32::from));
    whole.put("signal", signal.map(u32::from));
    whole.put("status", u32::from(judgement.status));
    whole.put("duration_ns", judgement.duration_ns);
    whole.put("private_namespace", judgement.is_private);
    whole.put("backend", judgement.backend);
    whole.put("revision", judgement.snapshot.revision().0);
    whole.put("coverage", judgement.snapshot.coverage().word());
    whole.put("clean", judgement.left.is_empty());
    let mut scene = Scene::new(judgement.snapshot, judgement.secrets);
    let mounts = judgement.left.mounts.iter();
    let mounts: Vec<_> = mounts.map(|left| mount(left, &mut scene, judgement)).collect();
    whole.put("mounts", mounts);
    let namespaces = judgement.left.namespaces.iter();
    whole.put("namespaces", namespaces.map(|left| namespace(left, judgement)).collect::<Vec<_>>());
    let processes = judgement.processes.iter().map(|(pid, comm)| {
        let mut object = Object::default();
        object.put("pid", *pid);
        object.put_bytes("comm", Some(comm));
        object
    });
    whole.put("processes", processes.collect::<Vec<_>>());
    whole.put("notes", judgement.notes.to_vec());
    whole.lines()
}

fn mount(left: &LeftMount, scene: &mut Scene<'_>, judgement: &Judgement<'_>) -> Object {
    let facts = Facts::of(scene, &left.mount);
    let mut object = Object::default();
    object.put("ns", facts.ns.map(|inode| inode.0));
    object.put("ns_id", facts.ns_id);
    object.put("id", facts.id);
    object.put("unique_id", facts.unique_id);
    object.put_bytes("mountpoint", left.path.as_deref());
    object.put_bytes("mountpoint_in_parent", facts.mountpoint_in_parent.as_deref());
    object.put_bytes("root", facts.root.as_deref());
    object.put_bytes("fstype", facts.fs_type.as_deref());
    object.put_bytes("source", Some(&facts.source));
    object.put("options", facts.options.as_str());
    object.put("device", facts.device.to_string());
    put_maker(&mut object, &left.maker, judgement);
    object.put("unmount", left.unmount.command());
    let with = match left.unmount {
        Unmount::With(key) => judgement.snapshot.mount(key),
        _ => None,
    };
    object.put("goes_with", with.map(|mount| mount.id.0));
    object.put("busy_by_others", u64::try_from(left.foreign_children).unwrap_or(u64::MAX));
    object
}

fn namespace(left: &LeftNamespace, judgement: &Judgement<'_>) -> Object {
    let mut object = Object::default();
    object.put("ns", left.namespace.inode.0);
    object.put("ns_id", left.namespace.id.map(|id| id.0));
    object.put("mounts", u64::try_from(left.namespace.mount_count()).unwrap_or(u64::MAX));
    put_maker(&mut object, &left.maker, judgement);
    let (pid, fd) = match &left.release {
        Release::Processes { pid, .. } => (Some(*pid), None),
        Release::Descriptor { pid, fd } => (Some(*pid), *fd),
        Release::Mount(_) | Release::Unknown => (None, None),
    };
    object.put("held_by_pid", pid);
    object.put("held_by_fd", fd);
    object.put("release", release(&left.release));
    object
}

fn put_maker(object: &mut Object, maker: &Maker, judgement: &Judgement<'_>) {
    let task = maker.task.as_deref();
    object.put("owner", maker.owner.word());
    object.put("pid", task.map(|task| task.pid));
    object.put("tid", task.map(|task| task.tid));
    object.put("uid", task.map(|task| task.uid));
    object.put_bytes("comm", task.map(|task| &task.comm[..]));
    object.put("cgroup_id", task.map(|task| task.cgroup_id).filter(|id| *id != 0));
    let ktime_ns = Some(maker.ktime_ns).filter(|ktime| *ktime != 0);
    object.put("time", ktime_ns.map(|ktime| rfc3339(judgement.clock.wall_ns(ktime))));
    object.put("ktime_ns", ktime_ns);
    let operation = maker.operation.as_deref();
    object.put("operation", operation.map(|operation| operation.id.get()));
    object.put("call", operation.map(|operation| call_text(operation, judgement.secrets)));
}
