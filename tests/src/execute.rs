//! Runs commands on the kernel, each as the system call that it names, in the calling task.

mod names;

use crate::command::{Attributes, Bytes, Command, Holder, Place, Propagation, Tree, Unshare};
use crate::flags::{attribute, mount_options, propagation_flag, umount_flags};
use crate::sys::{self, MountAttr};
use crate::{autofs, disk, sys_compat};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
    MoveMountFlags, OpenTreeFlags,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use rustix::thread::{CpuSet, LinkNameSpaceType, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel refused.
    Kernel(Errno),
    /// The command cannot be run here, whatever the kernel says.
    Command(String),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Kernel(error)
    }
}

type Done = Result<i64, Failure>;

/// What a task keeps between commands.
#[derive(Debug)]
pub(crate) struct Executor {
    /// What `/` of a path stands for.
    base: Bytes,
    /// `/proc` as it was at the start: it stays usable in namespaces without one.
    proc: OwnedFd,
    held: BTreeMap<String, OwnedFd>,
    /// The command in hand is to be called as a 32-bit program does it.
    is_compat: bool,
    /// Thread IDs of the other tasks, and `TASK.NAME` for the descriptors that they hold.
    pub(crate) others: BTreeMap<String, i64>,
}

impl Executor {
    /// One that knows nothing yet.
    pub(crate) fn new() -> Result<Self, Errno> {
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            base: Vec::new(),
            proc,
            held: BTreeMap::new(),
            is_compat: false,
            others: BTreeMap::new(),
        })
    }

    /// One for another task that begins where this one is now.
    pub(crate) fn for_thread(&self) -> Result<Self, Errno> {
        let mut executor = Self::new()?;
        executor.base.clone_from(&self.base);
        Ok(executor)
    }

    /// Runs one command. The number is the descriptor that it opened, or 0.
    pub(crate) fn run(&mut self, command: &Command) -> Done {
        match command {
            Command::Mount { types, source, options, at } => self.mount(types, source, options, at),
            Command::Bind { recursive, from, to } => {
                let (from, to) = (self.path(from)?, self.path(to)?);
                done(if *recursive {
                    rustix::mount::mount_bind_recursive(from, to)
                } else {
                    rustix::mount::mount_bind(from, to)
                })
            }
            Command::Move { from, to } => {
                done(rustix::mount::mount_move(self.path(from)?, self.path(to)?))
            }
            Command::Umount { flags, at } => {
                done(rustix::mount::unmount(self.path(at)?, umount_flags(*flags)))
            }
            Command::Make { recursive, propagation, at } => {
                make(&self.path(at)?, *propagation, *recursive)
            }
            Command::Remount { super_block, options, at } => {
                let (mut flags, data) = mount_options(options);
                if !super_block {
                    flags |= MountFlags::BIND;
                }
                let data = c_string(data.join(&b','))?;
                done(rustix::mount::mount_remount(self.path(at)?, flags, data))
            }
            Command::SetAttributes { recursive, attributes, at } => {
                let (directory, path, flags) = self.at(at)?;
                let flags = flags | if *recursive { AT_RECURSIVE } else { 0 };
                self.with_attributes(attributes, |attr| {
                    done(if self.is_compat {
                        sys_compat::mount_setattr(directory, &path, flags, attr)
                    } else {
                        sys::mount_setattr(directory, &path, flags, attr)
                    })
                })
            }
            Command::OpenTree { tree, recursive, attributes, at, name } => {
                let opened = self.open_tree(*tree, *recursive, attributes.as_ref(), at)?;
                Ok(self.hold(name, opened))
            }
            Command::FsMount { fs_type, parameters, namespace, name } => {
                let context = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
                configure(context.as_fd(), parameters)?;
                rustix::mount::fsconfig_create(&context)?;
                let flags = FsMountFlags::FSMOUNT_CLOEXEC
                    | FsMountFlags::from_bits_retain(if *namespace {
                        FSMOUNT_NAMESPACE
                    } else {
                        0
                    });
                let mount = rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())?;
                Ok(self.hold(name, mount))
            }
            Command::MoveMount { beneath, set_group, from, to } => {
                self.move_mount(*beneath, *set_group, from, to)
            }
            Command::FsPick { at, parameters } => {
                let (directory, path, empty) = self.at(at)?;
                let flags = FsPickFlags::FSPICK_CLOEXEC
                    | if empty == 0 {
                        FsPickFlags::empty()
                    } else {
                        FsPickFlags::FSPICK_EMPTY_PATH
                    };
                let context = rustix::mount::fspick(directory, path, flags)?;
                configure(context.as_fd(), parameters)?;
                done(rustix::mount::fsconfig_reconfigure(&context))
            }
            Command::PivotRoot { .. } | Command::Chroot { .. } | Command::SwitchRoot { .. } => {
                self.change_root(command)
            }
            Command::Mkdir { .. }
            | Command::Touch { .. }
            | Command::Rmdir { .. }
            | Command::Unlink { .. }
            | Command::Rename { .. } => self.change_directory_entry(command),
            Command::Unshare { how } => self.unshare(*how),
            Command::SetNamespace { from, as_root } => self.set_namespace(from, *as_root),
            Command::OpenNamespace { kind, of, name } => {
                let path = self.namespace_file(kind, of.as_deref())?;
                let opened = self.open_proc(&path)?;
                Ok(self.hold(name, opened))
            }
            Command::BindNamespace { kind, of, at } => {
                let from = format!("/proc/{}", self.namespace_file(kind, of.as_deref())?);
                done(rustix::mount::mount_bind(from, self.path(at)?))
            }
            Command::Close { name } => match self.held.remove(name) {
                Some(descriptor) => {
                    drop(descriptor);
                    Ok(0)
                }
                None => Err(Failure::Command(format!("nothing is held as {name}"))),
            },
            Command::Take { name, from } => self.take(name, from),
            Command::Compat(command) => {
                self.is_compat = true;
                let done = self.run(command);
                self.is_compat = false;
                done
            }
            Command::Disk { at, name } => {
                let device = disk::attach(&self.path(at)?)?;
                Ok(self.hold(name, device))
            }
            Command::DiskError { name } => done(disk::cause_error(self.held(name)?)),
            Command::Autofs { direct, at, name } => {
                let root = autofs::start(self.path(at)?, *direct)?;
                Ok(self.hold(name, root))
            }
            Command::Expire { name } => done(autofs::expire(self.held(name)?)),
            Command::ExpireAfter { name, seconds } => {
                done(sys::autofs_timeout(self.held(name)?.as_fd(), *seconds))
            }
            Command::Access { at } => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                done(rustix::fs::open(self.path(at)?, flags, Mode::empty()).map(drop))
            }
            Command::Setup { base } => self.set_up(base),
            Command::Base { base } => {
                self.base.clone_from(base);
                Ok(0)
            }
            Command::Thread { .. } => {
                Err(Failure::Command("a thread is started by its process".to_owned()))
            }
        }
    }

    fn path(&self, place: &Place) -> Result<Bytes, Failure> {
        Ok(match place {
            Place::Path(path) => [&self.base[..], path].concat(),
            Place::Root(path) => path.clone(),
            Place::Descriptor(name) => {
                format!("/proc/self/fd/{}", self.descriptor(name)?.as_raw_fd()).into_bytes()
            }
        })
    }

    /// A place for calls with a directory: the directory, a path from there, and `AT_EMPTY_PATH` if
    /// the directory itself is meant.
    fn at(&self, place: &Place) -> Result<(BorrowedFd<'_>, CString, u32), Failure> {
        Ok(match place {
            Place::Descriptor(name) => {
                (self.descriptor(name)?, CString::default(), AtFlags::EMPTY_PATH.bits())
            }
            place => (CWD, c_string(self.path(place)?)?, 0),
        })
    }

    fn descriptor(&self, name: &str) -> Result<BorrowedFd<'_>, Failure> {
        self.held(name).map(OwnedFd::as_fd)
    }

    fn held(&self, name: &str) -> Result<&OwnedFd, Failure> {
        match self.held.get(name) {
            Some(descriptor) => Ok(descriptor),
            None => Err(Failure::Command(format!("nothing is held as {name}"))),
        }
    }

    fn hold(&mut self, name: &str, descriptor: OwnedFd) -> i64 {
        let number = descriptor.as_raw_fd();
        self.held.insert(name.to_owned(), descriptor);
        number.into()
    }

    fn open_proc(&self, path: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    fn other(&self, name: &str) -> Result<i64, Failure> {
        match self.others.get(name) {
            Some(number) => Ok(*number),
            None => Err(Failure::Command(format!("{name} is not known"))),
        }
    }

    fn namespace_file(&self, kind: &str, of: Option<&str>) -> Result<String, Failure> {
        Ok(match of {
            Some(task) => format!("{}/ns/{kind}", self.other(task)?),
            None => format!("thread-self/ns/{kind}"),
        })
    }

    fn mount(&self, types: &[String], source: &[u8], options: &[u8], at: &Place) -> Done {
        // The first type that the kernel has; the data are for the first one alone.
        let (mut flags, mut data) = mount_options(options);
        let mut fs_type = types.first().map_or("", |first| first);
        if types.len() > 1 {
            let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
            let is_known = |name: &&String| known.lines().any(|line| line.ends_with(&***name));
            if let Some(found) = types.iter().find(is_known)
                && found != fs_type
            {
                fs_type = found;
                data.clear();
            }
        }
        if flags.is_empty() {
            flags = MountFlags::SILENT;
        }
        let data = replace(&data.join(&b','), b"$BASE", &self.base);
        let device;
        let source = match source.strip_prefix(b"@") {
            Some(name) => {
                device = disk::path(self.held(&String::from_utf8_lossy(name))?)?;
                &device[..]
            }
            None => source,
        };
        done(rustix::mount::mount(source, self.path(at)?, fs_type, flags, &*c_string(data)?))
    }

    /// `attributes` in the kernel's form, with the descriptor that an ID mapping needs.
    fn with_attributes<T>(
        &self,
        attributes: &Attributes,
        call: impl FnOnce(&MountAttr) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut attr = MountAttr::default();
        for name in &attributes.set {
            let (value, group) = known_attribute(name)?;
            attr.set |= value;
            attr.clear |= group;
        }
        for name in &attributes.clear {
            let (value, group) = known_attribute(name)?;
            attr.clear |= value | group;
        }
        if let Some(propagation) = attributes.propagation {
            attr.propagation = u64::from(propagation_flag(propagation).bits());
        }
        let user_namespace = match &attributes.idmap_of {
            Some(task) => Some(self.open_proc(&format!("{}/ns/user", self.other(task)?))?),
            None => None,
        };
        if let Some(descriptor) = &user_namespace {
            attr.set |= MOUNT_ATTR_IDMAP;
            attr.userns_fd = u64::from(descriptor.as_raw_fd().unsigned_abs());
        }
        call(&attr)
    }

    fn open_tree(
        &self,
        tree: Tree,
        recursive: bool,
        attributes: Option<&Attributes>,
        at: &Place,
    ) -> Result<OwnedFd, Failure> {
        let (directory, path, flags) = self.at(at)?;
        let flags = flags
            | OpenTreeFlags::OPEN_TREE_CLOEXEC.bits()
            | if recursive { AT_RECURSIVE } else { 0 }
            | match tree {
                Tree::Attached => 0,
                Tree::Clone => OpenTreeFlags::OPEN_TREE_CLONE.bits(),
                Tree::Namespace => OPEN_TREE_NAMESPACE,
            };
        match attributes {
            None => {
                let flags = OpenTreeFlags::from_bits_retain(flags);
                Ok(rustix::mount::open_tree(directory, path, flags)?)
            }
            Some(attributes) => self.with_attributes(attributes, |attr| {
                Ok(if self.is_compat {
                    sys_compat::open_tree_attr(directory, &path, flags, attr)?
                } else {
                    sys::open_tree_attr(directory, &path, flags, attr)?
                })
            }),
        }
    }

    fn move_mount(&self, beneath: bool, set_group: bool, from: &Place, to: &Place) -> Done {
        let (from_directory, from_path, from_empty) = self.at(from)?;
        let (to_directory, to_path, to_empty) = self.at(to)?;
        let mut flags = MoveMountFlags::empty();
        flags.set(MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH, from_empty != 0);
        flags.set(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH, to_empty != 0);
        flags.set(MoveMountFlags::MOVE_MOUNT_SET_GROUP, set_group);
        flags.set(MoveMountFlags::MOVE_MOUNT_BENEATH, beneath);
        if self.is_compat {
            let (from, to) = ((from_directory, &*from_path), (to_directory, &*to_path));
            return done(sys_compat::move_mount(from, to, flags.bits()));
        }
        done(rustix::mount::move_mount(from_directory, from_path, to_directory, to_path, flags))
    }

    /// A mount namespace can be bound only in an older one (EINVAL otherwise), and since 6.18 the
    /// age is a number that each CPU takes from a supply of its own: so always the same CPU.
    fn unshare(&mut self, how: Unshare) -> Done {
        let allowed = sched_getaffinity(None)?;
        let mut first = CpuSet::new();
        first.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap_or(0));
        sched_setaffinity(None, &first)?;
        let done = self.unshare_here(how);
        sched_setaffinity(None, &allowed)?;
        done
    }

    fn unshare_here(&mut self, how: Unshare) -> Done {
        match how {
            Unshare::Peer => sys::unshare(libc::CLONE_NEWNS)?,
            Unshare::Slave => {
                sys::unshare(libc::CLONE_NEWNS)?;
                make(b"/", Propagation::Slave, true)?;
            }
            Unshare::Private => {
                sys::unshare(libc::CLONE_NEWNS)?;
                make(b"/", Propagation::Private, true)?;
            }
            Unshare::User => {
                sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUSER)?;
                let files = [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")];
                for (file, text) in files {
                    let path = format!("self/{file}");
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(&self.proc, path, flags, Mode::empty())?;
                    rustix::io::write(&file, text.as_bytes())?;
                }
            }
            Unshare::Empty => {
                sys::unshare(libc::CLONE_NEWNS | UNSHARE_EMPTY_MNTNS)?;
                self.base.clear();
            }
        }
        Ok(0)
    }

    fn set_namespace(&mut self, from: &Holder, as_root: bool) -> Done {
        let opened;
        let namespace = match from {
            Holder::Descriptor(name) => self.descriptor(name)?,
            Holder::Task(name) => {
                opened = self.open_proc(&format!("{}/ns/mnt", self.other(name)?))?;
                opened.as_fd()
            }
        };
        // A namespace cannot be entered while the root directory is shared with other threads.
        sys::unshare(libc::CLONE_FS)?;
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
        if as_root {
            self.base.clear();
        }
        Ok(0)
    }

    fn take(&mut self, name: &str, from: &str) -> Done {
        let pid = i32::try_from(self.other(from)?).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::Command(format!("{from} is no process")))?;
        let number = self.other(&format!("{from}.{name}"))?;
        let number = i32::try_from(number)
            .map_err(|_| Failure::Command(format!("{number} is no descriptor")))?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let taken = rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
        Ok(self.hold(name, taken))
    }

    fn set_up(&mut self, base: &[u8]) -> Done {
        self.unshare(Unshare::Private)?;
        rustix::mount::mount("scenario", base, "tmpfs", MountFlags::empty(), None)?;
        self.base = base.to_vec();
        Ok(0)
    }
}

const AT_RECURSIVE: u32 = 0x8000;
const OPEN_TREE_NAMESPACE: u32 = 1 << 1;
const FSMOUNT_NAMESPACE: u32 = 1 << 1;
const UNSHARE_EMPTY_MNTNS: i32 = 0x0010_0000;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

fn done(result: Result<(), Errno>) -> Done {
    result.map(|()| 0).map_err(Failure::Kernel)
}

fn c_string(bytes: Bytes) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::Command("a path with a NUL byte".to_owned()))
}

fn known_attribute(name: &str) -> Result<(u64, u64), Failure> {
    attribute(name).ok_or_else(|| Failure::Command(format!("{name} is no mount attribute")))
}

fn make(path: &[u8], propagation: Propagation, recursive: bool) -> Done {
    let mut flags = propagation_flag(propagation);
    flags.set(MountPropagationFlags::REC, recursive);
    done(rustix::mount::mount_change(path, flags))
}

fn configure(context: BorrowedFd<'_>, parameters: &[Bytes]) -> Result<(), Failure> {
    for parameter in parameters {
        match parameter.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                let (key, value) = parameter.split_at(at);
                rustix::mount::fsconfig_set_string(context, key, &value[1..])?;
            }
            None => rustix::mount::fsconfig_set_flag(context, &parameter[..])?,
        }
    }
    Ok(())
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Bytes {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = after;
        } else {
            replaced.push(*first);
            rest = after;
        }
    }
    replaced
}
