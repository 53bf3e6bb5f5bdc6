//! `cargo xtask vm`: one command in a virtual machine with a kernel of the test matrix.

mod archive;
mod guest;
pub(crate) mod init;
mod module;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub(crate) use self::archive::Archive;
use self::guest::{End, Guest};
use crate::toolchain::busybox::{self, Busybox};
use crate::toolchain::kernel::{self, Kernel, Series};
use crate::toolchain::{Wanted, qemu};
use crate::workspace;

/// How often a boot that never reached user space is tried: emulated machines fail now and then.
const BOOTS: u32 = 3;

/// The status at the time limit, as timeout(1) has it.
const TIME_OVER: u8 = 124;

/// The status when it was the machine that failed, not the command.
const MACHINE_FAILED: u8 = 125;

/// Arguments of `cargo xtask vm`. The exit status is the command's, 128+N when signal N killed it,
/// 124 at the time limit, 125 when the machine failed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel's series
    #[arg(long, value_enum)]
    pub(crate) kernel: Series,
    /// Put a file or directory of the host into the guest
    #[arg(long = "add", value_name = "HOST:GUEST", value_parser = parse_add)]
    pub(crate) adds: Vec<Add>,
    /// Load kernel modules and what they need
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) modules: Vec<String>,
    /// The guest's memory
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) memory_mb: u32,
    /// Time limit in seconds, boot included
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// More words for the kernel's command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// Leave mountwatch out, and do not build it
    #[arg(long)]
    pub(crate) no_mountwatch: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// What is to be put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) host: PathBuf,
    pub(crate) guest: PathBuf,
}

/// The last colon counts: a path of the guest is ours to choose, one of the host may hold colons.
fn parse_add(text: &str) -> Result<Add, String> {
    match text.rsplit_once(':') {
        Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
            Ok(Add { host: host.into(), guest: guest.into() })
        }
        _ => Err("expected HOST:GUEST with an absolute path in the guest".into()),
    }
}

/// Boots and gives the status to exit with.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    status(arguments).map(ExitCode::from)
}

/// As [`run`], for callers that judge the status.
pub(crate) fn status(arguments: &Arguments) -> Result<u8> {
    let kernel = kernel::prepare(arguments.kernel, Wanted::Any)?;
    let archive = archive(arguments, &kernel.modules, &busybox::prepare(Wanted::Any)?)?;
    let limit = Duration::from_secs(arguments.timeout);
    let (memory_mb, append) = (arguments.memory_mb, arguments.append.clone());
    Machine { kernel, archive, memory_mb, append, limit }.status()
}

/// A machine whose files are its maker's choice. Its `/init` is one of [`init`]'s scripts.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) archive: Archive,
    pub(crate) memory_mb: u32,
    /// More words for the kernel's command line.
    pub(crate) append: String,
    /// Boot included.
    pub(crate) limit: Duration,
}

impl Machine {
    /// Boots, and gives the status of the command that it ran.
    pub(crate) fn status(self) -> Result<u8> {
        let mut qemu = qemu::prepare(Wanted::Any)?.words();
        qemu.extend(accelerator().map(PathBuf::from));
        let directory = RunDirectory::new()?;
        let initrd = directory.0.join("initrd");
        let mut file = BufWriter::new(File::create(&initrd).context("cannot create the initrd")?);
        self.archive.write(&mut file)?;
        file.flush().context("cannot write the initrd")?;
        let guest = Guest {
            qemu,
            kernel: self.kernel.image,
            initrd,
            memory_mb: self.memory_mb,
            append: self.append,
            directory: directory.0.clone(),
        };
        boot(&guest, self.limit)
    }
}

/// Boots until user space is reached, and turns the end into a status.
fn boot(guest: &Guest, limit: Duration) -> Result<u8> {
    let deadline = Instant::now() + limit;
    for attempt in 1.. {
        match guest.boot(deadline)? {
            End::Exited(status) => return Ok(status),
            End::NeverUp if attempt < BOOTS => {
                eprintln!("xtask: boot {attempt} never reached user space; trying again");
                continue;
            }
            End::Refused(why) => eprintln!("xtask: the guest {why}"),
            End::TimeOver => {
                failed(guest, &format!("the time limit of {} s is over", limit.as_secs()));
                return Ok(TIME_OVER);
            }
            End::Died => failed(guest, "the guest died"),
            End::NeverUp => failed(guest, "the guest never reached user space"),
        }
        break;
    }
    Ok(MACHINE_FAILED)
}

fn failed(guest: &Guest, why: &str) {
    eprintln!("{}\nxtask: {why}; above is the end of its console", guest.console_tail());
}

/// The accelerator. KVM where it works: a device without the processor's support is of no use.
fn accelerator() -> [&'static str; 4] {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let supported = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    let opens = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if supported && opens() {
        ["-accel", "kvm", "-cpu", "host"]
    } else {
        ["-accel", "tcg,thread=multi", "-cpu", "max"]
    }
}

/// The guest's whole file system.
fn archive(arguments: &Arguments, modules: &Path, busybox: &Busybox) -> Result<Archive> {
    let mut archive = Archive::default();
    for path in ["/dev", "/mnt", "/proc", "/root", "/run", "/sys", "/tmp", "/var"] {
        archive.directory(path);
    }
    archive.file("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n");
    archive.file("/etc/group", 0o644, "root:x:0:\n");
    archive.host(&busybox.path, Path::new("/bin/busybox"))?;
    for applet in busybox.applets.iter().filter(|applet| *applet != "busybox") {
        archive.link(Path::new("/bin").join(applet), "busybox");
    }
    if !arguments.no_mountwatch {
        let binary = workspace::build_static("mountwatch")?;
        archive.host(&binary, Path::new("/usr/bin/mountwatch"))?;
    }
    for add in &arguments.adds {
        archive.host(&add.host, &add.guest)?;
    }
    let modules = module::load_order(modules, &arguments.modules)?;
    archive.file("/init", 0o755, init::script(&modules, &arguments.command));
    for module in modules {
        archive.file(init::module_path(&module), 0o644, module.bytes);
    }
    Ok(archive)
}

/// The files of one run, named after our process, removed at the end.
#[derive(Debug)]
struct RunDirectory(PathBuf);

impl RunDirectory {
    fn new() -> Result<Self> {
        let parent = workspace::path("target/vm-run");
        // A run that was killed leaves its directory behind.
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(std::process::id().to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_is_cut_at_its_last_colon() {
        let add = |host: &str, guest: &str| Add { host: host.into(), guest: guest.into() };
        assert_eq!(parse_add("a:/b"), Ok(add("a", "/b")));
        assert_eq!(parse_add("a:c:/b"), Ok(add("a:c", "/b")));
        for wrong in ["a", "a:b", ":/b", "a:"] {
            assert!(parse_add(wrong).is_err(), "{wrong}");
        }
    }
}
