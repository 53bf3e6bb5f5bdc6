//! Every limit of the agent, with its reason, and what is counted when one is reached. The counters are
//! those of `status`.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A request: a path of the kernel has 4 KiB at the most when it is given, and some KiB more when it
/// is computed. Beyond is OUT_OF_RANGE, and nothing of it is kept.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Headers of a request; tonic clients send some 200 bytes.
pub(super) const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Connections at the same time. Each costs a descriptor and some 20 KiB. Those beyond are closed at
/// once (`agent_connections_refused`).
pub(super) const CONNECTIONS_MAX: usize = 1_024;
/// Of one user who may not see everything: nobody of them keeps others out.
pub(super) const CONNECTIONS_OF_USER_MAX: usize = 128;
/// How long a new connection may take until it has said that it speaks HTTP/2
/// (`agent_connections_silent`): who only connects holds no place for long.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(2);
/// How often an idle connection is asked for a sign of life, and how long that may take: long enough for
/// somebody who is alive and gets no processor. Who is dead has closed it.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
pub(super) const KEEPALIVE_MAX: Duration = Duration::from_mins(1);
/// Calls of one connection at the same time: HTTP/2 makes the others wait.
pub(super) const CALLS_OF_CONNECTION_MAX: u32 = 128;
/// Calls of Watch and WaitForMount at the same time. Each costs a task, and those beyond are refused
/// (`agent_watchers_refused`).
pub(super) const WATCHERS_MAX: usize = 256;
/// Of one user who may not see everything.
pub(super) const WATCHERS_OF_USER_MAX: usize = 32;
/// Messages that wait for one reader; then its stream stands still, and the journal goes on.
pub(super) const STREAM_MESSAGES_MAX: usize = 64;
/// Memory of the journal, as an estimate: some 70,000 changes with their operations. A watcher that is further behind gets
/// `compacted` (`agent_compacted`).
pub(super) const JOURNAL_BYTES_MAX: usize = 64 << 20;
/// How long the journal goes on when nobody watches: watchers that were cut off come back.
pub(super) const JOURNAL_IDLE_MAX: Duration = Duration::from_mins(15);
/// Copies of the whole index that are made at the same time, some 30 MB each at 100,000 mounts;
/// others wait.
pub(super) const COPIES_MAX: usize = 2;
/// Mounts in one message of ListMounts: some 100 KB.
pub(super) const LIST_MOUNTS: usize = 256;
/// How often a watcher is told how far it is while nothing of interest happens.
pub(super) const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How long calls may go on when the agent ends.
pub(super) const END_MAX: Duration = Duration::from_secs(3);
/// Lines of the log about requests that mean nothing: one in this time, with how many there were.
pub(super) const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// How often a root directory that is newer than the index is looked for.
pub(super) const VIEW_TRIES: u32 = 4;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident $name:literal;)*) => {
        /// What the agent counts.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $field: AtomicU64,)*
        }

        impl Counters {
            /// Names and values, in a fixed order.
            pub(super) fn all(&self) -> Vec<(Cow<'static, str>, u64)> {
                vec![$((Cow::Borrowed($name), self.$field.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
    /// Connections that are open.
    connections "agent_connections";
    /// Connections that were closed at once.
    connections_refused "agent_connections_refused";
    /// Connections that did not say anything.
    connections_silent "agent_connections_silent";
    /// Calls taken.
    calls "agent_calls";
    /// Calls whose request means nothing.
    calls_invalid "agent_calls_invalid";
    /// Calls of what the caller may not see.
    calls_denied "agent_calls_denied";
    /// Calls of Watch and WaitForMount that are open.
    watchers "agent_watchers";
    /// Those that were refused.
    watchers_refused "agent_watchers_refused";
    /// Watchers that were too far behind.
    compacted "agent_compacted";
    /// Times at which the journal itself was too slow.
    lost "agent_journal_lost";
    /// Estimated size of the journal.
    journal_bytes "agent_journal_bytes";
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Something that is there for a time.
#[derive(Debug)]
pub(super) struct Held<F: Fn(&Counters) -> &AtomicU64> {
    counters: std::sync::Arc<Counters>,
    which: F,
}

impl<F: Fn(&Counters) -> &AtomicU64> Held<F> {
    pub(super) fn new(counters: &std::sync::Arc<Counters>, which: F) -> Self {
        count(which(counters));
        Self { counters: std::sync::Arc::clone(counters), which }
    }
}

impl<F: Fn(&Counters) -> &AtomicU64> Drop for Held<F> {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
