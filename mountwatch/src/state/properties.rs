//! The core by properties: any events in any order.

use super::tests::{commit, dentry, seeded, super_block};
use crate::model::{
    DentryEvent, DentryKey, Event, GroupDeadEvent, MountEvent, MountId, MountKey, NamespaceEvent,
    NamespaceInode, NamespaceKey, Origin, PeerGroupId,
};
use crate::query::SnapshotView;
use mountwatch_common::hook;
use proptest::prelude::*;
use std::sync::Arc;

fn any_event() -> impl Strategy<Value = Event> {
    let origin = (0u32..4, any::<bool>(), any::<bool>()).prop_map(|(tid, in_transaction, scan)| {
        Origin { hook: hook::COMMIT, in_transaction, scan, pid: 1, tid, ..Origin::NOBODY }
    });
    let group = prop::option::of((0u32..4).prop_map(PeerGroupId));
    let mount = (
        (0u64..8, 0u64..8, prop::option::of(1u64..4), 0u64..8, 0u64..8),
        (group.clone(), group.clone(), any::<bool>(), any::<bool>(), any::<bool>(), 0u32..8),
    )
        .prop_map(|((key, parent, ns, root, mountpoint), (peer, master, a, b, c, id))| {
            Box::new(MountEvent {
                key: MountKey(key),
                parent: MountKey(parent),
                namespace: ns.map(NamespaceKey),
                root: DentryKey(root),
                mountpoint: DentryKey(mountpoint),
                namespace_inode: NamespaceInode(u32::try_from(ns.unwrap_or(0)).unwrap()),
                id: MountId(id),
                is_anonymous: a,
                is_namespace_root: b,
                starts_subtree: c,
                peer_group: peer,
                master,
                ..MountEvent::default()
            })
        });
    (origin, mount, 0u64..8, 0u64..8, any::<bool>(), "[a-c]{0,1}", group, 0u8..9).prop_map(
        |(origin, mount, key, parent, flag, name, group, kind)| match kind {
            0..=2 => Event::Mount(origin, mount),
            3 => Event::MountGone(origin, mount),
            4 => Event::Dentry(
                origin,
                DentryEvent { is_deleted: flag, ..dentry(key, parent, &name) },
            ),
            5 => Event::Super(origin, super_block(flag)),
            6 => Event::GroupDead(
                origin,
                GroupDeadEvent {
                    mount: MountKey(key),
                    group: group.unwrap_or_default(),
                    master: group,
                },
            ),
            7 => {
                let event = NamespaceEvent {
                    key: NamespaceKey(key % 3 + 1),
                    id: None,
                    inode: NamespaceInode(u32::try_from(key % 3 + 1).unwrap()),
                    is_anonymous: false,
                    task: None,
                };
                if flag {
                    Event::NamespaceBorn(origin, event)
                } else {
                    Event::NamespaceGone(origin, event)
                }
            }
            _ => commit(origin),
        },
    )
}

proptest! {
    /// I2 and S1 to S3: any events in any order leave a state whose invariants hold and whose
    /// questions are answered, loops among mounts and dentries included.
    #[test]
    fn any_events_leave_a_sound_state(events in prop::collection::vec(any_event(), 0..60)) {
        let mut state = seeded();
        for (at, event) in events.into_iter().enumerate() {
            if at % 7 == 0 {
                (1..4).for_each(|key| state.keep_paths(NamespaceKey(key)));
            }
            state.apply(event);
            prop_assert_eq!(state.violations(), Vec::<String>::new());
            let _ = state.publish();
        }
        state.lost();
        let snapshot = Arc::new(state.snapshot());
        let namespaces: Vec<_> = snapshot.namespaces().map(|known| known.key).collect();
        for key in namespaces {
            let Some(view) = snapshot.viewpoint_of_namespace(key) else { continue };
            let listed = snapshot.list(view);
            prop_assert!(listed.len() <= snapshot.mount_count());
            for listed in listed {
                let _ = snapshot.covering(&listed.path, view);
                let _ = snapshot.below(&listed.path, view);
                let _ = snapshot.propagate_from(&listed.mount, view);
                let _ = snapshot.host_path(&listed.path, view, view, Some(1));
                let seen = SnapshotView::new(Arc::clone(&snapshot), view).with_host(view);
                let portrait = seen.portrait(&listed.mount);
                prop_assert_eq!(portrait.unwrap().info.bind, snapshot.bind(&listed.mount));
            }
        }
    }

    /// I2: the same events give the same state.
    #[test]
    fn the_core_is_deterministic(events in prop::collection::vec(any_event(), 0..40)) {
        let run = || {
            let mut state = seeded();
            let mut steps = Vec::new();
            for event in events.clone() {
                state.apply(event);
                steps.extend(state.publish().map(|published| published.transaction));
            }
            (steps, state.coverage(), state.counters())
        };
        prop_assert_eq!(run(), run());
    }
}
