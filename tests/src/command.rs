//! Commands of a scenario: what a line asks for. Plain values; who runs them is another matter.

mod operands;

use self::operands::Words;
use anyhow::{Context as _, Result, bail};

/// A file name or another text that need not be UTF-8.
pub(crate) type Bytes = Vec<u8>;

/// Where a command works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/a/b`: below the base directory of the scenario, or below the root directory after the task
    /// took another one.
    Path(Bytes),
    /// `root:/a`: from the root directory of the task.
    Root(Bytes),
    /// `@name`: a file descriptor that the task holds under this name.
    Descriptor(String),
}

/// How a propagation type is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// Gets a peer group.
    Shared,
    /// Receives only.
    Slave,
    /// Neither sends nor receives.
    Private,
    /// As private, and cannot be bound.
    Unbindable,
}

/// How a new mount namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unshare {
    /// A copy: shared mounts are peers of the originals.
    Peer,
    /// A copy that receives only.
    Slave,
    /// A copy with private mounts.
    Private,
    /// A copy in a new user namespace: its mounts are locked.
    User,
    /// Nothing but an empty root (since 7.1).
    Empty,
}

/// A change of mount attributes, as `mount_setattr(2)` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Names of attributes to set (`+ro`).
    pub(crate) set: Vec<String>,
    /// Names of attributes to clear (`-ro`).
    pub(crate) clear: Vec<String>,
    /// Propagation type to set.
    pub(crate) propagation: Option<Propagation>,
    /// The task whose user namespace maps the IDs.
    pub(crate) idmap_of: Option<String>,
}

/// What `open_tree(2)` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A descriptor of what is there.
    Attached,
    /// A detached copy.
    Clone,
    /// A copy in a new mount namespace (since 7.0).
    Namespace,
}

/// Flags of umount2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UmountFlags {
    /// `-l`: `MNT_DETACH`.
    pub(crate) lazy: bool,
    /// `-f`: `MNT_FORCE`.
    pub(crate) force: bool,
    /// `-e`: `MNT_EXPIRE`.
    pub(crate) expire: bool,
}

/// One command, each a system call or nearly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Mount {
        types: Vec<String>,
        source: Bytes,
        options: Bytes,
        at: Place,
    },
    Bind {
        recursive: bool,
        from: Place,
        to: Place,
    },
    Move {
        from: Place,
        to: Place,
    },
    Umount {
        flags: UmountFlags,
        at: Place,
    },
    Make {
        recursive: bool,
        propagation: Propagation,
        at: Place,
    },
    Remount {
        super_block: bool,
        options: Bytes,
        at: Place,
    },
    SetAttributes {
        recursive: bool,
        attributes: Attributes,
        at: Place,
    },
    OpenTree {
        tree: Tree,
        recursive: bool,
        attributes: Option<Attributes>,
        at: Place,
        name: String,
    },
    FsMount {
        fs_type: String,
        parameters: Vec<Bytes>,
        namespace: bool,
        name: String,
    },
    MoveMount {
        beneath: bool,
        set_group: bool,
        from: Place,
        to: Place,
    },
    FsPick {
        at: Place,
        parameters: Vec<Bytes>,
    },
    PivotRoot {
        new_root: Place,
        put_old: Place,
    },
    Chroot {
        at: Place,
    },
    SwitchRoot {
        at: Place,
    },
    Mkdir {
        parents: bool,
        at: Place,
    },
    Touch {
        at: Place,
    },
    Rmdir {
        at: Place,
    },
    Unlink {
        at: Place,
    },
    Rename {
        exchange: bool,
        from: Place,
        to: Place,
    },
    Unshare {
        how: Unshare,
    },
    SetNamespace {
        from: Holder,
        as_root: bool,
    },
    OpenNamespace {
        kind: String,
        of: Option<String>,
        name: String,
    },
    BindNamespace {
        kind: String,
        of: Option<String>,
        at: Place,
    },
    Close {
        name: String,
    },
    Take {
        name: String,
        from: String,
    },
    /// Another command, as a 32-bit program calls the kernel.
    Compat(Box<Command>),
    /// A loop device with an empty ext2 file system, over a new file.
    Disk {
        at: Place,
        name: String,
    },
    /// ext4 finds an error on that device.
    DiskError {
        name: String,
    },
    /// The task becomes an automounter.
    Autofs {
        direct: bool,
        at: Place,
        name: String,
    },
    /// Has everything unmounted that nobody uses.
    Expire {
        name: String,
    },
    /// Sets after how many seconds that may be done.
    ExpireAfter {
        name: String,
        seconds: u64,
    },
    /// Walks there and opens it.
    Access {
        at: Place,
    },
    /// The task steps into a copy and mounts the scenario's base directory: no line of a file.
    Setup {
        base: Bytes,
    },
    /// The task begins with this base directory: no line of a file.
    Base {
        base: Bytes,
    },
    /// The process starts a thread for another name: what `thread` of a file makes of it.
    Thread {
        how: Unshare,
    },
}

/// Where a namespace is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The namespace that another task is in.
    Task(String),
    /// A descriptor.
    Descriptor(String),
}

/// A word that has to be text.
pub(crate) fn text(word: &[u8]) -> Result<String> {
    String::from_utf8(word.to_vec()).context("a name that is not UTF-8")
}

/// A propagation type by its name.
pub(crate) fn propagation(word: &str) -> Result<Propagation> {
    Ok(match word {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        word => bail!("{word} is no propagation type"),
    })
}

/// A way to make a namespace by its name.
pub(crate) fn unshare(word: &str) -> Result<Unshare> {
    Ok(match word {
        "peer" => Unshare::Peer,
        "slave" => Unshare::Slave,
        "private" => Unshare::Private,
        "user" => Unshare::User,
        "empty" => Unshare::Empty,
        word => bail!("{word} is not one of peer, slave, private, user, empty"),
    })
}

/// Reads a command from its words.
pub(crate) fn parse(words: &[Bytes]) -> Result<Command> {
    let (verb, rest) = words.split_first().context("no command")?;
    let verb = text(verb)?;
    if verb == "compat" {
        return Ok(Command::Compat(Box::new(parse(rest)?)));
    }
    let valued: &[&str] = match &*verb {
        "mount" => &["o", "s"],
        "remount" | "remount_super" => &["o"],
        "setattr" | "open_tree_attr" => &["p", "i"],
        _ => &[],
    };
    let mut words = Words::new(rest, valued, matches!(&*verb, "setattr" | "open_tree_attr"))?;
    let command = match &*verb {
        "mount" => Command::Mount {
            types: words.name()?.split('|').map(str::to_owned).collect(),
            source: words.value("s").unwrap_or_else(|| b"source".to_vec()),
            options: words.value("o").unwrap_or_default(),
            at: words.place()?,
        },
        "bind" | "rbind" => {
            Command::Bind { recursive: verb == "rbind", from: words.place()?, to: words.place()? }
        }
        "move" => Command::Move { from: words.place()?, to: words.place()? },
        "umount" => Command::Umount {
            flags: UmountFlags {
                lazy: words.has("l"),
                force: words.has("f"),
                expire: words.has("e"),
            },
            at: words.place()?,
        },
        "make" => Command::Make {
            recursive: words.has("r"),
            propagation: propagation(&words.name()?)?,
            at: words.place()?,
        },
        "remount" | "remount_super" => Command::Remount {
            super_block: verb == "remount_super",
            options: words.value("o").unwrap_or_default(),
            at: words.place()?,
        },
        "setattr" => Command::SetAttributes {
            recursive: words.has("r"),
            attributes: words.attributes()?,
            at: words.place()?,
        },
        "open_tree" | "open_tree_attr" => open_tree(&mut words, verb == "open_tree_attr")?,
        "fsmount" => Command::FsMount {
            namespace: words.has("n"),
            fs_type: words.name()?,
            name: words.as_name()?,
            parameters: words.rest(),
        },
        "move_mount" => Command::MoveMount {
            beneath: words.has("b"),
            set_group: words.has("g"),
            from: words.place()?,
            to: words.place()?,
        },
        "fspick" => Command::FsPick { at: words.place()?, parameters: words.rest() },
        _ => parse_others(&verb, &mut words)?,
    };
    words.finish(command)
}

fn open_tree(words: &mut Words, with_attributes: bool) -> Result<Command> {
    let attributes = if with_attributes { Some(words.attributes()?) } else { None };
    let recursive = words.has("r");
    let tree = match (words.has("c"), words.has("n")) {
        (false, false) => Tree::Attached,
        (true, false) => Tree::Clone,
        (false, true) => Tree::Namespace,
        (true, true) => bail!("-c and -n exclude each other"),
    };
    Ok(Command::OpenTree {
        tree,
        recursive,
        attributes,
        at: words.place()?,
        name: words.as_name()?,
    })
}

fn parse_others(verb: &str, words: &mut Words) -> Result<Command> {
    Ok(match verb {
        "pivot_root" => Command::PivotRoot { new_root: words.place()?, put_old: words.place()? },
        "chroot" => Command::Chroot { at: words.place()? },
        "switch_root" => Command::SwitchRoot { at: words.place()? },
        "mkdir" => Command::Mkdir { parents: words.has("p"), at: words.place()? },
        "touch" => Command::Touch { at: words.place()? },
        "rmdir" => Command::Rmdir { at: words.place()? },
        "unlink" => Command::Unlink { at: words.place()? },
        "rename" | "exchange" => Command::Rename {
            exchange: verb == "exchange",
            from: words.place()?,
            to: words.place()?,
        },
        "unshare" => Command::Unshare { how: unshare(&words.name()?)? },
        "setns" => {
            let as_root = words.has("r");
            let name = words.name()?;
            let from = match name.strip_prefix('@') {
                Some(name) => Holder::Descriptor(name.to_owned()),
                None => Holder::Task(name),
            };
            Command::SetNamespace { from, as_root }
        }
        "open_ns" => Command::OpenNamespace {
            kind: words.name()?,
            of: words.after("of")?,
            name: words.as_name()?,
        },
        "bind_ns" => Command::BindNamespace {
            kind: words.name()?,
            of: words.after("of")?,
            at: words.place()?,
        },
        "close" => Command::Close { name: words.name()?.trim_start_matches('@').to_owned() },
        "take" => Command::Take {
            name: words.name()?.trim_start_matches('@').to_owned(),
            from: words.after("from")?.context("`from TASK` is missing")?,
        },
        "disk" => Command::Disk { at: words.place()?, name: words.as_name()? },
        "disk_error" => Command::DiskError { name: words.held_name()? },
        "autofs" => {
            Command::Autofs { direct: words.has("d"), at: words.place()?, name: words.as_name()? }
        }
        "expire" => Command::Expire { name: words.held_name()? },
        "expire_after" => {
            Command::ExpireAfter { name: words.held_name()?, seconds: words.name()?.parse()? }
        }
        "access" => Command::Access { at: words.place()? },
        "setup" => Command::Setup { base: words.bytes()? },
        "base" => Command::Base { base: words.bytes()? },
        "thread" => Command::Thread { how: unshare(&words.name()?)? },
        verb => bail!("there is no command {verb}"),
    })
}
