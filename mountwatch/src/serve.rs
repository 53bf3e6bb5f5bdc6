//! `mountwatch agent`: one tracker for everybody on the host, over gRPC on a unix socket.
//!
//! The tracker's writer is a thread of its own; everything here reads its snapshots. Questions wait for
//! the freshness barrier together ([`barrier`]), watchers read one [`journal`], and what a caller may see
//! is found out for each call anew ([`scope`]). Limits and their reasons: [`limits`].

mod barrier;
mod complaints;
mod copies;
mod exporter;
mod incoming;
mod journal;
mod limits;
mod peer;
mod questions;
mod scope;
mod socket;
mod systemd;
mod watch;

use crate::agent::{Config, StartError, Tracker, TrackerError};
use crate::exports::{HttpError, JsonLinesError, OtlpError, TextfileError};
use crate::mapped::MappedServer;
use crate::metrics::Metrics;
use crate::proto::DESCRIPTORS;
use crate::proto::v1::index_server::IndexServer;
use crate::proto::v1::mountwatch_server::MountwatchServer;
use crate::render::Secrets;
use barrier::Barrier;
use complaints::Complaints;
use incoming::Places;
use journal::Journal;
use limits::Counters;
use socket::Socket;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use systemd::Manager;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch as channel};
use tonic::transport::Server;

pub use exporter::Exports;

/// Where the agent's socket is by default.
pub const SOCKET: &str = "/run/mountwatch/mountwatch.sock";
/// Its mode by default: root and the group.
pub const SOCKET_MODE: u32 = 0o660;
/// Where the mapped tables are handed out by default.
pub const MAPPED_SOCKET: &str = "/run/mountwatch/mapped.sock";
/// Everybody may connect there: what is handed out is what each has a right to.
const MAPPED_SOCKET_MODE: u32 = 0o666;

/// Threads that answer; the tracker, the barrier and the journal have one each besides.
const THREADS: usize = 2;
/// How often the service manager is told how things are.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the tracker still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How an agent runs.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// How the host is tracked.
    pub tracker: Config,
    /// Where the socket is made.
    pub socket: PathBuf,
    /// Its mode.
    pub socket_mode: u32,
    /// Its group, by name or number; by default the process's own. Members see everything.
    pub socket_group: Option<String>,
    /// Where the mapped tables are handed out, if they are ([`crate::mapped`]).
    pub mapped_socket: Option<PathBuf>,
    /// Whether values of options that hold secrets are shown to everybody.
    pub secrets: Secrets,
    /// What leaves the agent by itself.
    pub exports: Exports,
}

impl ServeConfig {
    /// Everything as it is by default.
    pub fn new() -> Self {
        Self {
            tracker: Config::new(),
            socket: PathBuf::from(SOCKET),
            socket_mode: SOCKET_MODE,
            socket_group: None,
            mapped_socket: Some(PathBuf::from(MAPPED_SOCKET)),
            secrets: Secrets::Hidden,
            exports: Exports::default(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an agent does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another one has the socket.
    #[error("another agent serves {0}; end it first, or give another --socket")]
    Running(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is no socket; it stays as it is: give another --socket")]
    NoSocket(PathBuf),
    /// The socket cannot be made.
    #[error("cannot {what} the socket {path}: {io_error}")]
    Socket {
        /// What.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// Nothing can be tracked.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The tracker ended, or does not answer.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// A thread, the event loop, a signal.
    #[error("cannot {what}: {io_error}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// HTTP/2 over the socket.
    #[error("cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Metrics over HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Metrics in a file.
    #[error(transparent)]
    Textfile(#[from] TextfileError),
    /// JSON lines.
    #[error(transparent)]
    JsonLines(#[from] JsonLinesError),
    /// OpenTelemetry.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The definitions of the interface.
    #[error("cannot tell the interface: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What all calls share.
#[derive(Debug)]
struct Agent {
    tracker: Arc<Tracker>,
    barrier: Barrier,
    journal: Arc<Journal>,
    /// This run, in each position.
    instance: u64,
    backend: String,
    secrets: Secrets,
    counters: Arc<Counters>,
    metrics: Arc<Metrics>,
    complaints: Complaints,
    watchers: Arc<Semaphore>,
    watchers_of_users: Places,
    copies: Arc<Semaphore>,
    /// Turns true when the agent ends.
    end: channel::Sender<bool>,
}

/// The agent as what is called.
#[derive(Clone, Debug)]
struct Service(Arc<Agent>);

impl Deref for Service {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.0
    }
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |io_error| ServeError::Io { what, io_error }
}

/// Tracks and serves until a signal (SIGTERM, SIGINT) ends it. The socket is there once the index is
/// complete and the self-test is over.
pub fn serve(config: &ServeConfig) -> Result<(), ServeError> {
    let manager = Manager::from_env();
    // Nothing is loaded into the kernel for an agent that may not run.
    let (socket, listener) =
        Socket::bind(&config.socket, config.socket_mode, config.socket_group.as_deref())?;
    let bind =
        |path: &PathBuf| Socket::bind(path, MAPPED_SOCKET_MODE, config.socket_group.as_deref());
    let mapped = config.mapped_socket.as_ref().map(bind).transpose()?;
    raise_descriptors();
    manager.tell("STATUS=reading the mount namespaces");
    let tracker = Arc::new(Tracker::start(&config.tracker)?);
    let mapped = match mapped {
        Some((socket, listener)) => {
            let server = MappedServer::start(listener, Arc::clone(&tracker), socket.group);
            Some((server.map_err(cannot("keep the mapped tables"))?, socket))
        }
        None => None,
    };
    let agent = Arc::new(Agent::start(tracker, config.secrets)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(cannot("start the event loop"))?;
    let group = socket.group;
    let done = runtime.block_on(async {
        exporter::start(&agent, &config.exports).await?;
        agent.run(listener, group, &manager).await
    });
    drop((socket, mapped));
    // Calls that wait for a lock of the kernel are not waited for.
    runtime.shutdown_background();
    done
}

impl Agent {
    fn start(tracker: Arc<Tracker>, secrets: Secrets) -> Result<Self, ServeError> {
        let counters = Arc::new(Counters::default());
        let backend = tracker.status()?.backend.to_owned();
        let barrier = Barrier::start(Arc::clone(&tracker)).map_err(cannot("start a thread"))?;
        let journal =
            Journal::start(&tracker, &counters, secrets).map_err(cannot("start a thread"))?;
        Ok(Self {
            tracker,
            barrier,
            journal,
            instance: instance(),
            backend,
            secrets,
            counters,
            metrics: Arc::default(),
            complaints: Complaints::default(),
            watchers: Arc::new(Semaphore::new(limits::WATCHERS_MAX)),
            watchers_of_users: Places::default(),
            copies: Arc::new(Semaphore::new(limits::COPIES_MAX)),
            end: channel::Sender::new(false),
        })
    }

    async fn run(
        self: &Arc<Self>,
        listener: std::os::unix::net::UnixListener,
        group: u32,
        manager: &Manager,
    ) -> Result<(), ServeError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot("wait for signals"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot("wait for signals"))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(cannot("listen"))?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<MountwatchServer<Service>>().await;
        health.set_serving::<IndexServer<Service>>().await;
        let service = Service(Arc::clone(self));
        let mountwatch = MountwatchServer::new(service.clone())
            .max_decoding_message_size(limits::REQUEST_BYTES_MAX);
        let index = IndexServer::new(service).max_decoding_message_size(limits::REQUEST_BYTES_MAX);
        let mut ends = self.end.subscribe();
        let server = Server::builder()
            .max_concurrent_streams(limits::CALLS_OF_CONNECTION_MAX)
            .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(limits::KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(limits::KEEPALIVE_MAX))
            .add_service(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .add_service(mountwatch)
            .add_service(index)
            .serve_with_incoming_shutdown(
                incoming::incoming(listener, group, &self.counters),
                async move {
                    let _ = ends.wait_for(|ends| *ends).await;
                },
            );
        let mut server = std::pin::pin!(server);
        manager.tell(&format!("READY=1\nSTATUS={}", self.sentence()));
        let mut outcome = Ok(());
        tokio::select! {
            served = &mut server => return served.map_err(Into::into),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            ended = self.look_after(manager) => outcome = Err(ended),
        }
        manager.tell("STOPPING=1");
        self.end.send_replace(true);
        match tokio::time::timeout(limits::END_MAX, server).await {
            Ok(served) => outcome.and(served.map_err(Into::into)),
            Err(_) => outcome,
        }
    }

    /// Tells the service manager how things are, and that the tracker lives. Never waits for that.
    /// Ends when the tracker has.
    async fn look_after(&self, manager: &Manager) -> ServeError {
        // Twice as often as it has to be told, as sd_watchdog_enabled(3) says.
        let watchdog = manager.watchdog.map(|watchdog| watchdog / 2);
        let mut look = tokio::time::interval(watchdog.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        let (mut told, mut said) = (tokio::time::Instant::now(), tokio::time::Instant::now());
        let mut turns = 0;
        loop {
            look.tick().await;
            if let Some(error) = self.tracker.end() {
                return error.into();
            }
            let now = self.tracker.turns();
            if let Some(watchdog) = watchdog
                && now != turns
                && told.elapsed() >= watchdog
            {
                manager.tell("WATCHDOG=1");
                told = tokio::time::Instant::now();
                turns = now;
            }
            if said.elapsed() >= STATUS_EVERY {
                manager.tell(&format!("STATUS={}", self.sentence()));
                said = tokio::time::Instant::now();
            }
        }
    }

    fn sentence(&self) -> String {
        let latest = self.tracker.latest();
        format!(
            "{}: {} mounts in {} mount namespaces at revision {}, coverage {}",
            self.backend,
            latest.attached_mounts(),
            latest.namespaces().count(),
            latest.revision(),
            latest.coverage()
        )
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// A number that no other run has: the time of the start, and who it is.
fn instance() -> u64 {
    let clock = crate::kernel::host::clock();
    clock.realtime_ns.rotate_left(16) ^ clock.monotonic_ns ^ u64::from(std::process::id())
}

/// As many descriptors as the host allows: a connection is one.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("cannot raise the number of descriptors: {error}");
    }
}
