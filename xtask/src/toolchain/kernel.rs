//! Debian's cloud kernels, the newest of each series.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt::{Apt, Package, newest};
use super::{Wanted, entry};

/// A kernel series of the test matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Series {
    /// Debian 11: the oldest kernel that we support.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// The newest 7.x that Debian has.
    #[value(name = "7")]
    V7,
}

impl Series {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V7];

    /// The name on the command line, which is also the beginning of the version.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7 => "7",
        }
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Debian's version of the package.
    pub(crate) version: String,
    /// The image.
    pub(crate) image: PathBuf,
    /// What `/lib/modules/RELEASE` holds.
    pub(crate) modules: PathBuf,
}

/// Fetches a kernel.
pub(crate) fn prepare(series: Series, wanted: Wanted) -> Result<Kernel> {
    let name = format!("kernels/{}", series.name());
    let directory =
        entry(&name, wanted, |target| Apt::open()?.with_lists(|apt| fetch(apt, series, target)))?;
    let version = fs::read_to_string(directory.join("version"))
        .with_context(|| format!("{} names no version", directory.display()))?;
    let (image, modules) = (directory.join("vmlinuz"), directory.join("modules"));
    Ok(Kernel { version, image, modules })
}

/// Downloads the newest kernel of a series; keeps its image and its modules alone.
fn fetch(apt: &Apt, series: Series, target: &Path) -> Result<()> {
    let prefix = format!("linux-image-{}.", series.name());
    let package = newest(apt.find(&prefix, "-cloud-amd64")?)
        .with_context(|| format!("no suite has a cloud kernel {}", series.name()))?;
    // Since 7.0 the image is an empty package that needs others: binary, modules, base.
    let mut packages = apt.parts(&package)?;
    packages.insert(0, package.clone());
    let unpacked = target.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let exactly: Vec<String> = packages.iter().map(Package::exactly).collect();
    apt.unpack(&exactly, &unpacked)?;

    let modules = ["usr/lib/modules", "lib/modules"].map(|path| unpacked.join(path));
    let modules = modules.iter().find(|path| path.is_dir()).context("there are no modules")?;
    let modules = only_entry(modules)?;
    let release = modules.file_name().context("modules lie in a directory")?.to_string_lossy();
    let images = [unpacked.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images.iter().find(|path| path.is_file()).context("there is no image")?;
    fs::rename(image, target.join("vmlinuz"))?;
    fs::rename(&modules, target.join("modules"))?;
    fs::remove_dir_all(&unpacked)?;
    fs::write(target.join("version"), package.version).context("cannot write the version")
}

/// The one entry of a directory.
fn only_entry(directory: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(directory)?.next().context("the directory is empty")??;
    Ok(entry.path())
}
