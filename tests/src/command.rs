//! Commands of a scenario: what a line asks for. Plain values; who runs them is another matter.

use anyhow::{Context as _, Result, bail, ensure};

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

/// The words after a command's name: options first, then operands.
struct Words {
    options: Vec<String>,
    values: Vec<(String, Bytes)>,
    attributes: Attributes,
    operands: std::vec::IntoIter<Bytes>,
}

impl Words {
    /// `valued` are the options that take the next word; `with_attributes` allows `+ro -nodev`.
    fn new(words: &[Bytes], valued: &[&str], with_attributes: bool) -> Result<Self> {
        let mut found = Self {
            options: Vec::new(),
            values: Vec::new(),
            attributes: Attributes::default(),
            operands: Vec::new().into_iter(),
        };
        let mut operands = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.split_first() {
                Some((b'+', name)) if with_attributes => found.attributes.set.push(text(name)?),
                Some((b'-', name)) if with_attributes && name.len() > 1 => {
                    found.attributes.clear.push(text(name)?);
                }
                Some((b'-', name)) if !name.is_empty() => {
                    let name = text(name)?;
                    if valued.contains(&&*name) {
                        let value =
                            words.next().with_context(|| format!("-{name} needs a value"))?;
                        found.values.push((name, value.clone()));
                    } else {
                        found.options.push(name);
                    }
                }
                _ => operands.push(word.clone()),
            }
        }
        found.operands = operands.into_iter();
        Ok(found)
    }

    fn has(&mut self, option: &str) -> bool {
        let before = self.options.len();
        self.options.retain(|found| found != option);
        self.options.len() != before
    }

    fn value(&mut self, option: &str) -> Option<Bytes> {
        let at = self.values.iter().position(|(name, _)| name == option)?;
        Some(self.values.remove(at).1)
    }

    fn name(&mut self) -> Result<String> {
        text(&self.operands.next().context("a word is missing")?)
    }

    fn place(&mut self) -> Result<Place> {
        let word = self.operands.next().context("a path is missing")?;
        Ok(match &word[..] {
            [b'@', name @ ..] => Place::Descriptor(text(name)?),
            [b'/', ..] => Place::Path(word),
            [b'r', b'o', b'o', b't', b':', path @ ..] => Place::Root(path.to_vec()),
            word => bail!("{} is no path: /PATH, root:/PATH, @NAME", String::from_utf8_lossy(word)),
        })
    }

    /// `KEYWORD NAME`, if the keyword is next.
    fn after(&mut self, keyword: &str) -> Result<Option<String>> {
        if self.operands.as_slice().first().is_none_or(|word| word != keyword.as_bytes()) {
            return Ok(None);
        }
        self.operands.next();
        self.name().map(Some)
    }

    fn as_name(&mut self) -> Result<String> {
        self.after("as")?.context("`as NAME` is missing")
    }

    fn attributes(&mut self) -> Result<Attributes> {
        let mut attributes = std::mem::take(&mut self.attributes);
        if let Some(word) = self.value("p") {
            attributes.propagation = Some(propagation(&text(&word)?)?);
        }
        attributes.idmap_of = self.value("i").map(|word| text(&word)).transpose()?;
        Ok(attributes)
    }

    fn rest(&mut self) -> Vec<Bytes> {
        self.operands.by_ref().collect()
    }

    fn finish(mut self, command: Command) -> Result<Command> {
        ensure!(self.options.is_empty(), "unknown options {:?}", self.options);
        ensure!(self.values.is_empty(), "unknown options {:?}", self.values);
        ensure!(self.operands.next().is_none(), "too many words");
        Ok(command)
    }
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
        "setup" => Command::Setup { base: words.operands.next().context("no base")? },
        "base" => Command::Base { base: words.operands.next().context("no base")? },
        "thread" => Command::Thread { how: unshare(&words.name()?)? },
        verb => bail!("there is no command {verb}"),
    })
}
