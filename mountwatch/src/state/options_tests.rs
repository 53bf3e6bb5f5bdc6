//! Super blocks: what is told, asked for and not known.

use super::tests::*;
use super::{Need, State};
use crate::model::{
    Bytes, Coverage, Device, Event, MountEvent, MountKey, SuperEvent, SuperFlags, SuperKey,
};
use mountwatch_common::hook;

fn wanted(state: &mut State) -> Vec<(SuperKey, MountKey, bool)> {
    let wanted = state.take_wanted_options();
    wanted.iter().map(|wanted| (wanted.key, wanted.mount.key, wanted.is_seen)).collect()
}

#[test]
fn options_of_a_super_block_that_went_away_are_not_those_of_the_next_one() {
    let mut state = seeded();
    assert_eq!(wanted(&mut state), [(SuperKey(900), MountKey(1), true)]);
    assert!(state.set_options(SuperKey(900), Bytes::from(&b"size=1k"[..])));
    assert!(state.take_wanted_options().is_empty());
    state.apply(Event::Super(unlocked(hook::RECONFIGURE, 4), super_block(true)));
    state.apply(commit(unlocked(hook::RECONFIGURE, 4)));
    assert_eq!(words(&state.publish().unwrap()), ["super_block"]);
    assert_eq!(wanted(&mut state), [(SuperKey(900), MountKey(1), true)]);
    assert!(state.set_options(SuperKey(900), Bytes::from(&b"size=2k"[..])));
    state.apply(Event::MountGone(locked(hook::PROPAGATION), Box::new(root_mount())));
    state.apply(in_transaction(root_mount()));
    state.apply(commit(locked(hook::COMMIT)));
    assert_eq!(state.tables().super_block(SuperKey(900)).unwrap().options, None);
}

#[test]
fn options_that_become_stale_while_they_are_looked_up_are_looked_up_again() {
    let mut state = seeded();
    let stale = |state: &mut State| {
        state.apply(Event::Super(unlocked(hook::RECONFIGURE, 4), super_block(true)));
        state.apply(commit(unlocked(hook::RECONFIGURE, 4)));
    };
    stale(&mut state);
    assert_eq!(wanted(&mut state), [(SuperKey(900), MountKey(1), true)]);
    stale(&mut state);
    assert_eq!(wanted(&mut state), [(SuperKey(900), MountKey(1), true)]);
}

#[test]
fn options_that_nobody_could_tell_are_asked_for_again_when_that_may_help() {
    let mut state = seeded();
    let untold = |state: &mut State| {
        let wanted = state.take_wanted_options();
        for asked in &wanted {
            state.options_untold(asked);
        }
        wanted.into_iter().map(|wanted| wanted.is_seen).collect::<Vec<_>>()
    };
    // A read that was overtaken by a change is worth another one, not any number of them.
    assert_eq!([untold(&mut state), untold(&mut state), untold(&mut state)], [[true]; 3]);
    assert!(untold(&mut state).is_empty());
    // Something is mounted on the root: who enters the namespace does not see the root any more.
    let other = SuperEvent { key: SuperKey(901), ..super_block(false) };
    state.apply(Event::Super(locked(hook::COMMIT), other));
    let above = MountEvent { super_block: SuperKey(901), ..mount(2, 1, 100, 100) };
    state.apply(in_transaction(above.clone()));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish();
    state.set_options(SuperKey(901), Bytes::from(&b""[..]));
    assert_eq!(untold(&mut state), [false]);
    assert!(untold(&mut state).is_empty(), "nothing changed");
    state.apply(Event::MountGone(locked(hook::PROPAGATION), Box::new(above)));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish();
    assert_eq!(untold(&mut state), [true], "it is seen again");
}

#[test]
fn what_a_file_system_changes_by_itself_is_told_when_it_is_seen() {
    let mut state = seeded();
    assert!(state.self_changing().is_empty(), "tmpfs has no device");
    let disk = SuperEvent {
        key: SuperKey(901),
        device: Device::new(8, 1),
        options: Some(Bytes::from(&b"errors=remount-ro"[..])),
        ..super_block(false)
    };
    state.apply(Event::Super(locked(hook::COMMIT), disk));
    state.apply(in_transaction(MountEvent {
        super_block: SuperKey(901),
        device: Device::new(8, 1),
        ..mount(2, 1, 100, 101)
    }));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish();
    let asked: Vec<_> = state.self_changing().iter().map(|(_, mount)| mount.key).collect();
    assert_eq!(asked, [MountKey(2)]);
    let options = Bytes::from(&b"errors=remount-ro"[..]);
    state.set_looked_at(SuperKey(901), SuperFlags::empty(), Bytes::clone(&options));
    assert!(state.publish().is_none(), "nothing is new");
    state.set_looked_at(SuperKey(901), SuperFlags::RDONLY, options);
    assert_eq!(words(&state.publish().unwrap()), ["super_block"]);
    // Where nothing can be looked at, the options that are read again are taken if they are new.
    state.reread_options(SuperKey(901));
    assert!(wanted(&mut state).contains(&(SuperKey(901), MountKey(2), true)));
    state.set_options(SuperKey(901), Bytes::from(&b"errors=continue"[..]));
    assert_eq!(words(&state.publish().unwrap()), ["super_block"]);
}

#[test]
fn an_untold_super_block_is_an_anomaly_and_never_a_mount_without_a_type() {
    let mut state = seeded();
    attach(&mut state, 2, 101);
    let mut mount = root_mount();
    mount.super_block = SuperKey(77);
    state.apply(Event::Mount(locked(hook::COMMIT), Box::new(mount)));
    state.apply(commit(locked(hook::COMMIT)));
    let published = state.publish().unwrap();
    assert_eq!(*published.snapshot.coverage(), Coverage::Stale);
    assert_eq!(state.take_needs(), [Need::ScanAll]);
}

#[test]
fn nothing_is_complete_where_a_file_system_shows_what_it_alone_knows() {
    let mut state = seeded();
    let btrfs = SuperEvent {
        key: SuperKey(901),
        fs_type: Bytes::from(&b"btrfs"[..]),
        ..super_block(false)
    };
    state.apply(Event::Super(locked(hook::COMMIT), btrfs));
    assert_eq!(state.coverage(), Coverage::Complete, "nothing shows it yet");
    let above = MountEvent { super_block: SuperKey(901), ..mount(2, 1, 100, 100) };
    state.apply(in_transaction(above));
    state.apply(commit(locked(hook::COMMIT)));
    let coverage = state.publish().unwrap().snapshot.coverage().clone();
    assert!(matches!(&coverage, Coverage::Blind(why) if why.len() == 1), "{coverage:?}");
    state.lost();
    let mark = state.begin_scan();
    state.end_scan_of_all(mark, &[]);
    assert!(matches!(state.coverage(), Coverage::Blind(_)), "{:?}", state.coverage());
}
