//! The initial file system: a cpio archive of the kernel's "newc" kind, written by hand because
//! it is one header and some padding, and because a mode or a link must arrive as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Files of the guest by their absolute path; the last one put at a path wins.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// Read when it is written: what is added may be large.
    Host(PathBuf),
}

impl Archive {
    /// A directory.
    pub(crate) fn directory(&mut self, path: impl AsRef<Path>) {
        self.put(path.as_ref(), DIRECTORY | 0o755, Content::Bytes(Vec::new()));
    }

    /// A file with these bytes.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.put(path.as_ref(), FILE | mode, Content::Bytes(bytes.into()));
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        let target = target.as_ref().as_os_str().as_bytes().to_vec();
        self.put(path.as_ref(), LINK | 0o777, Content::Bytes(target));
    }

    /// A file, a link or a whole directory of the host, with its modes and links.
    pub(crate) fn host(&mut self, source: &Path, path: &Path) -> Result<()> {
        // What is named on the command line is meant itself, not a link to it.
        let meta = fs::metadata(source).with_context(|| format!("cannot add {}", source.display()));
        self.host_entry(source, path, &meta?)
    }

    fn host_entry(&mut self, source: &Path, path: &Path, meta: &fs::Metadata) -> Result<()> {
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_symlink() {
            self.link(path, fs::read_link(source)?);
        } else if meta.is_dir() {
            self.put(path, DIRECTORY | mode, Content::Bytes(Vec::new()));
            for child in fs::read_dir(source)? {
                let child = child?;
                self.host_entry(&child.path(), &path.join(child.file_name()), &child.metadata()?)?;
            }
        } else if meta.is_file() {
            self.put(path, FILE | mode, Content::Host(source.to_owned()));
        } else {
            bail!("cannot add {}: neither a file nor a directory nor a link", source.display());
        }
        Ok(())
    }

    /// Puts an entry there, and the directories above it where they are missing.
    fn put(&mut self, path: &Path, mode: u32, content: Content) {
        let path = Path::new("/").join(path);
        for parent in path.ancestors().skip(1).filter(|parent| *parent != Path::new("/")) {
            let missing = || Entry { mode: DIRECTORY | 0o755, content: Content::Bytes(Vec::new()) };
            self.entries.entry(parent.to_owned()).or_insert_with(missing);
        }
        if path != Path::new("/") {
            self.entries.insert(path, Entry { mode, content });
        }
    }

    /// Writes the archive; a path sorts after the directories above it.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
            match &entry.content {
                Content::Bytes(bytes) => record(out, number, entry.mode, name, bytes)?,
                Content::Host(source) => {
                    let bytes = fs::read(source)
                        .with_context(|| format!("cannot read {}", source.display()))?;
                    record(out, number, entry.mode, name, &bytes)?;
                }
            }
        }
        record(out, 0, 0, b"TRAILER!!!", b"").context("cannot write the archive")
    }
}

/// One header with its name and its bytes, each padded to four bytes.
fn record(out: &mut impl Write, inode: u32, mode: u32, name: &[u8], data: &[u8]) -> io::Result<()> {
    let size = |bytes: &[u8]| {
        u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
    };
    let links = if mode & 0o170_000 == DIRECTORY { 2 } else { 1 };
    let (name_size, data_size) = (size(name)? + 1, size(data)?);
    // inode, mode, uid, gid, links, mtime, size, device (two), special device (two), name, check
    let fields = [inode, mode, 0, 0, links, 0, data_size, 0, 0, 0, 0, name_size, 0];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    let header = 6 + 13 * 8;
    out.write_all(name)?;
    out.write_all(b"\0")?;
    out.write_all(padding(header + name.len() + 1))?;
    out.write_all(data)?;
    out.write_all(padding(data.len()))
}

fn padding(length: usize) -> &'static [u8] {
    &[0; 3][..length.wrapping_neg() % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_padded_to_four_bytes() {
        for length in 0..9 {
            assert_eq!((length + padding(length).len()) % 4, 0);
        }
        let mut archive = Archive::default();
        archive.file("/a/b", 0o644, "hello");
        archive.link("/l", "a/b");
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let places: Vec<_> =
            ["a\0", "a/b\0", "hello", "l\0", "TRAILER!!!"].map(|part| text.find(part)).into();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        assert!(text.contains("000081a4"), "a file's mode is there");
    }

    #[test]
    fn the_last_one_put_wins_and_parents_keep_their_mode() {
        let mut archive = Archive::default();
        archive.put(Path::new("/tmp"), DIRECTORY | 0o1777, Content::Bytes(Vec::new()));
        archive.link("/tmp/x", "y");
        archive.file("tmp/x", 0o755, "z");
        assert_eq!(archive.entries[Path::new("/tmp")].mode, DIRECTORY | 0o1777);
        assert_eq!(archive.entries[Path::new("/tmp/x")].mode, FILE | 0o755);
        assert_eq!(archive.entries.len(), 2);
    }
}
