//! What the running kernel is.

use anyhow::{Context as _, Result};
use std::fmt;

/// Version of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kernel {
    /// 6 of 6.12.
    pub(crate) major: u32,
    /// 12 of 6.12.
    pub(crate) minor: u32,
}

impl Kernel {
    /// The one that runs.
    pub(crate) fn running() -> Result<Self> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        Self::parse(&release).with_context(|| format!("{release} is no release of a kernel"))
    }

    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }

    /// Whether it is this version or a newer one.
    pub(crate) fn is_at_least(self, (major, minor): (u32, u32)) -> bool {
        self >= Self { major, minor }
    }

    /// mountinfo lists mounts by unique mount ID since 6.8; before, in an order of the kernel's own
    /// list that no one else can know.
    pub(crate) fn has_known_order(self) -> bool {
        self.is_at_least((6, 8))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether the running kernel has a file system, as it is now: a module that is not loaded is none.
pub(crate) fn has_file_system(name: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split('\t').next_back() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let parse = |release| Kernel::parse(release).map(|kernel| (kernel.major, kernel.minor));
        assert_eq!(parse("6.12.107+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(parse("7.3-rc1"), Some((7, 3)));
        assert_eq!(parse("linux"), None);
    }
}
