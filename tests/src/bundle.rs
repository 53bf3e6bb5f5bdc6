//! A container's directory, as containerd lays it out, and what a runtime does with it.

use crate::agent::Ground;
use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BUSYBOX: &str = "/bin/busybox";
/// What the container's program may call busybox.
const APPLETS: [&str; 3] = ["sh", "sleep", "true"];

/// A container that can be made.
pub(crate) struct Bundle {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Of all containers of this ground.
    base: PathBuf,
    directory: PathBuf,
}

impl Bundle {
    /// The directories, without a mount. `number` tells it from others.
    pub(crate) fn new(ground: &Ground, number: u32) -> Result<Self> {
        let id = format!("{:08x}", number.wrapping_mul(0x9e37_79b9)).repeat(8);
        let base = ground.directory("io.containerd")?;
        let directory = base.join("runtime.v2.task/k8s.io").join(&id);
        let bundle = Self { id, base, directory };
        fs::create_dir_all(bundle.directory.join("rootfs"))?;
        for part in ["fs", "work"] {
            fs::create_dir_all(bundle.snapshot().join(part))?;
        }
        bundle.image()?;
        for volume in ["volumes/data", "volumes/empty"] {
            fs::create_dir_all(bundle.base.join(volume))?;
        }
        fs::write(bundle.base.join("hosts"), "127.0.0.1 localhost\n")?;
        Ok(bundle)
    }

    fn snapshot(&self) -> PathBuf {
        self.base.join("snapshots").join(&self.id)
    }

    /// What all containers share.
    fn image(&self) -> Result<()> {
        let bin = self.base.join("image/bin");
        if bin.exists() {
            return Ok(());
        }
        fs::create_dir_all(&bin)?;
        fs::copy(BUSYBOX, bin.join("busybox")).context("cannot copy busybox")?;
        for applet in APPLETS {
            symlink("busybox", bin.join(applet))?;
        }
        Ok(())
    }

    /// Where the overlay is mounted.
    pub(crate) fn rootfs(&self) -> String {
        self.directory.join("rootfs").to_string_lossy().into_owned()
    }

    /// Mounts the overlay, as containerd does before it calls a runtime.
    pub(crate) fn mount(&self) -> Result<()> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (image, snapshot) = (text(&self.base.join("image")), self.snapshot());
        let (upper, work) = (text(&snapshot.join("fs")), text(&snapshot.join("work")));
        let options = CString::new(format!("lowerdir={image},upperdir={upper},workdir={work}"))?;
        mount("overlay", self.rootfs(), "overlay", MountFlags::empty(), Some(&*options))
            .context("cannot mount the overlay")
    }

    /// Unmounts it, and removes everything that is this container's alone.
    pub(crate) fn unmount(&self) -> Result<()> {
        unmount(self.rootfs(), UnmountFlags::empty()).context("cannot unmount the overlay")?;
        fs::remove_dir_all(&self.directory)?;
        fs::remove_dir_all(self.snapshot()).context("cannot remove the snapshot")
    }

    /// Makes the container and starts it; its first process.
    pub(crate) fn start(&self, runtime: &str) -> Result<u32> {
        self.configure(&["sleep", "1000"])?;
        let pid_file = self.directory.join("init.pid");
        let words = ["create", "--bundle"].map(Path::new);
        let words = [words[0], words[1], &self.directory, "--pid-file".as_ref(), &pid_file];
        self.call(runtime, &words)?;
        self.call(runtime, &["start".as_ref()])?;
        Ok(fs::read_to_string(&pid_file)?.trim().parse()?)
    }

    /// Ends it and removes it.
    pub(crate) fn end(&self, runtime: &str) -> Result<()> {
        self.call(runtime, &["delete".as_ref(), "--force".as_ref()])
    }

    /// All of it at once, with a program that ends.
    pub(crate) fn run(&self, runtime: &str) -> Result<()> {
        self.configure(&["true"])?;
        self.call(runtime, &["run".as_ref(), "--bundle".as_ref(), &self.directory])
    }

    /// A runtime's command; the container's ID is its last word.
    fn call(&self, runtime: &str, words: &[&Path]) -> Result<()> {
        // No pipe: the container would hold it.
        let log = self.directory.join("log");
        let mut command = Command::new(runtime);
        command.args(words).arg(&self.id).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let status = command.status().with_context(|| format!("cannot start {runtime}"))?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "{runtime} {words:?}: {status}: {}", said());
        Ok(())
    }

    fn configure(&self, program: &[&str]) -> Result<()> {
        let config = serde_json::to_vec(&self.config(program))?;
        fs::write(self.directory.join("config.json"), config).context("cannot write config.json")
    }

    /// What containerd's CRI plugin gives to a runtime, but for seccomp and capabilities.
    fn config(&self, program: &[&str]) -> Value {
        let file_system = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let bind = |destination: &str, source: &str, options: &[&str]| {
            let source = self.base.join(source).as_os_str().as_bytes().to_owned();
            let source = String::from_utf8_lossy(&source).into_owned();
            json!({"destination": destination, "type": "bind", "source": source, "options": options})
        };
        let kinds = ["pid", "ipc", "uts", "mount", "network", "cgroup"];
        let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "args": program,
                "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true
            },
            "root": {"path": "rootfs"},
            "hostname": "container",
            "mounts": [
                file_system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                file_system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                file_system("/dev/pts", "devpts",
                    &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                file_system("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
                file_system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                file_system("/sys/fs/cgroup", "cgroup",
                    &["nosuid", "noexec", "nodev", "relatime", "ro"]),
                bind("/etc/hosts", "hosts", &["rbind", "rprivate", "rw"]),
                bind("/data", "volumes/data", &["rbind", "rslave", "rw"]),
                bind("/empty", "volumes/empty", &["rbind", "rprivate", "ro"]),
            ],
            "linux": {
                "cgroupsPath": format!("/kubepods/burstable/pod1/{}", self.id),
                "rootfsPropagation": "rslave",
                "namespaces": namespaces,
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                    "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                    "/proc/sysrq-trigger"]
            }
        })
    }
}
