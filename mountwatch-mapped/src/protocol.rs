//! What is said on the socket: requests of 16 bytes, replies of 32, in the byte order of the host.

/// Bytes of a request.
pub const REQUEST_BYTES: usize = 16;
/// Bytes of a reply.
pub const REPLY_BYTES: usize = 32;
/// The first word of both: `mwm1`.
pub const MAGIC: u32 = u32::from_ne_bytes(*b"mwm1");

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The table of the mount namespace whose descriptor (`/proc/PID/ns/mnt`) comes with the request:
    /// who has it may see the namespace.
    Own,
    /// The table of any mount namespace, by its inode: for root and the group of the socket.
    Any(u32),
    /// An answer when the table shows everything that happened before the request.
    Sync,
}

/// How it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As asked for; the table's descriptor comes with the reply.
    Done,
    /// No right to it.
    Denied,
    /// No such mount namespace.
    NoNamespace,
    /// A request that is none.
    BadRequest,
    /// The tracker ended, or memory did.
    Failed,
}

const STATUS: [(Status, u32); 5] = [
    (Status::Done, 0),
    (Status::Denied, 1),
    (Status::NoNamespace, 2),
    (Status::BadRequest, 3),
    (Status::Failed, 4),
];

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it was answered.
    pub status: Status,
    /// The number of the view in the table.
    pub view: u32,
    /// CLOCK_MONOTONIC: what was over before that is in the table.
    pub fresh_ns: u64,
}

impl Request {
    /// Its bytes: magic, kind, inode, 0.
    pub fn bytes(self) -> [u8; REQUEST_BYTES] {
        let (kind, inode) = match self {
            Self::Own => (1, 0),
            Self::Any(inode) => (2, inode),
            Self::Sync => (3, 0),
        };
        let mut bytes = [0; REQUEST_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 4, kind);
        put(&mut bytes, 8, inode);
        bytes
    }

    /// From its bytes.
    pub fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        match (get(bytes, 0), get(bytes, 4), get(bytes, 8)) {
            (MAGIC, 1, _) => Some(Self::Own),
            (MAGIC, 2, inode) => Some(Self::Any(inode)),
            (MAGIC, 3, _) => Some(Self::Sync),
            _ => None,
        }
    }
}

impl Reply {
    /// Its bytes: magic, status, view, 0, `fresh_ns`, 0.
    pub fn bytes(self) -> [u8; REPLY_BYTES] {
        let mut bytes = [0; REPLY_BYTES];
        let status = STATUS.iter().find(|(status, _)| *status == self.status);
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 4, status.map_or(4, |(_, code)| *code));
        put(&mut bytes, 8, self.view);
        bytes[16..24].copy_from_slice(&self.fresh_ns.to_ne_bytes());
        bytes
    }

    /// From its bytes.
    pub fn parse(bytes: &[u8; REPLY_BYTES]) -> Option<Self> {
        let code = get(bytes, 4);
        let (status, _) = STATUS.iter().find(|(_, known)| *known == code)?;
        let mut fresh_ns = [0; 8];
        fresh_ns.copy_from_slice(&bytes[16..24]);
        (get(bytes, 0) == MAGIC).then_some(Self {
            status: *status,
            view: get(bytes, 8),
            fresh_ns: u64::from_ne_bytes(fresh_ns),
        })
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn get(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(value)
}
