//! The guest's first process: a shell script that makes the usual mounts, runs one command and
//! says how it ended.

use super::module::Module;

/// The serial port of the command's output. The console is on the first one.
const OUTPUT: &str = "/dev/ttyS1";

/// The serial port on which the script speaks to [`super::guest`], a line each: [`UP`], then the status
/// as a number, or the sentence why the command could not be run.
const STATUS: &str = "/dev/ttyS2";

/// User space has started.
pub(crate) const UP: &str = "up";

/// Where the modules lie in the guest.
pub(crate) fn module_path(module: &Module) -> String {
    format!("/lib/modules/{}.ko", module.name)
}

/// The script.
pub(crate) fn script(modules: &[Module], command: &[String]) -> String {
    let load = |module: &Module| {
        let (path, name) = (module_path(module), &module.name);
        format!("insmod {path} || say_last 'cannot load the module {name}'")
    };
    let loads: Vec<String> = modules.iter().map(load).collect();
    let (head, say_last, loads, run) = (head(), say_last(), loads.join("\n"), run(command));
    format!("{head}{say_last}{STAGES}{loads}\n{run}")
}

/// As [`script`], for a machine with an init of its own, which takes the place of the script and has
/// [`service`] run.
pub(crate) fn succeeded_by(program: &str) -> String {
    format!("{}exec {program}\n", head())
}

/// The script of a service that runs the command and ends the machine.
pub(crate) fn service(command: &[String]) -> String {
    format!("{SHELL}{}{}", say_last(), run(command))
}

const SHELL: &str = "#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
";

/// What comes first, until the host can be spoken to.
fn head() -> String {
    format!(
        r#"{SHELL}if [ "$1" != again ]; then
    # The kernel's first root has no mount above it, and pivot_root(2) refuses to leave such a
    # root. So the guest lives in a second mount of it, as a machine with a disk would.
    mount -o bind / /mnt && cd /mnt && mount -o move . / && exec chroot . /init again
    echo "init: cannot leave the first root"
fi
mount -t devtmpfs devtmpfs /dev
# No line discipline: bytes arrive as they were written.
stty -F {OUTPUT} raw -echo
stty -F {STATUS} raw -echo
echo {UP} > {STATUS}
"#
    )
}

fn say_last() -> String {
    format!(
        r#"# Says the last line that the host reads.
say_last() {{
    echo "$1" > {STATUS}
    # Setting a port waits until all has left it.
    stty -F {STATUS} raw -echo
    reboot -f
}}
"#
    )
}

/// What an init makes of a machine.
const STAGES: &str = r#"# A file system at a directory that the kernel or we provide, with options.
stage() {
    mkdir -p "$2"
    mount -t "$1" -o "${3:-rw}" "$1" "$2" || say_last "cannot mount $2"
}
stage devpts /dev/pts
stage tmpfs /dev/shm mode=1777
stage proc /proc
stage sysfs /sys
stage securityfs /sys/kernel/security
stage debugfs /sys/kernel/debug
stage tracefs /sys/kernel/tracing
stage bpf /sys/fs/bpf
stage cgroup2 /sys/fs/cgroup
stage tmpfs /tmp mode=1777
stage tmpfs /run mode=755
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
hostname guest
ip link set lo up
ulimit -l unlimited
"#;

/// Runs the command, passes its output on and says its status.
fn run(command: &[String]) -> String {
    let command: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let command = command.join(" ");
    format!(
        r"cd /root
unset OLDPWD
# A pipe, not the port itself: the command is to see no terminal.
mkfifo /run/.output
cat /run/.output > {OUTPUT} &
copier=$!
# A session of its own: whoever signals all of it must not reach us.
( exec setsid {command} ) < /dev/null > /run/.output 2>&1
status=$?
# The copier ends with the last writer; children that live on are not waited for.
tries=0
while [ $tries -lt 20 ] && kill -0 $copier 2> /dev/null; do
    tries=$((tries + 1))
    sleep 0.05
done
stty -F {OUTPUT} raw -echo
say_last $status
"
    )
}

/// A word as the shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_command_as_they_are() {
        let words = ["printf".to_owned(), "%s|".into(), "a b".into(), "it's".into(), "$x\n".into()];
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let mut shell = std::process::Command::new("sh");
        let text = crate::process::text(shell.args(["-c", &words.join(" ")])).unwrap();
        assert_eq!(text, "a b|it's|$x\n|");
    }
}
