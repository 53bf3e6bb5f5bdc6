//! What this host allows, tried for real.

use super::load::{self, Trial};
use super::namespaces;
use super::{host, sys};
use std::fs;
use std::io;
use std::os::fd::AsFd;

/// Where the kernel describes its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Where it says what it is locked down for.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// The user namespace and the PID namespace that the kernel began with: `PROC_USER_INIT_INO` and
/// `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
const INITIAL: [(&str, &str); 2] = [("user", "user:[4026531837]"), ("pid", "pid:[4026531836]")];
/// Capabilities that are needed, with their bits in linux/capability.h.
const CAPABILITIES: [(&str, u32); 3] =
    [("CAP_SYS_CHROOT", 18), ("CAP_SYS_PTRACE", 19), ("CAP_SYS_ADMIN", 21)];

/// One thing that matters, and whether this host has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Without it the checks after it say nothing of their own.
    pub is_first: bool,
    /// The back ends that are worse, or do not start, without it.
    pub needed_by: &'static [&'static str],
    /// What was found, or what is missing, as a clause.
    pub outcome: Result<String, String>,
    /// How to get it; empty if another check says that.
    pub cure: &'static str,
}

/// Looks at everything that decides which back end starts. Programs are loaded, attached and taken
/// away again; nothing stays.
pub fn examine() -> Vec<Check> {
    let mut checks = vec![
        rights(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        initial_namespaces(|name| fs::read_link(format!("/proc/self/ns/{name}")).ok()),
        btf(),
        lockdown(fs::read_to_string(LOCKDOWN)),
    ];
    match load::trials() {
        Ok(trials) => checks.extend(trials.iter().map(program)),
        Err(error) => checks.push(Check {
            name: "programs",
            is_first: false,
            needed_by: &["hooks", "notify"],
            outcome: Err(format!("no eBPF program can be tried: {error}")),
            cure: "",
        }),
    }
    checks.extend([notifications(), statmount(), namespace_list()]);
    checks
}

fn rights(status: &str) -> Check {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let lacking: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect();
    Check {
        name: "rights",
        is_first: true,
        needed_by: &["hooks", "notify", "poll"],
        outcome: if lacking.is_empty() {
            Ok("this process has every capability that it needs".to_owned())
        } else {
            Err(format!("this process lacks {}", lacking.join(", ")))
        },
        cure: "run it as root, and in a container with these capabilities",
    }
}

fn initial_namespaces(link: impl Fn(&str) -> Option<std::path::PathBuf>) -> Check {
    let is_other = |(name, initial): &&(&str, &str)| {
        link(name).is_none_or(|link| link.as_os_str() != *initial)
    };
    let others: Vec<_> = INITIAL.iter().filter(is_other).map(|(name, _)| *name).collect();
    Check {
        name: "namespaces",
        is_first: true,
        needed_by: &["hooks", "notify", "poll"],
        outcome: if others.is_empty() {
            Ok("this process is in the host's own user and PID namespace".to_owned())
        } else {
            Err(format!("this process is not in the host's own {} namespace", others.join(" and ")))
        },
        cure: "run it on the host itself, or in a container that shares these namespaces with it",
    }
}

fn btf() -> Check {
    Check {
        name: "btf",
        is_first: false,
        needed_by: &["hooks", "notify"],
        outcome: match load::features() {
            Ok(_) => Ok(format!("the kernel describes its types in {BTF}")),
            Err(error) => Err(error.to_string()),
        },
        cure: "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF, and mount /sys",
    }
}

fn lockdown(modes: io::Result<String>) -> Check {
    let modes = modes.unwrap_or_default();
    let mode = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let outcome = match mode.map(|(mode, _)| mode) {
        None => Ok("the kernel says nothing of lockdown".to_owned()),
        Some("none") => Ok("the kernel is not locked down".to_owned()),
        Some("integrity") => {
            Ok("the kernel is locked down for integrity, which forbids none of this".to_owned())
        }
        Some(mode) => Err(format!(
            "the kernel is locked down for {mode}, where no eBPF program may read its memory"
        )),
    };
    Check {
        name: "lockdown",
        is_first: false,
        needed_by: &["hooks", "notify"],
        outcome,
        cure: "boot it with lockdown=integrity, or without lockdown",
    }
}

fn program(trial: &Trial) -> Check {
    let Trial { kind, place, refusal } = trial;
    let at = if place.is_empty() { String::new() } else { format!(" (tried on {place})") };
    let (needed_by, cure): (&'static [_], _) = match *kind {
        "fentry" | "fexit" => (
            &["hooks"],
            "for fentry and fexit, boot a kernel that is built with CONFIG_BPF_JIT and \
             CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, and where nothing forbids programs on its \
             functions",
        ),
        "kprobe" | "kretprobe" => (
            &["hooks"],
            "for kprobes (the second best, in place of fentry and fexit), boot a kernel that is \
             built with CONFIG_KPROBES, CONFIG_KPROBE_EVENTS and CONFIG_BPF_EVENTS",
        ),
        _ => (
            &["notify"],
            "boot a kernel that is built with CONFIG_FTRACE_SYSCALLS and CONFIG_BPF_EVENTS",
        ),
    };
    Check {
        name: kind,
        is_first: false,
        needed_by,
        outcome: match refusal {
            None => Ok(format!("the kernel takes {kind} programs{at}")),
            Some(why) => Err(format!("the kernel refuses {kind} programs{at}: {why}")),
        },
        cure,
    }
}

fn notifications() -> Check {
    let tried = sys::fanotify_mounts(false).and_then(|queue| {
        let own = fs::File::open("/proc/self/ns/mnt")?;
        sys::fanotify_mark(&queue, own.as_fd())
    });
    Check {
        name: "notifications",
        is_first: false,
        needed_by: &["notify"],
        outcome: match tried {
            Ok(()) => Ok("the kernel notifies of mounts (fanotify)".to_owned()),
            Err(error) => Err(format!("the kernel does not notify of mounts (fanotify): {error}")),
        },
        cure: "boot Linux 6.15 or later with CONFIG_FANOTIFY",
    }
}

fn statmount() -> Check {
    let own = namespaces::open_by_task(std::process::id()).ok().flatten();
    let outcome = match (sys::has_statmount(), own.and_then(|own| own.id)) {
        (true, Some(_)) => {
            Ok("the kernel answers statmount(2) and listmount(2) about every mount namespace"
                .to_owned())
        }
        (true, None) => {
            Err("the kernel answers statmount(2) about the own mount namespace alone".to_owned())
        }
        (false, _) => Err("there is no statmount(2): mounts have no unique IDs".to_owned()),
    };
    Check {
        name: "statmount",
        is_first: false,
        needed_by: &["notify"],
        outcome,
        cure: "boot Linux 6.11 or later",
    }
}

fn namespace_list() -> Check {
    let own = fs::File::open("/proc/self/ns/mnt");
    let step = own.and_then(|own| sys::neighbour(own.as_fd(), sys::Towards::Next));
    Check {
        name: "namespace_list",
        is_first: false,
        needed_by: &["notify"],
        outcome: match step {
            Ok(sys::Step::To(..) | sys::Step::End) => {
                Ok("the kernel lists its mount namespaces".to_owned())
            }
            Ok(sys::Step::Unknown) => Err("the kernel has no list of its mount namespaces: those \
                 that only a descriptor in flight keeps are not found"
                .to_owned()),
            Err(error) => Err(format!("the kernel does not list its mount namespaces: {error}")),
        },
        cure: "boot Linux 6.12 or later",
    }
}

/// Release of the running kernel.
pub fn kernel() -> String {
    host::kernel_release()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_the_effective_set() {
        assert!(rights("CapEff:\t000001ffffffffff\n").outcome.is_ok());
        let lacking = rights("CapEff:\t0000000000240000\n").outcome;
        assert_eq!(lacking, Err("this process lacks CAP_SYS_PTRACE".to_owned()));
        assert!(rights("").outcome.is_err());
    }

    #[test]
    fn other_namespaces_are_named() {
        let link = |name: &str| Some(if name == "pid" { "pid:[7]" } else { INITIAL[0].1 }.into());
        let outcome = initial_namespaces(link).outcome;
        assert!(outcome.is_err_and(|why| why.ends_with("host's own pid namespace")));
        assert!(initial_namespaces(|_| None).outcome.is_err());
    }

    #[test]
    fn only_confidentiality_is_in_the_way() {
        let outcome = |modes: &str| lockdown(Ok(modes.to_owned())).outcome;
        assert!(outcome("[none] integrity confidentiality\n").is_ok());
        assert!(outcome("none [integrity] confidentiality\n").is_ok());
        assert!(outcome("none integrity [confidentiality]\n").is_err());
        assert!(lockdown(Err(io::Error::other("no such file"))).outcome.is_ok());
    }

    #[test]
    fn a_refusal_names_the_type_the_place_and_the_error() {
        let trial = Trial {
            kind: "fentry",
            place: "namespace_unlock",
            refusal: Some("Operation not permitted (os error 1)".to_owned()),
        };
        let check = program(&trial);
        assert_eq!(check.needed_by, ["hooks"]);
        insta::assert_snapshot!(check.outcome.unwrap_err(), @"the kernel refuses fentry programs (tried on namespace_unlock): Operation not permitted (os error 1)");
    }
}
