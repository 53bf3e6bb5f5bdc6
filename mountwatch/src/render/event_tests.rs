//! Every kind of event line, as text and as JSON.

use super::event_json::KEYS;
use super::sample::{self, NAMESPACE};
use super::{Colours, Happening, Scene, Secrets, What, event_json, event_text};
use crate::model::{
    Bytes, CommitEvent, Coverage, DentryEvent, DentryKey, Event, MountAttributes, NamespaceEvent,
    NamespaceId, NamespaceInode, NamespaceKey, Origin, PeerGroupId, Revision, SuperEvent,
    SuperFlags, SuperKey,
};
use crate::model::{Device, MountEvent};
use mountwatch_common::hook;

const WALL_NS: u64 = 1_709_251_200_000_001_000;

fn by(hook: hook::Hook) -> Origin {
    Origin { hook, in_transaction: true, ktime_ns: 500, pid: 70, tid: 71, ..Origin::NOBODY }
}

/// Applies the events as one change of a task; gives its lines as text and as JSON.
fn lines(events: Vec<Event>) -> (String, Vec<serde_json::Value>) {
    let mut state = sample::state();
    let old = state.snapshot();
    for event in events {
        state.apply(event);
    }
    let commit = CommitEvent { comm: Bytes::from(&b"mo\nunt"[..]), cgroup_id: 9, uid: 1000 };
    state.apply(Event::Commit(by(hook::COMMIT), commit));
    let published = state.publish().unwrap();
    let mut before = Scene::new(&old, Secrets::Hidden);
    let mut now = Scene::new(&published.snapshot, Secrets::Hidden);
    let (mut text, mut json) = (String::new(), Vec::new());
    for change in &published.transaction.changes {
        let happening = Happening {
            wall_ns: WALL_NS,
            what: What::Change(change),
            revision: published.snapshot.revision(),
            coverage: published.snapshot.coverage(),
        };
        text += &event_text(&happening, &mut before, &mut now, Colours::Off);
        let line = event_json(&happening, &mut before, &mut now);
        assert!(line.ends_with("}\n") && line.trim_end().lines().count() == 1, "{line}");
        json.push(serde_json::from_str(&line).unwrap());
    }
    (text, json)
}

fn changed(key: u32, change: impl FnOnce(&mut MountEvent)) -> Event {
    let mut event = match key {
        2 => sample::mount(2, 1, 2, 20, 11, b"so#ur ce"),
        _ => sample::mount(8, 1, 2, 20, 12, b"new"),
    };
    if key == 2 {
        event.peer_group = Some(PeerGroupId(1));
    }
    change(&mut event);
    Event::Mount(by(hook::ATTACH), Box::new(event))
}

#[test]
fn each_change_of_a_mount_is_one_line() {
    let attach = lines(vec![changed(8, |_| {})]);
    let moved = lines(vec![changed(2, |event| event.mountpoint = DentryKey(14))]);
    let attributes = lines(vec![changed(2, |event| {
        event.attributes |= MountAttributes::READONLY;
        event.peer_group = None;
    })]);
    let gone = sample::mount(2, 1, 2, 20, 11, b"so#ur ce");
    let detach = lines(vec![Event::MountGone(by(hook::PROPAGATION), Box::new(gone))]);
    let text = [&attach, &moved, &attributes, &detach].map(|(text, _)| text.as_str()).concat();
    insta::assert_snapshot!(text, @r#"
    2024-03-01T00:00:00.000001Z attach         4026531841 /c\xff tmpfs new rw,nosuid,relatime by mo\x0aunt[70]
    2024-03-01T00:00:00.000001Z move           4026531841 /a b\x0a\ -> /hidden/deep tmpfs so#ur ce rw,nosuid,relatime shared:1 by mo\x0aunt[70]
    2024-03-01T00:00:00.000001Z attributes     4026531841 /a b\x0a\ tmpfs so#ur ce ro,nosuid,relatime (rw,nosuid,relatime -> ro,nosuid,relatime, shared:1 -> private) by mo\x0aunt[70]
    2024-03-01T00:00:00.000001Z detach         4026531841 /a b\x0a\ tmpfs so#ur ce rw,nosuid,relatime shared:1 by mo\x0aunt[70]
    "#);
    for (_, json) in [&attach, &moved, &attributes, &detach] {
        let [line] = &json[..] else { panic!("{json:?}") };
        for key in KEYS {
            assert!(line.get(key).is_some(), "{key} is not in {line}");
        }
        assert_eq!(line.get("comm").unwrap(), "mo\nunt");
        assert_eq!(line.get("tid").unwrap(), 71);
    }
    let at = |json: &[serde_json::Value], path: &str| {
        json.first().and_then(|line| line.pointer(path)).cloned().unwrap_or_default()
    };
    assert_eq!(at(&moved.1, "/from/mountpoint"), "/a b\n\\");
    assert_eq!(at(&moved.1, "/mountpoint"), "/hidden/deep");
    assert_eq!(at(&attributes.1, "/before/options"), "rw,nosuid,relatime");
    assert_eq!(at(&attributes.1, "/before/shared"), 1);
    assert_eq!(at(&detach.1, "/mountpoint"), "/a b\n\\");
    assert_eq!(at(&attach.1, "/mountpoint_hex"), "2f63ff");
    assert_eq!(at(&attach.1, "/parent_unique_id"), (1_u64 << 31) + 1);
}

#[test]
fn other_changes_are_lines_too() {
    let rename = DentryEvent {
        key: DentryKey(13),
        parent: DentryKey(10),
        name: Bytes::from(&b"seen"[..]),
        is_deleted: false,
        is_literal: false,
    };
    let super_block = SuperEvent {
        key: SuperKey(1),
        device: Device::new(0, 1),
        magic: 0,
        flags: SuperFlags::RDONLY,
        fs_type: Bytes::from(&b"ext4"[..]),
        options_stale: false,
        options: None,
    };
    let born = NamespaceEvent {
        key: NamespaceKey(2),
        id: Some(NamespaceId(12)),
        inode: NamespaceInode(4_026_532_000),
        is_anonymous: false,
        task: None,
    };
    let gone = NamespaceEvent {
        key: NAMESPACE,
        id: Some(NamespaceId(11)),
        inode: NamespaceInode(4_026_531_841),
        is_anonymous: false,
        task: None,
    };
    let mut text = lines(vec![
        Event::Dentry(by(hook::RENAME), rename),
        Event::Super(by(hook::RECONFIGURE), super_block),
        Event::NamespaceBorn(by(hook::NAMESPACE_BORN), born),
    ]);
    insta::assert_snapshot!(text.0, @r#"
    2024-03-01T00:00:00.000001Z rename         /hidden -> /seen by mo\x0aunt[70]
    2024-03-01T00:00:00.000001Z super_block    4026531841 /seen/deep ext4 /dev/vda rw,nosuid,relatime ro,errors=remount-ro by mo\x0aunt[70]
    2024-03-01T00:00:00.000001Z namespace_born 4026532000 by mo\x0aunt[70]
    "#);
    let rename = text.1.first().unwrap();
    assert_eq!(rename.get("path_in_fs").unwrap(), "/seen");
    assert_eq!(rename.pointer("/from/path_in_fs").unwrap(), "/hidden");
    assert_eq!(rename.get("deleted").unwrap(), false);
    let line = text.1.pop().unwrap();
    assert_eq!(line.get("ns_id").unwrap(), 12);
    let (_, json) = lines(vec![Event::NamespaceGone(by(hook::NAMESPACE_GONE), gone)]);
    let line = json.iter().find(|line| line.get("event").unwrap() == "namespace_gone").unwrap();
    assert_eq!(line.get("ns_id").unwrap(), 11);
    assert_eq!(json.len(), 8, "seven mounts leave with it");
}

#[test]
fn lines_about_no_mount_are_short() {
    let state = sample::state();
    let snapshot = state.snapshot();
    let mut before = Scene::new(&snapshot, Secrets::Hidden);
    let mut now = Scene::new(&snapshot, Secrets::Hidden);
    let coverage = Coverage::Blind([String::from("renames are not seen")].into());
    let mut out = String::new();
    for what in [What::Synced, What::Lost("too slow"), What::Coverage] {
        let happening =
            Happening { wall_ns: WALL_NS, what, revision: Revision(3), coverage: &coverage };
        out += &event_json(&happening, &mut before, &mut now);
        out += &event_text(&happening, &mut before, &mut now, Colours::Off);
        out +=
            &event_text(&happening, &mut before, &mut now, Colours::On).escape_debug().to_string();
        out.push('\n');
    }
    insta::assert_snapshot!(out, @r#"
    {"time":"2024-03-01T00:00:00.000001Z","event":"synced","revision":3,"coverage":"blind"}
    2024-03-01T00:00:00.000001Z synced         revision 3
    2024-03-01T00:00:00.000001Z \u{1b}[2msynced        \u{1b}[0m revision 3\n
    {"time":"2024-03-01T00:00:00.000001Z","event":"lost","revision":3,"coverage":"blind","why":"too slow"}
    2024-03-01T00:00:00.000001Z lost           too slow
    2024-03-01T00:00:00.000001Z \u{1b}[35mlost          \u{1b}[0m too slow\n
    {"time":"2024-03-01T00:00:00.000001Z","event":"coverage","revision":3,"coverage":"blind","blind":["renames are not seen"]}
    2024-03-01T00:00:00.000001Z coverage       blind
    2024-03-01T00:00:00.000001Z \u{1b}[35mcoverage      \u{1b}[0m blind\n
    "#);
}
