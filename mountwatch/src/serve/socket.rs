//! The agent's socket: a live one is never taken away, a stale one is replaced.

use super::ServeError;
use rustix::fs::{FlockOperation, Gid, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Others go through it to the socket.
const DIRECTORY_MODE: u32 = 0o755;

/// The socket, as long as the agent has it.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    inode: u64,
    /// The group whose members see everything.
    pub(super) group: u32,
    /// Locked: the kernel lets go of it when we end, however that is.
    _lock: File,
}

impl Socket {
    /// Makes the socket.
    pub(super) fn bind(
        path: &Path,
        mode: u32,
        group: Option<&str>,
    ) -> Result<(Self, UnixListener), ServeError> {
        let failed =
            |what| move |io_error| ServeError::Socket { what, path: path.to_owned(), io_error };
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
                .map_err(failed("open the directory of"))?;
        }
        let lock = lock(path)?;
        clear(path)?;
        // Under another name first: nobody connects before its mode is what it is to be.
        let unfinished = beside(path, ".new");
        let _ = fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished).map_err(failed("make"))?;
        let finish = || {
            let group = group.map(group_of).transpose()?;
            if let Some(group) = group {
                rustix::fs::chown(&unfinished, None, Some(Gid::from_raw(group)))?;
            }
            fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
            let known = fs::metadata(&unfinished)?;
            fs::rename(&unfinished, path)?;
            Ok((known.ino(), known.gid()))
        };
        let (inode, group) = finish().map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            failed("give its mode and group to")(error)
        })?;
        listener.set_nonblocking(true).map_err(failed("listen on"))?;
        Ok((Self { path: path.to_owned(), inode, group, _lock: lock }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not one that somebody else put there.
        if fs::symlink_metadata(&self.path).is_ok_and(|known| known.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The lock beside the socket. It stays there: whoever removed it could let two in.
fn lock(path: &Path) -> Result<File, ServeError> {
    let failed = |io_error| ServeError::Socket { what: "lock", path: path.to_owned(), io_error };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::Running(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Takes away what an agent left that was killed.
fn clear(path: &Path) -> Result<(), ServeError> {
    let failed = |io_error| ServeError::Socket { what: "replace", path: path.to_owned(), io_error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(known) if !known.file_type().is_socket() => {
            return Err(ServeError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(ServeError::Running(path.to_owned())),
    }
}

/// A group by its name or number.
fn group_of(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let found = fs::read_to_string("/etc/group")?.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| io::Error::other(format!("there is no group {group} in /etc/group")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_live_socket_stays_and_a_stale_one_goes() {
        let directory = Directory::new("mountwatch-socket");
        let path = directory.0.join("run/mountwatch.sock");
        let (socket, listener) = Socket::bind(&path, 0o660, None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o755));
        assert!(matches!(Socket::bind(&path, 0o660, None), Err(ServeError::Running(_))));
        UnixStream::connect(&path).unwrap();

        // As if it had been killed: the lock is gone, the file is there.
        let left = path.with_extension("left");
        fs::hard_link(&path, &left).unwrap();
        drop((socket, listener));
        assert!(!path.exists());
        fs::rename(&left, &path).unwrap();
        let (socket, listener) = Socket::bind(&path, 0o666, None).unwrap();
        assert_eq!(mode(&path), 0o666);
        UnixStream::connect(&path).unwrap();
        drop((socket, listener));

        // Somebody listens there who knows no lock.
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path, 0o660, None), Err(ServeError::Running(_))));
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path, 0o660, None), Err(ServeError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn groups_are_known_by_name_and_number() {
        assert_eq!(group_of("root").unwrap(), 0);
        assert_eq!(group_of("12").unwrap(), 12);
        assert!(group_of("no such group").is_err());
    }
}
