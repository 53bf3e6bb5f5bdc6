//! One boot of one virtual machine: QEMU is started, its serial ports are followed, and the end is
//! told from the ways in which it can fail to come.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::init::UP;

/// How long a boot may take until user space is there. It takes 5 to 10 s; a machine that is busy
/// with other things must not look broken.
const BOOT_LIMIT: Duration = Duration::from_secs(100);

/// How often we look at what the guest has written.
const PACE: Duration = Duration::from_millis(20);

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The command's exit status, as a shell tells it.
    Exited(u8),
    /// The guest said why it could not run the command.
    Refused(String),
    /// The time was over.
    TimeOver,
    /// The machine was gone before the command's end.
    Died,
    /// User space never came; the next boot may well work.
    NeverUp,
}

/// A machine to boot.
#[derive(Debug)]
pub(crate) struct Guest {
    /// QEMU's words, with its accelerator.
    pub(crate) qemu: Vec<PathBuf>,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) memory_mb: u32,
    /// More words for the kernel's command line.
    pub(crate) append: String,
    /// Where the ports' files are put.
    pub(crate) directory: PathBuf,
}

impl Guest {
    /// Boots and waits for the end; the command's output has been passed on when this returns.
    pub(crate) fn boot(&self, deadline: Instant) -> Result<End> {
        let (console, status) = (self.console(), self.directory.join("status"));
        for file in [&console, &status] {
            fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        let mut child = self.command(&console, &status).spawn().context("cannot start qemu")?;
        let output = child.stdout.take().context("qemu has no stdout")?;
        let copier = thread::spawn(move || copy(output));
        let end = follow(&mut child, &copier, &status, deadline);
        // Killed even where it is ending anyway: that takes a second.
        let _ = child.kill();
        child.wait().context("cannot wait for qemu")?;
        copier.join().map_err(|_| anyhow::anyhow!("copying the output panicked"))?;
        end
    }

    /// The last lines of the console.
    pub(crate) fn console_tail(&self) -> String {
        let text = fs::read(self.console()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text), 40)
    }

    fn console(&self) -> PathBuf {
        self.directory.join("console")
    }

    fn command(&self, console: &Path, status: &Path) -> Command {
        // The guest dies with us, however we die: by an interrupt, a time limit of the CI, a kill.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.qemu);
        command.args(["-m", &self.memory_mb.to_string()]).args(["-smp", "2"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none"]);
        command.args(["-no-reboot", "-kernel"]).arg(&self.kernel);
        command.arg("-initrd").arg(&self.initrd);
        // A panic reboots at once, which ends QEMU.
        let words = format!("console=ttyS0 quiet panic=-1 {}", self.append);
        command.args(["-append", words.trim_end()]);
        command.arg("-serial").arg(port("file:", console));
        command.args(["-serial", "stdio"]);
        command.arg("-serial").arg(port("file:", status));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

fn port(kind: &str, path: &Path) -> OsString {
    let mut words = OsString::from(kind);
    words.push(path);
    words
}

/// Passes the command's output on as it comes, until QEMU ends or nobody reads us any more.
fn copy(mut output: ChildStdout) {
    let mut buffer = vec![0; 64 * 1024];
    let mut stdout = io::stdout().lock();
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        if stdout.write_all(&buffer[..count]).and_then(|()| stdout.flush()).is_err() {
            return;
        }
    }
}

/// Waits for the first thing that ends a boot.
fn follow(
    child: &mut Child,
    copier: &JoinHandle<()>,
    status: &Path,
    deadline: Instant,
) -> Result<End> {
    let up_until = Instant::now() + BOOT_LIMIT;
    loop {
        // Before the look at the status: what a machine wrote before it ended counts.
        // Its output ends a moment before itself.
        let ended = child.try_wait().context("cannot wait for qemu")?.is_some();
        let gone = ended || copier.is_finished();
        let text = fs::read_to_string(status).context("cannot read the guest's status")?;
        let (up, end) = said(&text);
        if let Some(end) = end {
            return Ok(end);
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(End::TimeOver);
        } else if !up && (gone || now >= up_until) {
            return Ok(End::NeverUp);
        } else if gone {
            return Ok(End::Died);
        }
        thread::sleep(PACE);
    }
}

/// What the guest has said so far: whether user space is up, and how the command ended.
fn said(text: &str) -> (bool, Option<End>) {
    // A line that has no end yet is still being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut lines = whole.lines().map(str::trim);
    let up = lines.next() == Some(UP);
    let end = lines.next().map(|line| match line.parse() {
        Ok(status) => End::Exited(status),
        Err(_) => End::Refused(line.to_owned()),
    });
    (up, end)
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_port_is_read_line_by_line() {
        assert_eq!(said(""), (false, None));
        assert_eq!(said("u"), (false, None));
        assert_eq!(said("up\n"), (true, None));
        assert_eq!(said("up\n12"), (true, None));
        assert_eq!(said("up\r\n127\r\n"), (true, Some(End::Exited(127))));
        assert_eq!(said("up\ncannot x\n").1, Some(End::Refused("cannot x".into())));
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\r\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
