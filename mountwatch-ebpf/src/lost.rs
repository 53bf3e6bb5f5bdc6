//! Losses, and the namespaces that they are about.

use aya_ebpf::{macros::map, maps::HashMap};
use mountwatch_common::{counter, limits, offset};

use crate::{maps::count, read};

/// Address of a namespace that something was lost of → nothing. 0: of which one is not known.
/// Userspace takes the elements out.
#[map]
static LOST: HashMap<u64, u8> = HashMap::with_max_entries(limits::LOST_MAX, 0);

/// Levels that are climbed to find the namespace that a leaving mount was in.
const CLIMB_MAX: u32 = 16;

/// Counts a loss. The namespace is noted first: who sees the count finds it.
///
/// Inline, as everything here: the older verifiers allow eight calls within each other, and the
/// walk takes six.
#[inline(always)]
pub fn lost(counter: u32, ns: u64) {
    if LOST.insert(ns, 0, 0).is_err() {
        count(counter::LOSSES_UNPLACED);
    }
    count(counter);
}

/// Counts a loss about a mount. One that leaves has no namespace any more, but one above it has.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lost_mount(counter: u32, mount: u64) -> i32 {
    let mut at = mount;
    let mut ns = 0;
    let mut level = 0;
    while level < CLIMB_MAX {
        ns = read::quietly(at + u64::from(read::offset(offset::MOUNT_NS)));
        if !read::is_error(ns) {
            break;
        }
        ns = 0;
        at = read::quietly(at + u64::from(read::offset(offset::MOUNT_PARENT)));
        if at == 0 {
            break;
        }
        level += 1;
    }
    lost(counter, ns);
    0
}
