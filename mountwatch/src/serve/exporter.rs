//! What leaves the agent by itself ([`crate::exports`]): a thread follows the index, counts, and hands
//! lines to whoever takes them. It never holds up the tracker; if it is too slow it says `lost`.

use super::limits::Counters;
use super::{Agent, ServeError};
use crate::agent::{Subscription, Tracker};
use crate::exports::{
    JsonLines, JsonLinesConfig, Otlp, OtlpConfig, OtlpSender, Urgency, own_process, serve_metrics,
    write_textfile,
};
use crate::kernel::host;
use crate::metrics::{Dropped, Format, Gauges, Metrics};
use crate::render::{Happening, Said, Scene, Secrets, What, said_json};
use crate::state::{Published, Snapshot};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// How often the file of metrics is written: node_exporter is scraped about as often.
const TEXTFILE_EVERY: Duration = Duration::from_secs(15);

/// What leaves the agent by itself. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Serve metrics on this address.
    pub metrics: Option<SocketAddr>,
    /// Write metrics into this file, which ends with `.prom`.
    pub textfile: Option<PathBuf>,
    /// Write JSON lines.
    pub lines: Option<JsonLinesConfig>,
    /// Send to an OpenTelemetry collector.
    pub otlp: Option<OtlpConfig>,
    /// The events that become lines and records, in the words of `watch`; empty: all.
    pub events: Vec<String>,
}

/// Everything that makes the text of the metrics.
#[derive(Debug)]
struct Scrape {
    agent: Weak<Agent>,
    metrics: Arc<Metrics>,
    /// What the export of lines dropped.
    lines: Mutex<Dropped>,
    otlp: OnceLock<OtlpSender>,
}

impl Scrape {
    /// `None` once the tracker ended.
    fn text(&self, format: Format, has_process: bool) -> Option<String> {
        let agent = self.agent.upgrade()?;
        let status = agent.tracker.status().ok()?;
        let latest = agent.tracker.latest();
        let count = |counter: fn(&Counters) -> &std::sync::atomic::AtomicU64| {
            counter(&agent.counters).load(Ordering::Relaxed)
        };
        let gauges = Gauges {
            namespace_mounts_max: latest.namespaces().map(|one| one.mount_count() as u64).max()?,
            mount_max: host::mount_max().unwrap_or(0),
            connections: count(|all| &all.connections),
            watchers: count(|all| &all.watchers),
            dropped: vec![
                ("lines", *self.lines.lock().unwrap_or_else(PoisonError::into_inner)),
                ("otlp", self.otlp.get().map(OtlpSender::dropped).unwrap_or_default()),
            ],
            process: has_process.then(own_process),
        };
        Some(self.metrics.text(&status, &gauges, format))
    }
}

/// Begins to export. What cannot be begun is an error: nobody would notice that it is missing.
pub(super) async fn start(agent: &Arc<Agent>, exports: &Exports) -> Result<(), ServeError> {
    let scrape = Arc::new(Scrape {
        agent: Arc::downgrade(agent),
        metrics: Arc::clone(&agent.metrics),
        lines: Mutex::default(),
        otlp: OnceLock::new(),
    });
    if let Some(address) = exports.metrics {
        let scrape = Arc::clone(&scrape);
        let (bound, serving) =
            serve_metrics(address, move |format| scrape.text(format, true)).await?;
        log::info!("metrics are on http://{bound}/metrics");
        tokio::spawn(serving);
    }
    if let Some(path) = exports.textfile.clone() {
        // At once, so that a path that cannot be written is told.
        let first = Arc::clone(&scrape);
        let begun = tokio::task::spawn_blocking(move || first.text(Format::Classic, false));
        let text = begun.await.ok().flatten().unwrap_or_default();
        write_textfile(&path, &text)?;
        tokio::spawn(write_again_and_again(Arc::clone(&scrape), path));
    }
    let lines = exports.lines.clone().map(JsonLines::open).transpose()?;
    if let Some(config) = &exports.otlp {
        let (sender, otlp) = Otlp::new(config)?;
        let _ = scrape.otlp.set(sender);
        let scrape = Arc::clone(&scrape);
        tokio::spawn(otlp.run(move || scrape.text(Format::OpenMetrics, true)));
    }
    if *exports == Exports::default() {
        return Ok(());
    }
    let follower = Follower {
        tracker: Arc::downgrade(&agent.tracker),
        scrape,
        events: exports.events.clone(),
        secrets: agent.secrets,
        lines,
    };
    let (before, changes) = agent.tracker.subscribe()?;
    let thread = std::thread::Builder::new().name("exports".into());
    thread
        .spawn(move || follower.follow(before, changes))
        .map_err(super::cannot("start a thread"))?;
    Ok(())
}

async fn write_again_and_again(scrape: Arc<Scrape>, path: PathBuf) {
    let mut is_failing = false;
    loop {
        tokio::time::sleep(TEXTFILE_EVERY).await;
        let (scrape, path) = (Arc::clone(&scrape), path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let text = scrape.text(Format::Classic, false)?;
            Some(write_textfile(&path, &text))
        });
        match written.await {
            Ok(Some(Ok(()))) => is_failing = false,
            Ok(Some(Err(error))) => {
                if !is_failing {
                    log::error!("metrics: {error}");
                }
                is_failing = true;
            }
            _ => return,
        }
    }
}

struct Follower {
    tracker: Weak<Tracker>,
    scrape: Arc<Scrape>,
    events: Vec<String>,
    secrets: Secrets,
    lines: Option<JsonLines>,
}

impl Follower {
    fn follow(mut self, mut before: Arc<Snapshot>, mut changes: Subscription) {
        while let Some(step) = changes.recv_blocking() {
            if let Ok(published) = step {
                self.scrape.metrics.observe(&published.transaction, host::monotonic_ns());
                if self.lines.is_some() || self.scrape.otlp.get().is_some() {
                    self.tell(&before, &published);
                }
                before = Arc::clone(&published.snapshot);
            } else {
                let Some(tracker) = self.tracker.upgrade() else { return };
                let Ok(again) = tracker.subscribe() else { return };
                (before, changes) = again;
                self.lost(&before);
            }
        }
    }

    fn tell(&mut self, old: &Snapshot, published: &Published) {
        let new = &published.snapshot;
        let clock = host::clock();
        let mut before = Scene::new(old, self.secrets);
        let mut now = Scene::new(new, self.secrets);
        for what in What::of_step(published, old.coverage()) {
            let is_wanted =
                self.events.is_empty() || self.events.iter().any(|wanted| wanted == what.word());
            if !is_wanted {
                continue;
            }
            let wall_ns = clock.wall_ns(what.ktime_ns());
            let (revision, coverage) = (new.revision(), new.coverage());
            let happening = Happening { wall_ns, what, revision, coverage };
            let line = said_json(&Said::of(&happening, &mut before, &mut now), wall_ns);
            self.hand_over(&line, wall_ns, Urgency::Line);
        }
    }

    /// It was too slow: what happened meanwhile is not told.
    fn lost(&mut self, snapshot: &Snapshot) {
        let wall_ns = host::clock().wall_ns(0);
        let what = What::Lost("exported too slowly: changes were dropped");
        let (revision, coverage) = (snapshot.revision(), snapshot.coverage());
        let happening = Happening { wall_ns, what, revision, coverage };
        let mut scenes = [0, 1].map(|_| Scene::new(snapshot, self.secrets));
        let [before, now] = &mut scenes;
        let line = said_json(&Said::of(&happening, before, now), wall_ns);
        self.hand_over(&line, wall_ns, Urgency::Notice);
    }

    fn hand_over(&mut self, line: &str, wall_ns: u64, urgency: Urgency) {
        if let Some(lines) = &mut self.lines {
            let before = lines.dropped();
            lines.write(line, host::monotonic_ns(), urgency);
            if lines.dropped() != before {
                let mut told = self.scrape.lines.lock().unwrap_or_else(PoisonError::into_inner);
                *told = lines.dropped();
            }
        }
        if let Some(sender) = self.scrape.otlp.get() {
            sender.send(line, wall_ns, urgency);
        }
    }
}
