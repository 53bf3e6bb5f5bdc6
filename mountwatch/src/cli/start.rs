//! The tracker of a command, in its own process.

use super::Global;
use crate::agent::{Config, Faults, Tracker};
use crate::model::{Coverage, Revision};
use crate::query::Viewpoint;
use crate::render::Clock;
use crate::state::Snapshot;
use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};

pub(super) fn tracker(global: &Global) -> anyhow::Result<Tracker> {
    let Some(backend) = global.backend.choice() else {
        bail!(
            "watch the mounts of this host: --backend none can answer `info` and `is-mountpoint` alone"
        )
    };
    let config = Config {
        backend,
        ring_bytes: global.ring_bytes,
        without_hooks: global.without_hooks.clone(),
        fallback_hooks: global.fallback_hooks.clone(),
        no_fentry: global.no_fentry,
        mute_hooks: global.mute_hooks.clone(),
        kernel_log: global.kernel_log,
        faults: Faults::default(),
    };
    Tracker::start(&config).context("watch the mounts of this host")
}

/// What this process itself sees.
pub(super) fn own_view(tracker: &Tracker, snapshot: &Snapshot) -> anyhow::Result<Viewpoint> {
    tracker
        .viewpoint_of_task(snapshot, std::process::id())
        .context("find the root directory of this process")
}

/// Says on stderr that an answer is not the whole truth. A blind spot is said by `status`: it is
/// there always, not only now.
pub(super) fn warn_if_uncertain(revision: Revision, coverage: &Coverage) {
    match coverage {
        Coverage::Complete | Coverage::Blind(_) => {}
        Coverage::Stale => {
            eprintln!("mountwatch: note: at revision {revision} the index is {coverage}");
        }
        Coverage::Polling(_) => eprintln!(
            "mountwatch: note: the index is polling: it was read at this question, and nothing \
             watches what happens in between; `mountwatch status` says why"
        ),
    }
}

/// Both clocks, now.
pub(super) fn clock() -> Clock {
    let read = |id| {
        let time = clock_gettime(id);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_nsec).unwrap_or(0)
    };
    Clock { realtime_ns: read(ClockId::Realtime), monotonic_ns: read(ClockId::Monotonic) }
}
