//! `mountwatch agent`: many who ask at once, what it refuses, where it ends.

use crate::agent::{Agent, Ground};
use crate::cli_checks::Setting;
use anyhow::{Context as _, Result, bail, ensure};
use hyper_util::rt::TokioIo;
use mountwatch::agent::{Config, Tracker};
use mountwatch::client::{Client, ClientError, WatchOptions, Watched, Whose, blocking};
use mountwatch::query::{Binds, MountQueries};
use mountwatch::render::{SaidKind, Saying};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use v1::mountwatch_client::MountwatchClient;

/// Who ask at the same time.
const CLIENTS: usize = 64;
/// Mounts of the tree that is moved, its root included.
const TREE: usize = 201;
/// How a client of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As the agent has them: `serve/limits.rs`.
const WATCHERS_MAX: usize = 256;
const CONNECTIONS_MAX: usize = 1_024;

#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    unreachable_pub,
    unused_qualifications,
    reason = "what a program wrote"
)]
mod v1 {
    include!("../../mountwatch/proto/generated/mountwatch.v1.rs");
}

fn event_loop() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn tmpfs(at: &Path) -> Result<()> {
    mount("agent", at, "tmpfs", MountFlags::empty(), Some(c"size=4k"))
        .with_context(|| format!("cannot mount {}", at.display()))
}

/// Somebody mounts, or unmounts, and asks at once: over gRPC and in process.
pub(crate) fn writes(setting: &Setting) -> Result<()> {
    let ground = Ground::new(setting)?;
    let path = ground.directory("w")?;
    let agent = Agent::start(setting, &[])?;
    let client = blocking::Client::connect(&agent.socket())?;
    let view = client.view(Whose::Caller);
    let took = own_writes(setting, &path, || Ok(view.is_mount_point(&path, Binds::Count)?.value))?;
    println!("cli_agent_writes: {} over gRPC in {took:.1?}", setting.agent.writes);
    agent.terminate()?;
    let tracker = Tracker::start(&Config { backend: setting.choice(), ..Config::new() })?;
    let took = own_writes(setting, &path, || {
        let view = tracker.view_of_task(std::process::id())?;
        Ok(view.is_mount_point(&path, Binds::Count)?.value)
    })?;
    println!("cli_agent_writes: {} in process in {took:.1?}", setting.agent.writes);
    Ok(())
}

fn own_writes(setting: &Setting, path: &Path, ask: impl Fn() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    for number in 0..setting.agent.writes {
        let is_mounted = number % 2 == 0;
        if is_mounted {
            tmpfs(path)?;
        } else {
            unmount(path, UnmountFlags::empty())?;
        }
        ensure!(ask()? == is_mounted, "write {number}: mounted is {is_mounted}, said is the other");
    }
    if setting.agent.writes % 2 == 1 {
        unmount(path, UnmountFlags::empty())?;
    }
    Ok(start.elapsed())
}

/// Many ask while mounts come and go and a tree of 200 is moved: it is in one place, always.
pub(crate) fn clients(setting: &Setting) -> Result<()> {
    let ground = Ground::new(setting)?;
    let (here, there) = (ground.directory("here")?, ground.directory("there")?);
    let other = ground.directory("other")?;
    tmpfs(&here)?;
    for number in 1..TREE {
        let path = here.join(format!("m{number}"));
        std::fs::create_dir(&path)?;
        tmpfs(&path)?;
    }
    let agent = Agent::start(setting, &[])?;
    let end = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    let length = Duration::from_secs(setting.agent.seconds);
    let base = ground.0.clone();
    thread::scope(|scope| -> Result<()> {
        let mover = scope.spawn(|| -> Result<()> {
            let mut places = [&here, &there];
            while !end.load(Ordering::Relaxed) {
                mount_move(places[0], places[1]).context("cannot move")?;
                places.reverse();
                for _ in 0..4 {
                    tmpfs(&other)?;
                    unmount(&other, UnmountFlags::empty())?;
                }
                changes.fetch_add(9, Ordering::Relaxed);
            }
            Ok(())
        });
        let asked = ask_many(&agent, &base, length);
        end.store(true, Ordering::Relaxed);
        mover.join().map_err(|_| anyhow::anyhow!("the mover panicked"))??;
        let asked = asked?;
        let changes = changes.load(Ordering::Relaxed);
        println!(
            "cli_agent_clients: {CLIENTS} clients asked {asked} times in {length:?}, with {changes} \
             changes"
        );
        ensure!(asked > CLIENTS as u64 && changes > 9, "nothing happened");
        Ok(())
    })?;
    agent.terminate()?;
    Ok(())
}

fn ask_many(agent: &Agent, base: &Path, length: Duration) -> Result<u64> {
    let socket = agent.socket();
    event_loop()?.block_on(async {
        let asked = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..CLIENTS {
            let (socket, base) = (socket.clone(), base.to_owned());
            let asked = Arc::clone(&asked);
            tasks.push(tokio::spawn(async move {
                let client = Client::connect(&socket).await?;
                let start = Instant::now();
                // Under emulation one turn of all of them may take longer.
                let mut turns = 0;
                while turns < 2 || start.elapsed() < length {
                    whole(&client, &base).await?;
                    turns += 1;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, anyhow::Error>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(asked.load(Ordering::Relaxed))
    })
}

/// The tree is wholly in one of the two places.
async fn whole(client: &Client, base: &Path) -> Result<()> {
    let mounts = client.below(Whose::Caller, base).await?.value;
    let below = |name: &str| {
        let above = base.join(name);
        mounts.iter().filter(|mount| mount.mountpoint.starts_with(&above)).count()
    };
    let places = (below("here"), below("there"));
    ensure!(places == (TREE, 0) || places == (0, TREE), "torn: {places:?}");
    Ok(())
}

/// A watcher that is cut off goes on where it was, without a gap or a duplicate.
pub(crate) fn resume(setting: &Setting) -> Result<()> {
    const MOUNTS: u32 = 120;
    let ground = Ground::new(setting)?;
    let path = ground.directory("r")?;
    let agent = Agent::start(setting, &[])?;
    // Everywhere: a mount that nobody could look at is at no path.
    let options = WatchOptions::default();
    let client = blocking::Client::connect(&agent.socket())?;
    let mut watching = client.watch(&options)?;
    let Some(Watched::Started(..)) = watching.next()? else { bail!("it does not start") };
    let mut after = watching.position();
    drop(watching);
    let mut told = Vec::new();
    for round in 0..MOUNTS / 10 {
        for number in round * 10..(round + 1) * 10 {
            let source = format!("r{number}");
            mount(&*source, &path, "tmpfs", MountFlags::empty(), None)?;
            unmount(&path, UnmountFlags::empty())?;
        }
        let client = blocking::Client::connect(&agent.socket())?;
        let mut watching = client.watch(&WatchOptions { after, ..options.clone() })?;
        // Some of them, then it is cut off.
        for _ in 0..15 {
            told.extend(attached(watching.next()?)?);
            after = watching.position();
        }
    }
    let client = blocking::Client::connect(&agent.socket())?;
    let mut watching = client.watch(&WatchOptions { after, ..options.clone() })?;
    let last = format!("r{}", MOUNTS - 1);
    while told.last() != Some(&last) {
        told.extend(attached(watching.next()?)?);
    }
    let expected: Vec<String> = (0..MOUNTS).map(|number| format!("r{number}")).collect();
    // Others may mount something too.
    told.retain(|one| {
        one.starts_with('r') && one.get(1..).is_some_and(|n| n.parse::<u32>().is_ok())
    });
    // `poll` sees what is there when it looks, `notify` may see only what was given.
    if setting.backend_in_use()? == "hooks" {
        ensure!(told == expected, "told {told:?}");
    } else {
        let mut sorted = told.clone();
        sorted.dedup();
        ensure!(sorted == told && told.iter().all(|one| expected.contains(one)), "told {told:?}");
    }
    // A place that nobody keeps, and one of another run.
    for instance in [after.map_or(0, |after| after.instance), 1] {
        let revision = mountwatch::model::Revision(0);
        let old = mountwatch::client::Position { instance, revision, events: None };
        let mut watching = client.watch(&WatchOptions { after: Some(old), ..options.clone() })?;
        ensure!(matches!(watching.next()?, Some(Watched::Gap(_))), "it goes on from nowhere");
        ensure!(watching.next()?.is_none(), "something follows");
    }
    agent.terminate()?;
    Ok(())
}

/// The source of a mount that came.
fn attached(watched: Option<Watched>) -> Result<Option<String>> {
    match watched {
        None => bail!("the agent has ended"),
        Some(Watched::Gap(why)) => bail!("a gap: {why}"),
        Some(Watched::Said(said)) => match said.what {
            Saying::Change(change) => Ok(match change.kind {
                SaidKind::Attach(mount) => {
                    Some(String::from_utf8_lossy(&mount.source).into_owned())
                }
                SaidKind::Glimpsed { glimpsed, is_attached: true, .. } => {
                    glimpsed.source.as_deref().map(|source| String::from_utf8_lossy(source).into())
                }
                _ => None,
            }),
            _ => Ok(None),
        },
        Some(_) => Ok(None),
    }
}

/// A channel by which anything can be sent.
async fn channel(agent: &Agent) -> Result<Channel> {
    let socket = agent.socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Ok(Endpoint::from_static("http://localhost").connect_with_connector(connector).await?)
}

/// Whatever is sent gets a clear answer, or its connection is closed; the agent stays.
pub(crate) fn bad_input(setting: &Setting) -> Result<()> {
    let agent = Agent::start(setting, &[])?;
    let still_answers = || -> Result<()> {
        let client = blocking::Client::connect(&agent.socket())?;
        let view = client.view(Whose::Caller);
        ensure!(view.is_mount_point(Path::new("/proc"), Binds::Count)?.value, "no mount point");
        Ok(())
    };
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4_096],
        &[PREFACE, &[0xff; 4_096]].concat(),
        // A frame that says it is larger than any.
        &[PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0]].concat(),
        // Headers that end in the middle.
        &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 1, 4, 0, 0, 0, 1, 0x82]].concat(),
        PREFACE,
        b"",
    ] {
        let mut stream = UnixStream::connect(agent.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // It may be closed already.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        still_answers().with_context(|| format!("after {:?}", &bytes[..bytes.len().min(40)]))?;
    }
    event_loop()?.block_on(async {
        let channel = channel(&agent).await?;
        refusals(MountwatchClient::new(channel.clone())).await?;
        wrong_message(channel).await
    })?;
    still_answers()?;
    let log = agent.terminate()?;
    ensure!(!log.contains("panicked"), "{log}");
    // Some hundred requests mean nothing.
    let lines = log.lines().filter(|line| line.contains("a request was refused")).count();
    ensure!((1..20).contains(&lines), "{lines} lines about requests: {log}");
    Ok(())
}

async fn refusals(mut client: MountwatchClient<Channel>) -> Result<()> {
    let question = |path: &[u8]| v1::IsMountPointRequest {
        path: path.to_vec(),
        ..v1::IsMountPointRequest::default()
    };
    for (path, word) in [
        (&b"relative/path"[..], "absolute"),
        (b"", "absolute"),
        (b"/a\0b", "zero byte"),
        (b"/a/../b", "`..`"),
    ] {
        for _ in 0..50 {
            let status = client.is_mount_point(question(path)).await.err();
            let status = status.with_context(|| format!("{path:?} is taken"))?;
            ensure!(
                status.code() == Code::InvalidArgument && status.message().contains(word),
                "{path:?}: {status:?}"
            );
        }
    }
    // Bytes that are no UTF-8 are a path.
    ensure!(!client.is_mount_point(question(b"/\xff\xfe")).await?.into_inner().is_mount_point);
    let huge = [&b"/"[..], &vec![b'x'; 100 << 20]].concat();
    let status = client.is_mount_point(question(&huge)).await.err().context("it is taken")?;
    ensure!(
        matches!(
            status.code(),
            Code::OutOfRange
                | Code::ResourceExhausted
                | Code::Unavailable
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
        ),
        "100 MB: {status:?}"
    );
    let status = client.get_mount(v1::GetMountRequest::default()).await.err();
    ensure!(status.map(|status| status.code()) == Some(Code::InvalidArgument), "no mount is one");
    let unknown = v1::WatchRequest {
        filter: Some(v1::WatchFilter { kinds: vec![4_711], ..v1::WatchFilter::default() }),
        ..v1::WatchRequest::default()
    };
    let status = client.watch(unknown).await.err();
    ensure!(status.map(|status| status.code()) == Some(Code::InvalidArgument), "an unknown enum");
    for (from, code) in [
        (v1::viewpoint::From::Task(u32::MAX), Code::NotFound),
        (v1::viewpoint::From::Namespace(1), Code::NotFound),
        (v1::viewpoint::From::NamespaceId(u64::MAX), Code::NotFound),
    ] {
        let viewpoint = Some(v1::Viewpoint { from: Some(from) });
        let asked = v1::IsMountPointRequest { viewpoint, ..question(b"/") };
        let status = client.is_mount_point(asked).await.err().context("it is answered")?;
        ensure!(status.code() == code, "{from:?}: {status:?}");
    }
    let version = client.get_version(v1::GetVersionRequest {}).await?.into_inner();
    let position = v1::Position { instance: version.instance, revision: u64::MAX, events: None };
    let future = v1::Freshness { at_least: Some(v1::freshness::AtLeast::Position(position)) };
    let asked = v1::IsMountPointRequest { min_freshness: Some(future), ..question(b"/") };
    let status = client.is_mount_point(asked).await.err().context("it is answered")?;
    ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
    let waited = v1::WaitForMountRequest {
        path: b"/no/such/path".to_vec(),
        timeout_ms: 50,
        ..v1::WaitForMountRequest::default()
    };
    let status = client.wait_for_mount(waited).await.err().context("it is there")?;
    ensure!(status.code() == Code::DeadlineExceeded, "{status:?}");
    Ok(())
}

/// A message of another type in the place of a request.
async fn wrong_message(channel: Channel) -> Result<()> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<v1::Position, v1::IsMountPointResponse>::default();
    let wrong = v1::Position { instance: 7, revision: 7, events: Some(7) };
    let path = "/mountwatch.v1.Mountwatch/IsMountPoint".parse()?;
    let status = grpc.unary(tonic::Request::new(wrong), path, codec).await.err();
    let status = status.context("it is taken")?;
    ensure!(
        matches!(status.code(), Code::Internal | Code::InvalidArgument),
        "another message: {status:?}"
    );
    Ok(())
}

/// Where its limits are reached it says so, and goes on with all others.
pub(crate) fn limits(setting: &Setting) -> Result<()> {
    let agent = Agent::start(setting, &[])?;
    let first = blocking::Client::connect(&agent.socket())?;
    let answers = |client: &blocking::Client| -> Result<bool> {
        Ok(client.view(Whose::Caller).is_mount_point(Path::new("/proc"), Binds::Count)?.value)
    };
    raise_descriptors()?;
    let mut streams = Vec::new();
    for number in 0..setting.agent.connections {
        match UnixStream::connect(agent.socket()) {
            Ok(stream) => streams.push(stream),
            Err(error) => bail!("connection {number}: {error}"),
        }
        if number % 500 == 0 {
            ensure!(answers(&first)?, "no mount point");
        }
    }
    ensure!(answers(&first)?, "no mount point");
    // All of them are there, and say nothing: they are closed, and others have their place.
    let start = Instant::now();
    let late = loop {
        match blocking::Client::connect(&agent.socket()) {
            Ok(client) if answers(&client).unwrap_or(false) => break start.elapsed(),
            _ => ensure!(start.elapsed() < Duration::from_secs(30), "nobody else gets in"),
        }
        thread::sleep(Duration::from_millis(100));
    };
    println!(
        "cli_agent_limits: {} connections; another one is answered after {late:.1?}",
        streams.len()
    );
    drop(streams);
    event_loop()?.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Client::connect(&agent.socket()).await?);
        }
        let mut watching = Vec::new();
        for number in 0..WATCHERS_MAX {
            let client = clients.get(number % 4).context("no client")?;
            let watch = client.watch(&WatchOptions::default()).await;
            watching.push(watch.with_context(|| format!("watcher {number}"))?);
        }
        let refused = clients[0].watch(&WatchOptions::default()).await;
        let Err(ClientError::Refused { code, message }) = refused else { bail!("one too many") };
        ensure!(code == "ResourceExhausted" && message.contains("Watch"), "{code}: {message}");
        drop(watching);
        let start = Instant::now();
        while clients[0].watch(&WatchOptions::default()).await.is_err() {
            ensure!(start.elapsed() < Duration::from_secs(20), "their places stay taken");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })?;
    ensure!(answers(&first)?, "no mount point");
    let status = first.status()?;
    let counted = |wanted: &str| {
        status.counters.iter().find(|(name, _)| name == wanted).map_or(0, |(_, value)| *value)
    };
    ensure!(counted("agent_watchers_refused") >= 1, "no refused watcher is counted");
    // Where connecting takes long, places are free again before they are all taken.
    let closed = counted("agent_connections_refused") + counted("agent_connections_silent");
    let too_many = setting.agent.connections.saturating_sub(CONNECTIONS_MAX);
    ensure!(closed >= too_many as u64, "of {too_many} connections too many {closed} are counted");
    agent.terminate()?;
    Ok(())
}

pub(crate) fn raise_descriptors() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
