//! Debian packages from other suites than the machine's, without touching the machine's apt.
//!
//! apt runs with private source, list and cache directories. It checks signatures and hashes, and
//! takes proxies and credentials from the machine's own configuration; the archive's address is
//! taken from the machine's sources, so that a mirror goes on being used.

mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use self::source::{Archive, Machine};
use super::{directory, lock};
use crate::process;

/// Suites of everything that we fetch, by archive. Whatever release the machine itself runs, all
/// programs come from one, so that each machine tests with the same QEMU.
const SUITES: &[(Archive, &str)] = &[
    (Archive::Security, "bullseye-security"),
    (Archive::Security, "bookworm-security"),
    (Archive::Main, "trixie"),
    (Archive::Security, "trixie-security"),
    (Archive::Main, "trixie-backports"),
];

/// How often a fetch is tried: a mirror in sync or a lost connection is no reason to stop.
const TRIES: u32 = 3;

/// A private view of the archive.
pub(crate) struct Apt {
    directory: PathBuf,
}

/// A package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Package {
    /// apt's way to ask for this version and no other.
    pub(crate) fn exactly(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

impl Apt {
    /// Opens the view; its directory is made where it is missing.
    pub(crate) fn open() -> Result<Self> {
        let apt = Self { directory: directory().join("apt") };
        for part in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.directory.join(part))?;
        }
        // No package counts as installed: what a program needs is fetched with it, the C library
        // included, and never borrowed from the machine.
        fs::write(apt.directory.join("status"), "")?;
        let text = source::render(&Machine::read()?, SUITES)?;
        let path = apt.directory.join("parts/xtask.sources");
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(apt)
    }

    /// A command of apt in this view.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let options = [
            ("Dir::Etc::sourcelist", Path::new("/dev/null").to_owned()),
            ("Dir::Etc::sourceparts", self.directory.join("parts")),
            ("Dir::State::lists", self.directory.join("lists")),
            ("Dir::State::status", self.directory.join("status")),
            ("Dir::Cache", self.directory.join("cache")),
        ];
        for (name, path) in options {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        // The user _apt cannot write below a home directory; languages are translations only.
        for option in ["APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::Retries=3"] {
            command.args(["-o", option]);
        }
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Fetches the lists anew.
    pub(crate) fn update(&self) -> Result<()> {
        eprintln!("xtask: updating package lists");
        process::bytes(self.command("apt-get").arg("update"))?;
        fs::write(self.directory.join("updated"), "").context("cannot mark the lists as fetched")
    }

    /// Does `work` with the lists at hand, and again with fresh ones when it fails: lists that are
    /// some days old name packages that the archive has replaced.
    pub(crate) fn with_lists<T>(&self, mut work: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        let _lock = lock("apt")?;
        let mut have = self.directory.join("updated").is_file();
        for round in 1.. {
            let result = if have { Ok(()) } else { self.update() }.and_then(|()| work(self));
            match result {
                Err(error) if round < TRIES => eprintln!("xtask: {error:#}; trying again"),
                result => return result,
            }
            have = false;
        }
        unreachable!("the last round returns")
    }

    /// All versions of the packages whose names begin and end so.
    pub(crate) fn find(&self, prefix: &str, suffix: &str) -> Result<Vec<Package>> {
        let names = process::text(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let names: Vec<&str> = names.lines().filter(|name| name.ends_with(suffix)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = process::text(self.command("apt-cache").arg("madison").args(names))?;
        Ok(table.lines().filter_map(madison).collect())
    }

    /// All versions of one package.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<Package>> {
        let table = process::text(self.command("apt-cache").args(["madison", name]))?;
        Ok(table.lines().filter_map(madison).collect())
    }

    /// The packages of the same source that this one needs in exactly its version.
    pub(crate) fn parts(&self, package: &Package) -> Result<Vec<Package>> {
        let text = process::text(self.command("apt-cache").args(["show", &package.exactly()]))?;
        let exact = format!("(= {})", package.version);
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("Depends: "))
            .flat_map(|depends| depends.split(", "))
            .filter_map(|depend| depend.strip_suffix(&exact));
        let of =
            |name: &str| Package { name: name.trim().into(), version: package.version.clone() };
        Ok(names.map(of).collect())
    }

    /// Downloads packages (apt verifies them) and unpacks them into `target`. A package is
    /// `name=version`, or `name` for the one that apt prefers: the release's, not a backport.
    pub(crate) fn unpack(&self, packages: &[String], target: &Path) -> Result<()> {
        let debs = target.join("debs");
        fs::create_dir_all(&debs)?;
        eprintln!("xtask: fetching {}", packages.join(", "));
        let mut download = self.command("apt-get");
        download.arg("download").args(packages);
        process::bytes(download.current_dir(&debs))?;
        unpack_all(&debs, target)
    }

    /// As [`Self::unpack`], with all that the packages need to run.
    pub(crate) fn unpack_with_needs(&self, packages: &[&str], target: &Path) -> Result<()> {
        let debs = target.join("debs");
        fs::create_dir_all(debs.join("partial"))?;
        eprintln!("xtask: fetching {} and what is needed with it", packages.join(", "));
        let mut install = self.command("apt-get");
        install.arg("-o").arg(format!("Dir::Cache::archives={}", debs.display()));
        install.args(["--yes", "--no-install-recommends", "--download-only", "install"]);
        process::bytes(install.args(packages))?;
        unpack_all(&debs, target)
    }
}

/// Unpacks all packages of one directory and removes it.
fn unpack_all(debs: &Path, target: &Path) -> Result<()> {
    for deb in fs::read_dir(debs)? {
        let deb = deb?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg").arg("-x").arg(deb).arg(target))?;
        }
    }
    fs::remove_dir_all(debs).context("cannot remove the downloaded packages")
}

/// The newest of some packages by Debian's own comparison.
pub(crate) fn newest(packages: Vec<Package>) -> Option<Package> {
    packages.into_iter().reduce(|best, other| {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["--compare-versions", &other.version, "gt", &best.version]);
        if process::status(&mut dpkg).is_ok_and(|status| status.success()) { other } else { best }
    })
}

/// A line of `apt-cache madison`: name | version | source.
fn madison(line: &str) -> Option<Package> {
    let mut fields = line.split('|').map(str::trim);
    let (name, version) = (fields.next()?, fields.next()?);
    // Lines about source packages are no packages to download.
    if line.trim_end().ends_with("Sources") {
        return None;
    }
    Some(Package { name: name.into(), version: version.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_lines_are_packages() {
        let line =
            " rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://x/debian trixie/main amd64 Packages";
        let package = madison(line).unwrap();
        assert_eq!(package.name, "rust-src");
        assert_eq!(package.version, "1.95.0+dfsg1-2~bpo13+1");
        assert_eq!(madison(" rust | 1 | http://x/debian trixie/main Sources"), None);
        assert_eq!(madison("N: nothing"), None);
    }
}
