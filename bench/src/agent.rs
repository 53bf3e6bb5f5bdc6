//! Questions from another process: to an agent, and to the memory that it shares; and what those who
//! mount notice of them.

use crate::data::Data;
use crate::measure::{Row, rounds, way};
use crate::{changes, peers, questions};
use anyhow::{Context as _, Result, ensure};
use mountwatch::agent::{Config, Status};
use mountwatch::client::{Client, Whose, blocking, mapped};
use mountwatch::query::{Binds, MountQueries as _};
use mountwatch::serve::{ServeConfig, serve};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an agent may take to start.
const START_MAX: Duration = Duration::from_mins(2);
/// Who ask at the same time, and who read mountinfo.
const CLIENTS: usize = 64;
const READERS: usize = 2;
/// How often those who ask come and go.
const TURNS: usize = 3;
/// Mounts and unmounts in one turn.
const CYCLES: u32 = 400;
/// How much those who ask leave to others, and how much those who mount take.
const NICE_ASK: i32 = 19;
const NICE_MOUNT: i32 = -20;

/// An agent in a process of its own.
pub(crate) struct Agent {
    child: Child,
    directory: PathBuf,
}

impl Agent {
    pub(crate) fn start(backend: &str) -> Result<Self> {
        let directory = PathBuf::from(format!("/run/mountwatch-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).context("cannot make a directory for the sockets")?;
        let child = Command::new("/proc/self/exe")
            .args(["agent", "--backend", backend, "--directory"])
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start an agent")?;
        let agent = Self { child, directory };
        let start = Instant::now();
        while blocking::Client::connect(&agent.socket()).is_err() {
            ensure!(start.elapsed() < START_MAX, "the agent does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its status, after everything that was over before.
    pub(crate) fn status(&self) -> Result<Status> {
        Ok(blocking::Client::connect(&self.socket())?.status()?)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("mountwatch.sock")
    }

    fn mapped_socket(&self) -> PathBuf {
        self.directory.join("mapped.sock")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The agent's part.
pub(crate) fn run(config: Config, directory: &Path) -> Result<()> {
    let config = ServeConfig {
        tracker: config,
        socket: directory.join("mountwatch.sock"),
        mapped_socket: Some(directory.join("mapped.sock")),
        ..ServeConfig::new()
    };
    Ok(serve(&config)?)
}

/// Asks it, and mounts while others ask.
pub(crate) fn ask(backend: &str, data: &Data) -> Result<Vec<Row>> {
    let agent = Agent::start(backend)?;
    let mut rows = point(&agent, data)?;
    rows.extend(beside_others(&agent, data)?);
    Ok(rows)
}

fn point(agent: &Agent, data: &Data) -> Result<Vec<Row>> {
    let client = blocking::Client::connect(&agent.socket())?;
    let asked = client.view(Whose::Caller);
    let table = mapped::View::connect(&agent.mapped_socket())?;
    table.sync()?;
    let paths = questions::Paths::new(data);
    let one = paths.next();
    let statx = || {
        ensure!(peers::is_mount_root(paths.next())?, "not there");
        Ok(())
    };
    let in_table = |path: &str| {
        ensure!(table.is_mount_point(Path::new(path), Binds::Count)?.value, "not there");
        Ok(())
    };
    let mut rows = rounds(
        "is P a mount point, from another process",
        vec![
            way("mountwatch", || in_table(paths.next())),
            way("mountwatch, one path again", || in_table(one)),
            way("statx", statx),
        ],
    )?;
    rows.extend(rounds(
        "is P a mount point, through the socket",
        vec![
            way("mountwatch", || {
                let path = Path::new(paths.next());
                ensure!(asked.is_mount_point(path, Binds::Count)?.value, "not there");
                Ok(())
            }),
            way("statx", statx),
        ],
    )?);
    Ok(rows)
}

/// What a mount and umount takes while nobody asks, while many ask the agent, and while few read the
/// kernel's own file. Who mounts goes first wherever he wants a processor: what is left is locks.
fn beside_others(agent: &Agent, data: &Data) -> Result<Vec<Row>> {
    let what = "mount+umount while others ask";
    let socket = agent.socket();
    let (asked, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut values: [Vec<f64>; 3] = Default::default();
    for _ in 0..TURNS {
        values[0].push(mount_first(data)?);
        let clients = |stop: &AtomicBool| ask_until(&socket, data, stop, &asked);
        values[1].push(beside(1, &clients, || mount_first(data))?);
        let readers = |stop: &AtomicBool| read_until(stop, &read);
        values[2].push(beside(READERS, &readers, || mount_first(data))?);
    }
    let [off, clients, readers] = values;
    let count = |count: &AtomicU64, what: &str| format!("{} {what}", count.load(Ordering::Relaxed));
    Ok(vec![
        Row::of(what, "off", off),
        Row::of(what, "64 clients ask the agent", clients).noting(count(&asked, "answers")),
        Row::of(what, "2 threads read mountinfo", readers).noting(count(&read, "readings")),
    ])
}

/// The median of some cycles, by a thread that goes before all others.
fn mount_first(data: &Data) -> Result<f64> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_nice(NICE_MOUNT)?;
            changes::cycle_ns(data, CYCLES)
        });
        thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })
}

/// While so many threads do something that ends when it is told.
fn beside<T>(
    threads: usize,
    work: &(impl Fn(&AtomicBool) -> Result<()> + Sync),
    during: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    set_nice(NICE_ASK)?;
                    work(&stop)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        let result = during();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        result
    })
}

/// Of the calling thread, and of those that it starts.
fn set_nice(nice: i32) -> Result<()> {
    let thread = Some(rustix::thread::gettid());
    rustix::process::setpriority_process(thread, nice).context("cannot set a nice value")
}

/// Many clients in one event loop, each with a connection of its own.
fn ask_until(socket: &Path, data: &Data, stop: &AtomicBool, asked: &AtomicU64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let paths: Arc<[PathBuf]> = data.paths.iter().map(PathBuf::from).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let ask = |number: usize| {
        let (paths, socket) = (Arc::clone(&paths), socket.to_owned());
        let is_over = Arc::clone(&is_over);
        async move {
            let client = Client::connect(&socket).await?;
            let (mut at, mut count) = (number, 0);
            while !is_over.load(Ordering::Relaxed) {
                at = (at + questions::STRIDE) % paths.len();
                let answer = client.is_mount_point(Whose::Caller, &paths[at], Binds::Count).await?;
                ensure!(answer.value, "not there");
                count += 1;
            }
            Ok::<u64, anyhow::Error>(count)
        }
    };
    runtime.block_on(async {
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(ask(number))).collect();
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            asked.fetch_add(client.await??, Ordering::Relaxed);
        }
        Ok(())
    })
}

fn read_until(stop: &AtomicBool, read: &AtomicU64) -> Result<()> {
    let mut text = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        peers::read_mountinfo(&mut text)?;
        read.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
