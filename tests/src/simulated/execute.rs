//! Commands of the scenario language as calls of the simulated kernel.

use super::kernel::{Kernel, Open, Path, Result};
use super::namespaces::HOST;
use crate::command::{Attributes, Bytes, Command, Holder, Place, Tree, Unshare};
use crate::flags;
use mountwatch_common::hook;
use rustix::io::Errno;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done.
    Done,
    /// The simulated kernel refused.
    Refused(Errno),
    /// It cannot be run: a name that nothing is held as.
    Failed(String),
}

/// Why a command was not done.
enum Failure {
    Kernel(Errno),
    Command(String),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Kernel(error)
    }
}

type Done = std::result::Result<(), Failure>;

impl Kernel {
    /// Runs one command in a task, and frees afterwards what nothing refers to.
    pub(crate) fn run(&mut self, task: &str, command: &Command) -> Ended {
        let Some(known) = self.tasks.get(task) else {
            return Ended::Failed(format!("there is no task {task}"));
        };
        self.current = (known.pid, known.tid);
        let ended = match self.call(task, command) {
            Ok(()) => Ended::Done,
            Err(Failure::Kernel(error)) => Ended::Refused(error),
            Err(Failure::Command(why)) => Ended::Failed(why),
        };
        if !matches!(command, Command::Umount { .. }) {
            self.clear_expiry_marks();
        }
        self.reap();
        ended
    }

    /// Whether there is a task of this name.
    pub(crate) fn has_task(&self, name: &str) -> bool {
        self.tasks.contains_key(name)
    }

    /// A new process in a namespace made from another task's.
    pub(crate) fn start(&mut self, name: &str, of: &str, base: &[u8], how: Unshare) -> Ended {
        let ns = self.task(of).ns;
        self.fork(name);
        let known = self.task(name);
        self.current = (known.pid, known.tid);
        let result = if of == HOST { Ok(()) } else { self.sys_setns(name, ns) };
        self.task_mut(name).base = base.to_vec();
        self.started(name, result, how)
    }

    /// A new thread of a process, in a namespace of its own.
    pub(crate) fn start_thread(&mut self, name: &str, of: &str, how: Unshare) -> Ended {
        self.spawn_thread(name, of);
        let known = self.task(name);
        self.current = (known.pid, known.tid);
        self.started(name, Ok(()), how)
    }

    fn started(&mut self, name: &str, result: Result<()>, how: Unshare) -> Ended {
        let result = result.and_then(|()| self.sys_unshare(name, how));
        self.reap();
        match result {
            Ok(()) => Ended::Done,
            Err(error) => {
                self.exit(name);
                Ended::Refused(error)
            }
        }
    }

    /// A task ends.
    pub(crate) fn end(&mut self, name: &str) {
        let known = self.task(name);
        self.current = (known.pid, known.tid);
        self.exit(name);
    }

    fn text(&self, task: &str, path: &[u8]) -> Bytes {
        [&self.task(task).base[..], path].concat()
    }

    /// The path that a place names; for a descriptor what it is open on.
    fn place(&mut self, task: &str, place: &Place) -> std::result::Result<Path, Failure> {
        match place {
            Place::Path(path) => Ok(self.user_path(task, &self.text(task, path))?),
            Place::Root(path) => Ok(self.user_path(task, path)?),
            Place::Descriptor(name) => {
                let open = self.descriptor(task, name)?;
                match (open.path(), open) {
                    (Some(path), _) => Ok(path),
                    (None, Open::Namespace(ns)) => {
                        let ino = self[ns].inum.into();
                        Ok(self.nsfs_path("mnt", ino))
                    }
                    (None, _) => Err(Failure::Command(format!("{name} is no path"))),
                }
            }
        }
    }

    fn descriptor(&self, task: &str, name: &str) -> std::result::Result<Open, Failure> {
        let file = self.held(task, name).and_then(|file| self.files.get(&file));
        file.map(|file| file.open)
            .ok_or_else(|| Failure::Command(format!("nothing is held as {name}")))
    }

    /// The text of a place, for calls that take no descriptor.
    fn path_text(&self, task: &str, place: &Place) -> std::result::Result<Bytes, Failure> {
        match place {
            Place::Path(path) => Ok(self.text(task, path)),
            Place::Root(path) => Ok(path.clone()),
            Place::Descriptor(name) => {
                Err(Failure::Command(format!("@{name} is no text of a path here")))
            }
        }
    }

    fn call(&mut self, task: &str, command: &Command) -> Done {
        match command {
            // The same calls by another entry.
            Command::Compat(command) => self.call(task, command),
            Command::Mount { .. }
            | Command::Remount { .. }
            | Command::FsPick { .. }
            | Command::Setup { .. }
            | Command::Base { .. } => self.call_super(task, command),
            Command::Bind { recursive, from, to } => {
                let (from, to) = (self.place(task, from)?, self.place(task, to)?);
                self.bind(task, from, to, *recursive)
            }
            Command::Move { from, to } => {
                let to = self.place(task, to)?;
                let from = self.place(task, from)?;
                self.check_may_mount(task)?;
                let result = self.do_move_mount(task, from, to, false);
                self.namespace_unlock();
                Ok(result?)
            }
            Command::Umount { flags, at } => {
                let text = self.path_text(task, at)?;
                Ok(self.sys_umount(task, &text, *flags)?)
            }
            Command::Make { recursive, propagation, at } => {
                let path = self.place(task, at)?;
                self.check_may_mount(task)?;
                let result = self.do_change_type(task, path, *propagation, *recursive);
                self.namespace_unlock();
                Ok(result?)
            }
            Command::SetAttributes { recursive, attributes, at } => {
                self.set_attributes(task, *recursive, attributes, at)
            }
            Command::OpenTree { tree, recursive, attributes, at, name } => {
                self.open_tree(task, (*tree, *recursive), attributes.as_ref(), at, name)
            }
            Command::FsMount { fs_type, parameters, namespace, name } => {
                let open = self.sys_fsmount(task, fs_type, parameters, *namespace)?;
                self.open(task, name, open);
                Ok(())
            }
            Command::MoveMount { beneath, set_group, from, to } => {
                // A name that nothing is held as never gets as far as the kernel.
                if let Place::Descriptor(name) = from {
                    self.descriptor(task, name)?;
                }
                let to = self.place(task, to)?;
                let from = self.place(task, from)?;
                Ok(self.sys_move_mount(task, from, to, (*beneath, *set_group))?)
            }
            _ => self.call_other(task, command),
        }
    }

    fn check_may_mount(&self, task: &str) -> Done {
        if self.may_mount(task) { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    fn bind(&mut self, task: &str, from: Path, to: Path, recursive: bool) -> Done {
        self.check_may_mount(task)?;
        let result = self.do_loopback(task, from, to, recursive);
        self.namespace_unlock();
        Ok(result?)
    }

    fn call_super(&mut self, task: &str, command: &Command) -> Done {
        match command {
            Command::Mount { types, source, options, at } => {
                let (ms, mut data) = flags::mount_options(options);
                let found = types.iter().position(|name| Self::has_fs_type(name));
                let fs_type = &types[found.unwrap_or(0)];
                if found.is_some_and(|at| at > 0) {
                    data.clear();
                }
                let text = self.path_text(task, at)?;
                Ok(self.sys_mount(task, (fs_type, source), (ms, &data), &text)?)
            }
            Command::Remount { super_block, options, at } => {
                let text = self.path_text(task, at)?;
                let (ms, data) = flags::mount_options(options);
                Ok(self.sys_remount(task, !super_block, (ms, &data), &text)?)
            }
            Command::FsPick { at, parameters } => {
                let path = self.place(task, at)?;
                Ok(self.sys_fspick(task, path, parameters)?)
            }
            Command::Setup { base } => {
                self.sys_unshare(task, Unshare::Private)?;
                let nothing = rustix::mount::MountFlags::empty();
                self.sys_mount(task, ("tmpfs", b"scenario"), (nothing, &[]), base)?;
                self.task_mut(task).base.clone_from(base);
                Ok(())
            }
            Command::Base { base } => {
                self.task_mut(task).base.clone_from(base);
                Ok(())
            }
            other => Err(Failure::Command(format!("{other:?} is about no super block"))),
        }
    }

    fn set_attributes(
        &mut self,
        task: &str,
        recursive: bool,
        attributes: &Attributes,
        at: &Place,
    ) -> Done {
        let path = match self.place(task, at) {
            Ok(path) => Ok(path),
            Err(Failure::Kernel(error)) => Err(error),
            Err(failure) => return Err(failure),
        };
        self.sys_setattr(task, path, attributes, recursive)?;
        self.setattr_returned(task, hook::SETATTR);
        Ok(())
    }

    fn open_tree(
        &mut self,
        task: &str,
        (tree, recursive): (Tree, bool),
        attributes: Option<&Attributes>,
        at: &Place,
        name: &str,
    ) -> Done {
        let path = self.place(task, at);
        let opened = path.and_then(|path| Ok(self.sys_open_tree(task, path, tree, recursive)?));
        let Some(attributes) = attributes else {
            self.open(task, name, opened?);
            return Ok(());
        };
        let result = opened.and_then(|open| {
            self.open(task, name, open);
            let path = open.path().ok_or(Errno::INVAL)?;
            Ok(self.sys_setattr(task, Ok(path), attributes, recursive)?)
        });
        if result.is_err()
            && let Some(file) = self.task_mut(task).held.remove(name)
        {
            self.fput(file);
        }
        self.setattr_returned(task, hook::OPEN_TREE_ATTR);
        result
    }

    fn call_other(&mut self, task: &str, command: &Command) -> Done {
        match command {
            Command::PivotRoot { new_root, put_old } => {
                let (new, old) = (self.path_text(task, new_root)?, self.path_text(task, put_old)?);
                Ok(self.sys_pivot_root(task, &new, &old)?)
            }
            Command::Chroot { at } => {
                let path = self.place(task, at)?;
                Ok(self.sys_chroot(task, path)?)
            }
            Command::SwitchRoot { at } => {
                let text = self.path_text(task, at)?;
                Ok(self.sys_switch_root(task, &text)?)
            }
            Command::Mkdir { parents, at } => {
                let text = self.path_text(task, at)?;
                self.make_directories(task, &text, *parents)
            }
            Command::Touch { at } => {
                let text = self.path_text(task, at)?;
                Ok(self.sys_touch(task, &text)?)
            }
            Command::Rmdir { at } | Command::Unlink { at } => {
                let text = self.path_text(task, at)?;
                Ok(self.sys_remove(task, &text, matches!(command, Command::Rmdir { .. }))?)
            }
            Command::Rename { exchange, from, to } => {
                let (from, to) = (self.path_text(task, from)?, self.path_text(task, to)?);
                Ok(self.sys_rename(task, &from, &to, *exchange)?)
            }
            _ => self.call_namespace(task, command),
        }
    }

    fn make_directories(&mut self, task: &str, text: &[u8], parents: bool) -> Done {
        let slashes = text.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0);
        for (end, _) in slashes.filter(|_| parents) {
            match self.sys_mkdir(task, &text[..end]) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.sys_mkdir(task, text) {
            Err(Errno::EXIST) if parents => Ok(()),
            result => Ok(result?),
        }
    }

    /// The inode of a namespace: of the mount namespace of a task, or of the only one of its kind.
    fn namespace_inode(&self, kind: &str, task: &str) -> u64 {
        match kind {
            "mnt" => self[self.task(task).ns].inum.into(),
            "net" => 4_026_531_840,
            "uts" => 4_026_531_838,
            "pid" => 4_026_531_836,
            _ => 4_026_531_837,
        }
    }

    /// Whether a task may open the files of another one in /proc.
    fn may_look_at(&self, task: &str, other: &str) -> Done {
        let user = self.task(other).user_ns;
        if self.ns_capable(task, user) { Ok(()) } else { Err(Errno::ACCESS.into()) }
    }

    fn call_namespace(&mut self, task: &str, command: &Command) -> Done {
        match command {
            Command::Unshare { how } => Ok(self.sys_unshare(task, *how)?),
            Command::SetNamespace { from, as_root } => {
                let ns = match from {
                    Holder::Task(other) => {
                        self.may_look_at(task, other)?;
                        self.task(other).ns
                    }
                    Holder::Descriptor(name) => match self.descriptor(task, name)? {
                        Open::Namespace(ns) => ns,
                        _ => return Err(Errno::INVAL.into()),
                    },
                };
                self.sys_setns(task, ns)?;
                if *as_root {
                    self.task_mut(task).base.clear();
                }
                Ok(())
            }
            Command::OpenNamespace { kind, of, name } => {
                let of = of.as_deref().unwrap_or(task);
                self.may_look_at(task, of)?;
                let open = match &**kind {
                    "mnt" => Open::Namespace(self.task(of).ns),
                    _ => Open::OtherNamespace,
                };
                self.open(task, name, open);
                Ok(())
            }
            Command::BindNamespace { kind, of, at } => {
                let of = of.as_deref().unwrap_or(task);
                self.may_look_at(task, of)?;
                let ino = self.namespace_inode(kind, of);
                let to = self.place(task, at)?;
                let from = self.nsfs_path(kind, ino);
                self.bind(task, from, to, false)
            }
            Command::Close { name } => {
                self.descriptor(task, name)?;
                if let Some(file) = self.task_mut(task).held.remove(name) {
                    self.fput(file);
                }
                Ok(())
            }
            Command::Take { name, from } => Ok(self.take(task, name, from)?),
            other => Err(Failure::Command(format!("{other:?} is no call"))),
        }
    }
}
