//! Paths from the command line, made into what the index knows: absolute, without symbolic links,
//! `.` and `..`.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A path of this process. Only its parent is looked at: the last component may be a mount whose
/// server is gone, and whoever touches it waits for ever.
pub(super) fn resolve(path: &Path) -> Vec<u8> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let resolved = match absolute.file_name() {
        // Not the last component of `a/..`, which `file_name` leaves out.
        Some(name) => {
            let parent = absolute.parent().unwrap_or(Path::new("/"));
            std::fs::canonicalize(parent).map(|parent| parent.join(name))
        }
        None => std::fs::canonicalize(&absolute),
    };
    resolved.map_or_else(|_| lexical(path), into_bytes)
}

/// The same with a symbolic link in the last place followed. For a path that is no mountpoint:
/// looking at it touches nothing but its parent's file system.
pub(super) fn resolve_link(path: &[u8]) -> Vec<u8> {
    let path = Path::new(OsStr::from_bytes(path));
    std::fs::canonicalize(path).map_or_else(|_| lexical(path), into_bytes)
}

/// The path as it stands, absolute, with `.` and `..` taken out.
pub(super) fn lexical(path: &Path) -> Vec<u8> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut clean = PathBuf::from("/");
    for component in absolute.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    into_bytes(clean)
}

fn into_bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_taken_as_it_stands() {
        for path in ["/no/such/../x/./y", "/no//x/y/"] {
            assert_eq!(resolve(Path::new(path)), b"/no/x/y");
        }
        assert_eq!(resolve(Path::new("/..")), b"/");
        assert_eq!(lexical(Path::new("/a/../../b")), b"/b");
        assert_eq!(resolve_link(b"/no/such"), b"/no/such");
    }

    #[test]
    fn links_above_are_followed_and_the_last_one_on_demand() {
        // Always a symbolic link to the directory of the process.
        let own = format!("/proc/{}", std::process::id());
        assert_eq!(resolve(Path::new("/proc/self/ns")), format!("{own}/ns").into_bytes());
        assert_eq!(resolve(Path::new("/proc/self")), b"/proc/self");
        assert_eq!(resolve_link(b"/proc/self"), own.into_bytes());
    }
}
