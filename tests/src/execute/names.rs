//! Commands that change what names mean: root directories and directory entries.

use super::{Done, Executor, Failure, done};
use crate::command::Command;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

impl Executor {
    pub(super) fn change_root(&mut self, command: &Command) -> Done {
        match command {
            Command::PivotRoot { new_root, put_old } => {
                let (new_root, put_old) = (self.path(new_root)?, self.path(put_old)?);
                rustix::process::pivot_root(new_root, put_old)?;
                rustix::process::chdir("/")?;
            }
            Command::Chroot { at } => {
                rustix::process::chroot(self.path(at)?)?;
                rustix::process::chdir("/")?;
            }
            Command::SwitchRoot { at } => {
                rustix::process::chdir(self.path(at)?)?;
                rustix::mount::mount_move(".", "/")?;
                rustix::process::chroot(".")?;
            }
            other => return Err(Failure::Command(format!("{other:?} changes no root"))),
        }
        self.base.clear();
        Ok(0)
    }

    pub(super) fn change_directory_entry(&self, command: &Command) -> Done {
        match command {
            Command::Mkdir { parents, at } => {
                let path = self.path(at)?;
                let slashes =
                    path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0);
                for end in slashes.map(|(at, _)| at).filter(|_| *parents) {
                    match rustix::fs::mkdir(&path[..end], Mode::from_bits_retain(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                match rustix::fs::mkdir(path, Mode::from_bits_retain(0o755)) {
                    Err(Errno::EXIST) if *parents => Ok(0),
                    result => done(result),
                }
            }
            Command::Touch { at } => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                done(
                    rustix::fs::open(self.path(at)?, flags, Mode::from_bits_retain(0o644))
                        .map(drop),
                )
            }
            Command::Rmdir { at } => done(rustix::fs::rmdir(self.path(at)?)),
            Command::Unlink { at } => done(rustix::fs::unlink(self.path(at)?)),
            Command::Rename { exchange, from, to } => {
                let flags = if *exchange { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
                let (from, to) = (self.path(from)?, self.path(to)?);
                done(rustix::fs::renameat_with(CWD, from, CWD, to, flags))
            }
            other => Err(Failure::Command(format!("{other:?} changes no directory entry"))),
        }
    }
}
