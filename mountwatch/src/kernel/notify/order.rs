//! Where an operation is told among the changes that are told with it: after the last one of its own,
//! before those of its thread's next call. Pure.

use crate::model::Event;
use std::collections::HashMap;

/// A call of a thread, by its begin.
type CallKey = (u32, u64);
/// Ends of calls by the place of a change.
type Places = HashMap<usize, Vec<Event>>;

/// The call in which something happened.
pub(super) fn call_of(event: &Event) -> CallKey {
    let origin = event.origin();
    (origin.tid, origin.begin_ktime_ns)
}

/// The begin of the latest call of each thread in which something happened.
pub(super) fn latest_calls(changes: &[Event]) -> HashMap<u32, u64> {
    let mut latest = HashMap::new();
    for (tid, begin_ktime_ns) in changes.iter().map(call_of) {
        let known = latest.entry(tid).or_insert(begin_ktime_ns);
        *known = begin_ktime_ns.max(*known);
    }
    latest
}

/// Puts the ends of calls among the changes from `from` on. One whose changes were told before, or that
/// changed nothing, comes before what its thread did in a later call.
pub(super) fn put_ends(changes: &mut Vec<Event>, from: usize, ends: Vec<Event>) {
    if ends.is_empty() {
        return;
    }
    let told = changes.split_off(from);
    let mut last: HashMap<CallKey, usize> = HashMap::new();
    let mut of_thread: HashMap<u32, Vec<(usize, u64)>> = HashMap::new();
    for (place, event) in told.iter().enumerate() {
        let (tid, begin_ktime_ns) = call_of(event);
        last.insert((tid, begin_ktime_ns), place);
        if begin_ktime_ns != 0 {
            of_thread.entry(tid).or_default().push((place, begin_ktime_ns));
        }
    }
    let (mut before, mut after) = (Places::new(), Places::new());
    let mut rest = Vec::new();
    for end in ends {
        let (tid, begin_ktime_ns) = call_of(&end);
        let later = || {
            // A thread's calls are told in their order.
            let places = of_thread.get(&tid)?;
            let at = places.partition_point(|(_, begin)| *begin <= begin_ktime_ns);
            places.get(at).map(|(place, _)| *place)
        };
        if let Some(place) = last.get(&(tid, begin_ktime_ns)) {
            after.entry(*place).or_default().push(end);
        } else if let Some(place) = later() {
            before.entry(place).or_default().push(end);
        } else {
            rest.push(end);
        }
    }
    for (place, event) in told.into_iter().enumerate() {
        changes.extend(before.remove(&place).into_iter().flatten());
        changes.push(event);
        changes.extend(after.remove(&place).into_iter().flatten());
    }
    changes.extend(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, Call, CallEvent, CommitEvent, Origin, Surroundings};

    fn origin(tid: u32, begin_ktime_ns: u64) -> Origin {
        Origin { tid, begin_ktime_ns, ..Origin::NOBODY }
    }

    fn change(tid: u32, begin_ktime_ns: u64) -> Event {
        let event = CommitEvent { comm: Bytes::from(&b"x"[..]), cgroup_id: 0, uid: 0 };
        Event::Commit(origin(tid, begin_ktime_ns), event)
    }

    fn end(tid: u32, begin_ktime_ns: u64) -> Event {
        let event = CallEvent {
            call: Call::Mount,
            arguments: [0; 6],
            texts: Vec::new(),
            result: 0,
            caller: CommitEvent { comm: Bytes::from(&b"x"[..]), cgroup_id: 0, uid: 0 },
            surroundings: Surroundings::default(),
        };
        Event::Call(origin(tid, begin_ktime_ns), Box::new(event))
    }

    #[test]
    fn the_end_of_a_call_comes_before_the_changes_of_the_next_one() {
        let mut events = vec![change(1, 10), change(1, 10), change(2, 10), change(1, 20)];
        put_ends(&mut events, 1, vec![end(1, 10), end(1, 15), end(1, 20), end(2, 10), end(1, 30)]);
        let told: Vec<_> =
            events.iter().map(|event| (call_of(event), matches!(event, Event::Call(..)))).collect();
        assert_eq!(
            told,
            [
                ((1, 10), false),
                ((1, 10), false),
                ((1, 10), true),
                ((2, 10), false),
                ((2, 10), true),
                ((1, 15), true),
                ((1, 20), false),
                ((1, 20), true),
                ((1, 30), true),
            ]
        );
    }
}
