//! From the events of one drain to what is published of them.

use super::losses::Lost;
use crate::model::Event;
use crate::state::{Published, State};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Changes of one drain that are published one by one; those after them are one step together.
pub(super) const STEPS_MAX: usize = 4_096;

/// Applies events. A panic in the core is a bug; the kernel is the truth, so the state is dropped
/// and everything is scanned again. Gives the changes that others follow, `room` at most.
pub(super) fn apply(
    state: &mut State,
    events: Vec<Event>,
    lost: &Lost,
    panic: &Cell<Option<u64>>,
    room: usize,
) -> Vec<Published> {
    let mut steps = Vec::new();
    let applied = catch_unwind(AssertUnwindSafe(|| {
        for event in events {
            if steps.len() < room {
                steps.extend(state.step());
            }
            if panic.get() == Some(state.counters().events + 1) {
                panic.set(None);
                panic!("a panic was asked for");
            }
            state.apply(event);
        }
    }));
    if applied.is_err() {
        log::error!("the core panicked; everything is scanned again");
        state.reset();
    }
    match lost {
        Lost::Nothing if applied.is_ok() => return steps,
        Lost::Nothing => {}
        Lost::In(namespaces) => state.lost_in(namespaces),
        Lost::Anywhere => state.lost(),
    }
    steps.into_iter().map(Published::was_lossy).collect()
}

/// When an event was seen first, CLOCK_MONOTONIC in nanoseconds.
pub(super) fn ktime_of(event: &Event) -> u64 {
    event.origin().ktime_ns
}
