//! Memory of an agent, in a process of its own: of what there is anyway, of mounts, and of copies of them.

use crate::agent::Agent;
use crate::data::Data;
use crate::measure::Row;
use crate::sys;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// Within which a process gives back what it took for a burst.
const REST: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// What an agent has, with how many mounts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    bytes: f64,
    mounts: f64,
}

impl Held {
    /// Of an agent that has taken what there is; the least while nothing happens.
    fn by(agent: &Agent) -> Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mounts = agent.status()?.mounts as f64;
        let (start, mut bytes) = (Instant::now(), f64::MAX);
        while start.elapsed() < REST {
            bytes = bytes.min(resident(&agent.pid().to_string())?);
            std::thread::sleep(TICK);
        }
        Ok(Self { bytes, mounts })
    }

    /// Bytes for each mount that is more than before.
    fn each_since(self, before: Self) -> Result<f64> {
        ensure!(self.mounts > before.mounts, "the agent has no more mounts than before");
        Ok((self.bytes - before.bytes) / (self.mounts - before.mounts))
    }
}

/// What an agent has before there are mounts of ours: programs, ring, threads, the machine's own mounts.
pub(crate) fn before(backend: &str) -> Result<Held> {
    Held::by(&Agent::start(backend)?)
}

/// What the mounts add to that, and a copy of their namespace.
pub(crate) fn measure(backend: &str, data: &Data, before: Held) -> Result<Vec<Row>> {
    let agent = Agent::start(backend)?;
    let own = Held::by(&agent)?;
    let least = f64::from(u32::try_from(data.paths.len())?);
    ensure!(own.mounts >= least, "the agent has too few mounts");
    let copied = with_copy(|| Held::by(&agent))?;
    Ok(vec![
        Row::single("memory whatever there is", "mountwatch", before.bytes, "bytes"),
        Row::single("memory per mount", "mountwatch", own.each_since(before)?, "bytes"),
        Row::single("memory per copied mount", "mountwatch", copied.each_since(own)?, "bytes"),
        Row::single("memory per mount", "procfs crate", of_structures()?, "bytes"),
    ])
}

/// What a list of structures out of mountinfo takes for each mount.
fn of_structures() -> Result<f64> {
    sys::trim();
    let before = resident("self")?;
    let list = procfs::process::Process::myself()?.mountinfo()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = list.0.len() as f64;
    sys::trim();
    Ok((resident("self")? - before) / count)
}

/// Bytes of memory that a process has.
fn resident(process: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: f64 = text.split(' ').nth(1).context("a short statm")?.parse()?;
    Ok(pages * 4_096.0)
}

/// While a child has a copy of our mount namespace.
fn with_copy<T>(during: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut child = std::process::Command::new("/proc/self/exe")
        .arg("copy")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start a copy")?;
    let mut word = [0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().context("no pipe")?, &mut word)?;
    let result = during();
    // It ends when its stdin does.
    drop(child.stdin.take());
    child.wait()?;
    result
}

/// The child's part: a copy of the mount namespace until stdin ends.
pub(crate) fn hold_copy() -> Result<()> {
    sys::unshare_mounts()?;
    std::io::Write::write_all(&mut std::io::stdout(), b"1")?;
    std::io::Write::flush(&mut std::io::stdout())?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
