//! Why the kernel side is not running, each in one sentence: what, why, what to do.

use std::io;

use aya::{EbpfError, maps::MapError};
use mountwatch_common::hook::{self, Hook};

use crate::wire::btf::BtfError;

/// Why the kernel side is not running.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No BTF.
    #[error(
        "cannot read /sys/kernel/btf/vmlinux: {0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF, and \
         /sys must be mounted"
    )]
    NoBtf(#[source] io::Error),
    /// BTF that we cannot parse.
    #[error(
        "cannot understand /sys/kernel/btf/vmlinux: {0}; please report it with the kernel's version"
    )]
    BadBtf(#[from] BtfError),
    /// Not enough privileges.
    #[error(
        "the kernel refused to load programs: permission denied; run as root, or with CAP_BPF and \
         CAP_PERFMON"
    )]
    NotPermitted,
    /// Privileges, but no program may read the kernel's memory.
    #[error(
        "the kernel is locked down for confidentiality, where no eBPF program may read its memory; \
         boot it with lockdown=integrity or without lockdown"
    )]
    Confidentiality,
    /// Privileges, but the kernel is locked down.
    #[error(
        "the kernel refused {what}, although this process is privileged: it is locked down, or made \
         so that nobody may; `mountwatch doctor` says what would help"
    )]
    LockedDown {
        /// The program, its type and its place, and the error.
        what: String,
    },
    /// The kernel has no such member.
    #[error(
        "this kernel has no member {member} in struct {structure}, which the index cannot do \
         without; please report it with the kernel's version"
    )]
    MissingMember {
        /// The structure.
        structure: &'static str,
        /// Its member.
        member: &'static str,
    },
    /// The kernel has none of the functions of a hook.
    #[error(
        "this kernel has no function for the hook {}, which the index cannot do without; the back \
         end notify may work",
        hook::name(*.0)
    )]
    MissingFunction(Hook),
    /// A structure is too large.
    #[error(
        "struct {structure} of this kernel is laid out over {bytes} bytes, more than the programs \
         have room for ({room}); please report it with the kernel's configuration"
    )]
    Layout {
        /// The structure.
        structure: &'static str,
        /// Bytes up to the end of the last member needed.
        bytes: u32,
        /// Bytes of room.
        room: u32,
    },
    /// A program does not pass.
    #[error("the kernel refused the {kind} program {program} on {function}: {hint}")]
    Refused {
        /// Its type.
        kind: &'static str,
        /// The program.
        program: &'static str,
        /// The kernel function.
        function: &'static str,
        /// The errno, and the last lines of the verifier.
        hint: String,
    },
    /// Creating the maps, or parsing the object.
    #[error("cannot set up the kernel side: {0}")]
    Object(#[from] EbpfError),
    /// A map.
    #[error("cannot use map {name} of the kernel side: {source}")]
    Map {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The object does not have what the source says.
    #[error("the compiled kernel side has no {0}; rebuild it with cargo xtask ebpf")]
    Incomplete(&'static str),
    /// No tracepoints.
    #[error(
        "this kernel has no tracepoints of system calls, or they cannot be found; it must be built \
         with CONFIG_FTRACE_SYSCALLS, and /sys/kernel/tracing must be mounted"
    )]
    NoTracepoints,
    /// Mapping the ring's positions.
    #[error("cannot map the ring buffer: {0}")]
    Ring(#[source] io::Error),
}
