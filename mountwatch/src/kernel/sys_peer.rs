//! What the kernel knows of the other end of a unix socket, and no safe wrapper gives.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Of include/uapi/asm-generic/socket.h; since 4.13 and 6.5.
const SO_PEERGROUPS: libc::c_int = 59;
const SO_PEERPIDFD: libc::c_int = 77;
/// `NGROUPS_MAX`: more groups than these no process has.
const GROUPS_MAX: usize = 65_536;

/// The supplementary groups of the process that connected.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        match option(socket, SO_PEERGROUPS, &mut groups) {
            Ok(length) => {
                groups.truncate(length);
                return Ok(groups);
            }
            Err(error)
                if error.raw_os_error() == Some(libc::ERANGE) && groups.len() < GROUPS_MAX =>
            {
                groups = vec![0; GROUPS_MAX];
            }
            Err(error) => return Err(error),
        }
    }
}

/// A descriptor of the process that connected, where the kernel gives one (6.5).
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd = [0_u32];
    option(socket, SO_PEERPIDFD, &mut fd)?;
    let [fd] = fd;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made this descriptor for us a moment ago.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An option of a socket, as numbers of 32 bits. Gives how many there are.
fn option(socket: BorrowedFd<'_>, name: libc::c_int, room: &mut [u32]) -> io::Result<usize> {
    let bytes = u32::try_from(size_of_val(room)).map_err(io::Error::other)?;
    let mut length: libc::socklen_t = bytes;
    // SAFETY: the kernel writes no more than `length` bytes, which is the size of the room, and
    // into `length` itself; both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            room.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(length).map(|bytes| bytes / size_of::<u32>()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_other_end_is_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(one.as_fd()).unwrap();
        let mut ours: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        groups.sort_unstable();
        ours.sort_unstable();
        assert_eq!(groups, ours);
        // Kernels before 6.5 have no such option.
        if let Err(error) = peer_pidfd(one.as_fd()) {
            assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
        }
    }
}
