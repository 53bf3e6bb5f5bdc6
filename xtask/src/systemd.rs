//! `cargo xtask systemd`: the unit as it is shipped, under a systemd that is the first process of a
//! virtual machine. What is looked at, and in which order, is in `tests/systemd/check.sh`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::toolchain::kernel::{self, Series};
use crate::toolchain::systemd::{self, Systemd};
use crate::toolchain::{Wanted, busybox};
use crate::vm::{Archive, Machine, init};
use crate::workspace;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Where packages put units.
const UNITS: &str = "/usr/lib/systemd/system";
const UNIT: &str = "contrib/systemd/mountwatch.service";
/// What systemctl(1) makes of its section [Install].
const ENABLED: &str = "/etc/systemd/system/sysinit.target.wants/mountwatch.service";
const CHECK: &str = "tests/systemd/check.sh";
/// The one unit that is wanted: the basic system comes first, with what is enabled in it.
const CHECK_UNIT: &str = "[Unit]
Requires=basic.target
After=basic.target

[Service]
Type=oneshot
ExecStart=/root/service
TimeoutStartSec=infinity
";
/// Debian's directories have been one for years; the links are of a package that we do not take.
const MERGED: [(&str, &str); 4] =
    [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
/// Its files are in memory too.
const MEMORY_MB: u32 = 1024;

/// Arguments of `cargo xtask systemd`. The exit status is 0 if all of it held.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel's series
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    /// Start the unit once only: without its watchdog, kills, a group, and each capability taken away
    #[arg(long)]
    once: bool,
    /// Time limit in seconds, boot included: some five times what it takes
    #[arg(long, value_name = "SECS", default_value_t = 1800)]
    timeout: u64,
}

/// Boots and gives the status to exit with.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let machine = Machine {
        kernel: kernel::prepare(arguments.kernel, Wanted::Any)?,
        archive: archive(&systemd::prepare(Wanted::Any)?, arguments.once)?,
        memory_mb: MEMORY_MB,
        append: "systemd.unit=check.service systemd.show_status=no".to_owned(),
        limit: Duration::from_secs(arguments.timeout),
    };
    machine.status().map(ExitCode::from)
}

/// The machine's files: its system, and what is to be looked at.
fn archive(systemd: &Systemd, once: bool) -> Result<Archive> {
    let mut archive = system(systemd)?;
    archive.host(&workspace::build_static("mountwatch")?, Path::new("/usr/bin/mountwatch"))?;
    archive.host(&workspace::path(UNIT), &Path::new(UNITS).join("mountwatch.service"))?;
    archive.link(ENABLED, Path::new(UNITS).join("mountwatch.service"));
    archive.host(&workspace::path(CHECK), Path::new("/root/check.sh"))?;
    let command = ["sh", "/root/check.sh"].into_iter().chain(once.then_some("once"));
    let command: Vec<String> = command.map(str::to_owned).collect();
    archive.file("/root/service", 0o755, init::service(&command));
    archive.file(Path::new(UNITS).join("check.service"), 0o644, CHECK_UNIT);
    Ok(archive)
}

/// A machine whose first process is systemd.
fn system(systemd: &Systemd) -> Result<Archive> {
    let busybox = busybox::prepare(Wanted::Any)?;
    let mut archive = Archive::default();
    for path in ["/dev", "/mnt", "/proc", "/root", "/run", "/sys", "/tmp", "/var/tmp"] {
        archive.directory(path);
    }
    for (path, target) in MERGED {
        archive.link(path, target);
    }
    archive.host(&busybox.path, Path::new("/usr/bin/busybox"))?;
    for applet in busybox.applets.iter().filter(|applet| *applet != "busybox") {
        archive.link(Path::new("/usr/bin").join(applet), "busybox");
    }
    // After busybox: where both have a program, it is the package's.
    archive.host(&systemd.root, Path::new("/"))?;
    archive.file("/etc/passwd", 0o644, USERS);
    archive.file("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n");
    // Without one it is a first boot, which asks questions.
    archive.file("/etc/machine-id", 0o444, "6d6f756e747761746368000000000001\n");
    archive.file("/init", 0o755, init::succeeded_by(SYSTEMD));
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_check_knows_each_capability_of_the_unit() {
        let [unit, check] = [UNIT, CHECK].map(|path| fs::read_to_string(workspace::path(path)));
        let (unit, check) = (unit.unwrap(), check.unwrap());
        let names = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        for name in names.unwrap().split(' ') {
            assert!(check.contains(&format!("        {name}) bits=")), "{name}");
        }
    }
}
