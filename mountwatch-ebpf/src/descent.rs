//! Who descends from whom.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use mountwatch_common::{control, limits, offset, record::flag};

use crate::{maps::control, read};

/// [`flag::DESCENDANT`] or [`flag::DESCENT_UNKNOWN`] if one of them holds for the running task.
///
/// A chain of parents is looked at as it is now. Who loses its parent gets another one, which is the
/// process in question if that is a child subreaper (prctl(2)) and no other one is nearer. Tasks
/// stay readable while a program runs: it runs under RCU.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn descent() -> u32 {
    let ancestor = control(control::DESCENDANTS_OF) as u32;
    if ancestor == 0 {
        return 0;
    }
    let [tgid_at, parent_at] =
        [read::offset(offset::TASK_TGID), read::offset(offset::TASK_REAL_PARENT)];
    if tgid_at == offset::ABSENT || parent_at == offset::ABSENT {
        return flag::DESCENT_UNKNOWN;
    }
    // SAFETY: the helper has no precondition.
    let mut task = unsafe { bpf_get_current_task() };
    let mut step = 0;
    while step < limits::ANCESTORS_MAX {
        let tgid = read::quietly(task + u64::from(tgid_at)) as u32;
        if tgid == ancestor {
            return if step == 0 { 0 } else { flag::DESCENDANT };
        }
        // Process 1, and those of the kernel, descend from nobody.
        if tgid <= 1 {
            return 0;
        }
        task = read::quietly(task + u64::from(parent_at));
        step += 1;
    }
    flag::DESCENT_UNKNOWN
}
