//! What keeps mount namespaces alive.

use super::{Bytes, NamespaceInode};
use hashbrown::HashMap;

/// Who holds a mount namespace, as `/proc` shows it: it lives as long as one of these does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// How many processes have a thread in it.
    pub processes: u32,
    /// The lowest process ID among them, in the PID namespace of our `/proc`.
    pub pid: Option<u32>,
    /// A thread of that process that is in it.
    pub tid: Option<u32>,
    /// That process's command (`comm`), at most 15 bytes.
    pub comm: Bytes,
    /// The container that it runs in, from its cgroup: 64 hexadecimal digits.
    pub container: Option<String>,
    /// A process that has an open descriptor of it. Looked for only where no process is in it.
    pub descriptor_of: Option<u32>,
    /// The number of that descriptor.
    pub descriptor: Option<u32>,
}

/// The holders of mount namespaces, by inode.
pub type Holders = HashMap<NamespaceInode, Holder>;
