//! The tracker of a command, in its own process.

use super::Global;
use super::source::Source;
use crate::agent::{Config, Faults, Tracker};
use crate::model::{Coverage, Revision};
use crate::query::Viewpoint;
use crate::state::Snapshot;
use anyhow::{Context, bail};

/// One that tells operations.
pub(super) fn tracker(global: &Global) -> anyhow::Result<Tracker> {
    started(&config(global)?)
}

/// One for questions about the mounts as they are now: it starts faster.
pub(super) fn reader(global: &Global) -> anyhow::Result<Tracker> {
    started(&Config { operations: false, ..config(global)? })
}

/// One that tells operations, and the descendants of a process apart.
pub(super) fn tracker_of(global: &Global, ancestor: Option<u32>) -> anyhow::Result<Tracker> {
    started(&Config { descendants_of: ancestor, ..config(global)? })
}

fn started(config: &Config) -> anyhow::Result<Tracker> {
    Tracker::start(config).context("watch the mounts of this host")
}

/// How the command line wants the host to be tracked.
pub(super) fn config(global: &Global) -> anyhow::Result<Config> {
    let Some(backend) = global.backend.choice() else {
        bail!(
            "watch the mounts of this host: --backend none can answer `info` and `is-mountpoint` alone"
        )
    };
    Ok(Config {
        backend,
        ring_bytes: global.ring_bytes,
        nice: global.nice,
        operations: true,
        without_hooks: global.without_hooks.clone(),
        fallback_hooks: global.fallback_hooks.clone(),
        no_fentry: global.no_fentry,
        mute_hooks: global.mute_hooks.clone(),
        kernel_log: global.kernel_log,
        descendants_of: None,
        faults: Faults::default(),
    })
}

/// What this process itself sees.
pub(super) fn own_view(source: &Source, snapshot: &Snapshot) -> anyhow::Result<Viewpoint> {
    source
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
