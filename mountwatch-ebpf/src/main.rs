//! The programs that mountwatch puts on the kernel's mount code.
//!
//! | subject          | programs                                | records                          |
//! |------------------|-----------------------------------------|----------------------------------|
//! | `attach.rs`      | `attach`, `copy_tree`                   | none: they mark roots            |
//! | `propagation.rs` | `propagation`, `bulk_private`, `group_dead` | MOUNT, GROUP_DEAD            |
//! | `commit.rs`      | `commit`, `set_group`, `move_mount_end` | SUPER, DENTRY, MOUNT, COMMIT     |
//! | `namespace.rs`   | `namespace_born`, `namespace_gone`      | NAMESPACE_BORN, NAMESPACE_GONE   |
//! | `attributes.rs`  | `remount`, `reconfigure`, `setattr`, `open_tree_attr` | MOUNT, SUPER, DENTRY, COMMIT |
//! | `rename.rs`      | `rename`, `delete`                      | DENTRY, COMMIT                   |
//! | `scan.rs`        | `scan`                                  | SUPER, DENTRY, MOUNT             |
//! | `clone.rs`       | `clone_mnt`                             | none                             |
//! | `calls.rs`       | `call_enter`, `call_exit`, `fork`       | CALL, NAMESPACE_BORN             |
//! | `room.rs`        | none: the room of calls in the ring     | none                             |
//! | `text.rs`        | none: texts of calls                    | ARGUMENT                         |
//! | `names.rs`       | `name_enter`, `name_exit`               | CALL                             |
//! | `glance.rs`      | `glance_exit`                           | GLANCE                           |
//! | `syscalls.rs`    | `call_…_begin`, `call_…_end`            | CALL                             |
//! | `who.rs`         | none: who makes a call                  | NAME                             |
//! | `descent.rs`     | none: whose descendant a task is        | flags of COMMIT and CALL         |
//!
//! Those of `calls.rs` but `fork`, of `names.rs` and of `glance.rs` have a spare each (`…_spare`).
//!
//! The law of all of them: reserve a slot of the ring first, read kernel memory afterwards, then
//! submit. The last slot about an object then holds its final state, whatever lock its mutator
//! held: the mutator's own hook reserves after the mutation, and whoever reserves later reads
//! later.
//!
//! Three rules of the verifiers from 5.10 to 7.x shape the code. Loops run over *global* functions
//! (`no_mangle`, scalar arguments), which are verified once and not once for each round. What a
//! loop carries on lives in map memory, never on the stack. Pointer arguments of a hook are read
//! out of the context as plain numbers.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // for one atomic addition (`maps::count`)

mod attach;
mod attributes;
mod calls;
mod clone;
mod commit;
mod dentry;
mod descent;
mod emit;
mod glance;
mod lost;
mod maps;
mod mount;
mod names;
mod namespace;
mod pending;
mod program;
mod propagation;
mod read;
mod rename;
mod room;
mod roots;
mod scan;
mod step;
mod superblock;
mod syscalls;
mod text;
mod walk;
mod who;

/// The kernel gives its GPL-only helpers to programs under this licence alone.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No program has a path that panics; the compiler wants the symbol.
    loop {}
}
