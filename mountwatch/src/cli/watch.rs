//! `mountwatch watch`.

use super::output::Reader;
use super::source::{self, Source};
use super::{Global, WatchArgs, output, path, start};
use crate::agent::{Lagged, Subscription};
use crate::client::{Client, WatchOptions, Watched, blocking};
use crate::kernel::host::clock;
use crate::model::{Change, ChangeKind, Coverage, MountKey, Namespace, Operation, Revision};
use crate::query::{Viewpoint, is_at_or_below};
use crate::render::{
    Clock, Colours, Happening, Said, Saying, Scene, Secrets, What, said_json, said_text,
};
use crate::state::{Published, Snapshot};
use anyhow::Context;
use std::ffi::OsString;
use std::future::Future;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What is said when nobody read for long.
const DROPPED: &str = "written too slowly: changes were dropped; what is there now follows";
/// Lines of an agent that are written together.
const LINES_BYTES: usize = 64 << 10;
/// How often we look whether anybody still reads.
const READER_CHECK: Duration = Duration::from_millis(250);

pub(super) fn run(global: &Global, args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let filter = args.path.as_deref().map(path::resolve);
    let lines = Lines::new(args);
    if let Some(agent) = source::agent(global)? {
        return follow_agent(agent, global.secrets(), args, filter, lines);
    }
    let tracker = Source::Tracker(Box::new(start::tracker(global)?));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let watch = Watch::new(&tracker, global.secrets(), args, filter, lines)?;
    let done = runtime.block_on(until_the_end(args, watch.follow()));
    // A write to a reader that does not read may be under way: nobody waits for it.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

/// Runs until the work is done, the time is over, or a signal says so. All are a good end.
async fn until_the_end(
    args: &WatchArgs,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let timeout = async {
        match args.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = timeout => Ok(()),
        () = reader_gone() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Whoever read our lines closed the other end, which is an end for us even if no change comes.
async fn reader_gone() {
    let mut interval = tokio::time::interval(READER_CHECK);
    while !output::is_reader_gone() {
        interval.tick().await;
    }
}

/// How lines are written.
#[derive(Clone, Copy)]
struct Lines {
    json: bool,
    colours: Colours,
}

impl Lines {
    fn new(args: &WatchArgs) -> Self {
        let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let colours = if is_coloured { Colours::On } else { Colours::Off };
        Self { json: args.json, colours }
    }

    fn line(self, said: &Said, wall_ns: u64) -> String {
        if self.json { said_json(said, wall_ns) } else { said_text(said, wall_ns, self.colours) }
    }
}

/// Says on stderr from where on is watched.
fn say_start(args: &WatchArgs, revision: Revision, coverage: &Coverage) {
    if args.quiet {
        return;
    }
    eprintln!("mountwatch: watching from revision {revision}, coverage {coverage}");
    for sentence in coverage.blind() {
        eprintln!("mountwatch: note: {sentence}");
    }
}

struct Watch<'a> {
    source: &'a Source,
    secrets: Secrets,
    args: &'a WatchArgs,
    filter: Option<Filter>,
    lines: Lines,
    /// What the last line stands on: mounts that leave are described from it.
    before: Arc<Snapshot>,
    changes: Subscription,
    /// Changes that may still be printed.
    left: u64,
}

/// Only what is at or below a path of this process.
struct Filter {
    path: Vec<u8>,
    from: Viewpoint,
}

impl<'a> Watch<'a> {
    fn new(
        source: &'a Source,
        secrets: Secrets,
        args: &'a WatchArgs,
        path: Option<Vec<u8>>,
        lines: Lines,
    ) -> anyhow::Result<Self> {
        let (before, changes) = source.subscribe()?;
        let filter = match path {
            Some(path) => Some(Filter { path, from: start::own_view(source, &before)? }),
            None => None,
        };
        let left = args.count.unwrap_or(u64::MAX);
        Ok(Self { source, secrets, args, filter, lines, before, changes, left })
    }

    async fn follow(mut self) -> anyhow::Result<()> {
        say_start(self.args, self.before.revision(), self.before.coverage());
        let mut reader = Reader::Reads;
        if self.args.initial {
            reader = self.write_present().await?;
        }
        while self.left > 0 && reader == Reader::Reads {
            reader = match self.changes.recv().await {
                None => anyhow::bail!("follow the changes: the tracker has ended"),
                Some(Ok(published)) => write(self.published(&published)).await?,
                Some(Err(Lagged)) => self.restart().await?,
            };
        }
        Ok(())
    }

    /// Every mount that is there, a namespace at a time, then `synced`.
    async fn write_present(&self) -> anyhow::Result<Reader> {
        let clock = clock();
        let snapshot = &self.before;
        let mut namespaces: Vec<_> = snapshot.namespaces().collect();
        namespaces.sort_by_key(|known| (known.id, known.inode));
        for namespace in namespaces {
            if write(self.present_in(namespace, clock)).await? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        write(self.alone(What::Synced, clock)).await
    }

    fn present_in(&self, namespace: &Namespace, clock: Clock) -> String {
        let snapshot = &self.before;
        let mut before = Scene::new(snapshot, self.secrets);
        let mut now = Scene::new(snapshot, self.secrets);
        now.learn(namespace.key);
        let mut lines = String::new();
        for key in namespace.keys().filter(|key| self.is_wanted(*key, snapshot)) {
            let Some(mount) = snapshot.mount(key) else { continue };
            let what = What::Present(mount);
            lines += &self.line(what, snapshot, clock, &mut before, &mut now);
        }
        lines
    }

    /// The lines of one step of the index.
    fn published(&mut self, published: &Published) -> String {
        let clock = clock();
        let (old, new) = (Arc::clone(&self.before), Arc::clone(&published.snapshot));
        let mut before = Scene::new(&old, self.secrets);
        let mut now = Scene::new(&new, self.secrets);
        let mut lines = String::new();
        for what in What::of_step(published, old.coverage()) {
            if self.left == 0 {
                break;
            }
            let is_wanted = match what {
                What::Change(change) => self.is_change_wanted(change, &old, &new),
                What::Operation(done) => {
                    self.args.operations && self.is_operation_wanted(done, &old, &new)
                }
                _ => true,
            };
            if is_wanted {
                self.left -= u64::from(!matches!(what, What::Coverage));
                lines += &self.line(what, &new, clock, &mut before, &mut now);
            }
        }
        self.before = new;
        lines
    }

    /// Changes were lost: says so, and what is there now, and goes on from there.
    async fn restart(&mut self) -> anyhow::Result<Reader> {
        (self.before, self.changes) = self.source.subscribe()?;
        match write(self.alone(What::Lost(DROPPED), clock())).await? {
            Reader::Reads => self.write_present().await,
            Reader::Gone => Ok(Reader::Gone),
        }
    }

    /// A line that is about no mount.
    fn alone(&self, what: What<'_>, clock: Clock) -> String {
        let mut before = Scene::new(&self.before, self.secrets);
        let mut now = Scene::new(&self.before, self.secrets);
        self.line(what, &self.before, clock, &mut before, &mut now)
    }

    fn line(
        &self,
        what: What<'_>,
        snapshot: &Snapshot,
        clock: Clock,
        before: &mut Scene<'_>,
        now: &mut Scene<'_>,
    ) -> String {
        let happening = Happening {
            wall_ns: clock.wall_ns(what.ktime_ns()),
            what,
            revision: snapshot.revision(),
            coverage: snapshot.coverage(),
        };
        self.lines.line(&Said::of(&happening, before, now), happening.wall_ns)
    }

    /// A move is wanted from both of its ends. A rename is wanted if it gives a mount that is
    /// wanted another path; namespaces are at no path.
    fn is_change_wanted(&self, change: &Change, old: &Snapshot, new: &Snapshot) -> bool {
        let Some(filter) = &self.filter else { return true };
        match (&change.kind, change.kind.mount()) {
            (_, Some(mount)) => self.is_wanted(mount.key, old) || self.is_wanted(mount.key, new),
            (ChangeKind::Rename { .. }, None) => {
                old.below(&filter.path, filter.from) != new.below(&filter.path, filter.from)
            }
            _ => false,
        }
    }

    /// An operation is wanted if a mount is that it is about, or if a path that it was given is at or
    /// below the one that is watched.
    fn is_operation_wanted(&self, operation: &Operation, old: &Snapshot, new: &Snapshot) -> bool {
        let Some(filter) = &self.filter else { return true };
        let effects = &operation.effects;
        let mut ids = [&effects.created_ids, &effects.changed_ids, &effects.removed_ids]
            .into_iter()
            .flatten();
        let is_wanted = |snapshot: &Snapshot, id| {
            let mount = snapshot.mount_by_unique_id(id);
            mount.is_some_and(|mount| self.is_wanted(mount.key, snapshot))
        };
        let texts = operation.texts.iter().filter_map(|given| given.text.as_ref());
        ids.any(|id| is_wanted(old, *id) || is_wanted(new, *id))
            || texts.into_iter().any(|text| is_at_or_below(text, &filter.path))
    }

    fn is_wanted(&self, mount: MountKey, snapshot: &Snapshot) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            let path = snapshot.path_of(mount, filter.from);
            path.is_some_and(|path| is_at_or_below(&path, &filter.path))
        })
    }
}

/// The same with an agent's changes.
fn follow_agent(
    agent: blocking::Client,
    secrets: Secrets,
    args: &WatchArgs,
    path: Option<Vec<u8>>,
    lines: Lines,
) -> anyhow::Result<ExitCode> {
    let (runtime, client) = agent.into_parts();
    let options = WatchOptions {
        path: path.map(|path| OsString::from_vec(path).into()),
        initial: args.initial,
        operations: args.operations,
        ..WatchOptions::default()
    };
    let follow = Follow { client, options, args, secrets, lines };
    let done = runtime.block_on(until_the_end(args, follow.run()));
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

struct Follow<'a> {
    client: Client,
    options: WatchOptions,
    args: &'a WatchArgs,
    secrets: Secrets,
    lines: Lines,
}

impl Follow<'_> {
    async fn run(mut self) -> anyhow::Result<()> {
        let ask = |error| anyhow::Error::new(error).context("follow the agent's changes");
        let mut watching = self.client.watch(&self.options).await.map_err(ask)?;
        let mut left = self.args.count.unwrap_or(u64::MAX);
        let (mut text, mut is_begun) = (String::new(), false);
        while left > 0 {
            let watched = tokio::select! {
                biased;
                watched = watching.next(), if text.len() < LINES_BYTES => watched.map_err(ask)?,
                // Nothing more is there right now.
                () = std::future::ready(()), if !text.is_empty() => {
                    if write(std::mem::take(&mut text)).await? == Reader::Gone {
                        return Ok(());
                    }
                    continue;
                }
            };
            match watched {
                None => anyhow::bail!("follow the agent's changes: the agent has ended"),
                Some(Watched::Started(revision, coverage)) if !is_begun => {
                    is_begun = true;
                    say_start(self.args, revision, &coverage);
                }
                Some(Watched::Started(..) | Watched::Bookmark) => {}
                Some(Watched::Said(said)) => {
                    let said = said.with_secrets(self.secrets);
                    let counts = matches!(said.what, Saying::Change(_) | Saying::Operation(_));
                    left -= u64::from(counts);
                    text += &self.lines.line(&said, clock().wall_ns(said.ktime_ns()));
                }
                Some(Watched::Gap(_)) => {
                    text += &self.gap(watching.position().map(|place| place.revision));
                    self.options.initial = true;
                    watching = self.client.watch(&self.options).await.map_err(ask)?;
                }
            }
        }
        write(text).await.map(drop)
    }

    /// The line that says that changes are missing.
    fn gap(&self, revision: Option<Revision>) -> String {
        let said = Said {
            revision: revision.unwrap_or_default(),
            coverage: Coverage::Stale,
            what: Saying::Lost(DROPPED.to_owned()),
        };
        self.lines.line(&said, clock().realtime_ns)
    }
}

/// Writes in a thread of its own, so that signals are heard while a reader does not read.
async fn write(lines: String) -> anyhow::Result<Reader> {
    if lines.is_empty() {
        return Ok(Reader::Reads);
    }
    tokio::task::spawn_blocking(move || output::write(lines.as_bytes()))
        .await
        .context("write to stdout")?
}
