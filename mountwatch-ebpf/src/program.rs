//! How one hook becomes programs: the body is written once, the kinds of programs around it are
//! made here.
//!
//! * A *trampoline* (fentry, fexit) is the cheapest. A preemptible kernel skips it when it was
//!   preempted inside itself on that CPU. Under `namespace_sem` that cannot happen.
//! * A *probe* (kprobe, kretprobe) is never preempted, but costs more, and a kretprobe has a limit
//!   of callers that sleep in its function. It is also for functions that BTF does not describe,
//!   and for kernels without trampolines. What a function was called with is not there any more
//!   when it returns, so a second probe keeps it from its entry.
//! * So a hook without that lock has both there, one as the *spare* of the other. At an entry the
//!   kernel runs the probe first, at a return last. The first one leaves a mark for its thread; the
//!   spare that finds none does the work. What was skipped is counted by the kernel, what was made
//!   good here (`skips_spared`), and only the difference is a loss.

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid, macros::map, maps::HashMap};
use mountwatch_common::{counter, hook::Hook, limits};

use crate::{maps::count, read};

/// The arguments that bodies look at.
pub type Arguments = [u64; 3];

/// Which of the two programs of a hook runs.
pub const FIRST: u32 = 0;
pub const SPARE: u32 = 1;

/// Byte offsets within `struct pt_regs` of three arguments and the result, set by the loader.
#[unsafe(no_mangle)]
static REGISTERS: [u32; 4] = [0; 4];
/// Whether spares are attached, set by the loader.
#[unsafe(no_mangle)]
static SPARES: u32 = 0;

/// Thread and hook → nothing: the first program did its work, its spare has not looked yet.
#[map]
static DONE: HashMap<u64, u8> = HashMap::with_max_entries(limits::THREADS_MAX, 0);
/// Thread and hook → what the function was called with.
#[map]
static CALLED: HashMap<u64, Arguments> = HashMap::with_max_entries(limits::THREADS_MAX, 0);

/// The running thread within a hook.
#[inline(always)]
fn key(hook: Hook) -> u64 {
    (bpf_get_current_pid_tgid() & 0xffff_ffff) | u64::from(hook) << 32
}

/// The first program leaves its mark.
#[inline(always)]
pub fn mark_done(hook: Hook) {
    // SAFETY: a static; volatile, since the loader sets it.
    if unsafe { (&raw const SPARES).read_volatile() } == 0 {
        return;
    }
    if DONE.insert(key(hook), 0, 0).is_err() {
        count(counter::SPARES_UNMARKED);
    }
}

/// Whether the spare has to do the work. `counts`: the first program marks every run of it.
#[inline(always)]
pub fn is_left(hook: Hook, counts: bool) -> bool {
    if DONE.remove(key(hook)).is_ok() {
        return false;
    }
    if counts {
        count(counter::SKIPS_SPARED);
    }
    true
}

/// Of a trampoline's context: `count` arguments.
#[inline(always)]
pub fn arguments(context: &impl EbpfContext, count: usize) -> Arguments {
    let mut arguments = [0; 3];
    let mut index = 0;
    while index < count && index < 3 {
        arguments[index] = read::argument(context, index);
        index += 1;
    }
    arguments
}

/// Of a probe's context at the entry.
#[inline(always)]
pub fn probe_arguments(context: &impl EbpfContext, count: usize) -> Arguments {
    let mut arguments = [0; 3];
    let mut index = 0;
    while index < count && index < 3 {
        arguments[index] = register(context, index);
        index += 1;
    }
    arguments
}

/// Of a probe's context at the return.
#[inline(always)]
pub fn probe_result(context: &impl EbpfContext) -> u64 {
    register(context, 3)
}

#[inline(always)]
fn register(context: &impl EbpfContext, index: usize) -> u64 {
    // SAFETY: in bounds; volatile, since the loader sets it.
    let offset = unsafe { (&raw const REGISTERS).cast::<u32>().add(index).read_volatile() };
    read::at(context.as_ptr() as u64 + u64::from(offset))
}

/// Keeps what a function is called with until it returns.
#[inline(always)]
pub fn keep_arguments(hook: Hook, arguments: Arguments) {
    if CALLED.insert(key(hook), arguments, 0).is_err() {
        crate::lost::lost(counter::ARGUMENTS_LOST, 0);
    }
}

/// What the returning function was called with. `None`: that was before we came, or it is counted.
#[inline(always)]
pub fn kept_arguments(hook: Hook) -> Option<Arguments> {
    // SAFETY: only this very thread removes its element.
    let arguments = unsafe { CALLED.get(key(hook)) }.copied()?;
    let _ = CALLED.remove(key(hook));
    Some(arguments)
}

/// Programs at the entry of a function: fentry and kprobe, with `spare` a fentry behind the kprobe.
macro_rules! at_entry {
    ($hook:path, $body:path, $count:literal: $name:ident, $probe:ident $(, spare $spare:ident)?) => {
        #[aya_ebpf::macros::fentry]
        pub fn $name(context: aya_ebpf::programs::FEntryContext) -> i32 {
            $body(&context, $crate::program::arguments(&context, $count), $crate::program::FIRST);
            0
        }
        #[aya_ebpf::macros::kprobe]
        pub fn $probe(context: aya_ebpf::programs::ProbeContext) -> u32 {
            $crate::program::at_entry!(@mark $hook $(, $spare)?);
            let arguments = $crate::program::probe_arguments(&context, $count);
            $body(&context, arguments, $crate::program::FIRST);
            0
        }
        $(
            #[aya_ebpf::macros::fentry]
            pub fn $spare(context: aya_ebpf::programs::FEntryContext) -> i32 {
                if $crate::program::is_left($hook, true) {
                    let arguments = $crate::program::arguments(&context, $count);
                    $body(&context, arguments, $crate::program::SPARE);
                }
                0
            }
        )?
    };
    (@mark $hook:path) => {};
    (@mark $hook:path, $spare:ident) => { $crate::program::mark_done($hook); };
}
pub(crate) use at_entry;

/// Programs at the return of a function: fexit and kretprobe, with `called` a kprobe that keeps the
/// arguments, and with `spare` a kretprobe behind the fexit. `result`: the index of the result among the words of
/// the trampoline's context.
macro_rules! at_return {
    (@kept $hook:path) => { Some([0; 3]) };
    (@kept $hook:path, $called:ident) => { $crate::program::kept_arguments($hook) };
    // A body that looks at no argument needs none kept.
    (@probes $hook:path, $body:path, $count:literal, $probe:ident) => {
        #[aya_ebpf::macros::kretprobe]
        pub fn $probe(context: aya_ebpf::programs::RetProbeContext) -> u32 {
            let result = $crate::program::probe_result(&context);
            $body(&context, [0; 3], result, $crate::program::FIRST);
            0
        }
    };
    (@probes $hook:path, $body:path, $count:literal, $probe:ident, $called:ident) => {
        #[aya_ebpf::macros::kprobe]
        pub fn $called(context: aya_ebpf::programs::ProbeContext) -> u32 {
            let arguments = $crate::program::probe_arguments(&context, $count);
            $crate::program::keep_arguments($hook, arguments);
            0
        }
        #[aya_ebpf::macros::kretprobe]
        pub fn $probe(context: aya_ebpf::programs::RetProbeContext) -> u32 {
            if let Some(arguments) = $crate::program::kept_arguments($hook) {
                let result = $crate::program::probe_result(&context);
                $body(&context, arguments, result, $crate::program::FIRST);
            }
            0
        }
    };
    ($hook:path, $body:path, $count:literal, result $result:literal:
     $name:ident, $probe:ident $(, called $called:ident)?) => {
        #[aya_ebpf::macros::fexit]
        pub fn $name(context: aya_ebpf::programs::FExitContext) -> i32 {
            let arguments = $crate::program::arguments(&context, $count);
            let result = $crate::read::argument(&context, $result);
            $body(&context, arguments, result, $crate::program::FIRST);
            0
        }
        $crate::program::at_return!(@probes $hook, $body, $count, $probe $(, $called)?);
    };
    ($hook:path, $body:path, $count:literal, result $result:literal:
     $name:ident, $probe:ident $(, called $called:ident)?, spare $spare:ident) => {
        #[aya_ebpf::macros::fexit]
        pub fn $name(context: aya_ebpf::programs::FExitContext) -> i32 {
            $crate::program::mark_done($hook);
            let arguments = $crate::program::arguments(&context, $count);
            let result = $crate::read::argument(&context, $result);
            $body(&context, arguments, result, $crate::program::FIRST);
            0
        }
        #[aya_ebpf::macros::kretprobe]
        pub fn $spare(context: aya_ebpf::programs::RetProbeContext) -> u32 {
            let arguments = $crate::program::at_return!(@kept $hook $(, $called)?);
            if let Some(arguments) = arguments
                && $crate::program::is_left($hook, true)
            {
                let result = $crate::program::probe_result(&context);
                $body(&context, arguments, result, $crate::program::SPARE);
            }
            0
        }
        $crate::program::at_return!(@probes $hook, $body, $count, $probe $(, $called)?);
    };
}
pub(crate) use at_return;
