#!/bin/busybox sh
# The shipped unit under systemd, on a machine where nothing else runs: `cargo xtask systemd`. It is
# enabled, so that the system is starting it when this begins. A line for each step, with what did not
# hold. With the word "once" it is started that one time only.

unit=mountwatch.service
run=/run/mountwatch
socket=$run/mountwatch.sock
shipped=/usr/lib/systemd/system/$unit
drop_in=/run/systemd/system/$unit.d/check.conf
# Seconds for a start or an end: some five times what an emulated machine takes.
patience=150
watchdog=8
passed=0 failed=0

step() {
    local before=$(cut -d. -f1 /proc/uptime) said after
    if said=$("$1" 2>&1); then
        after=$(cut -d. -f1 /proc/uptime)
        echo "ok systemd_$1 ($((after - before)) s)"
        passed=$((passed + 1))
    else
        echo "FAILED systemd_$1: $said"
        journalctl --no-pager --output cat --lines 12 --unit $unit | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

fail() {
    echo "$*"
    exit 1
}

# same WHAT GOT WANTED
same() {
    [ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""
}

property() {
    systemctl show --property "$1" --value $unit
}

# What the unit is to be besides: lines of its section [Service].
configure() {
    mkdir -p ${drop_in%/*}
    { echo "[Service]" && printf '%s\n' "$@"; } > $drop_in
    systemctl daemon-reload
}

# until_active RESTARTS: it serves again after so many.
until_active() {
    local since=$(cut -d. -f1 /proc/uptime)
    until [ "$(property NRestarts) $(property ActiveState)" = "$1 active" ]; do
        [ $(($(cut -d. -f1 /proc/uptime) - since)) -lt $patience ] ||
            fail "after $patience s it is $(property ActiveState), with $(property NRestarts) restarts"
        sleep 0.2
    done
}

# answers WHERE STATUS: what the agent says about a path.
answers() {
    local said status
    said=$(mountwatch is-mountpoint -v "$1" 2>&1)
    status=$?
    case $said in
    *"answered by agent"*) ;;
    *) fail "is-mountpoint $1 is not answered by the agent: $said" ;;
    esac
    same "the exit status of is-mountpoint $1" $status "$2"
}

verified() {
    local said
    said=$(systemd-analyze verify --man=no $shipped 2>&1) || fail "systemd-analyze verify fails: $said"
    same "what systemd-analyze verify says" "$said" ""
    same "what systemctl is-enabled says" "$(systemctl is-enabled $unit)" enabled
}

# With the system, and active no sooner than it answers.
boot() {
    until_active 0
    answers /proc 0
    same "the type" "$(property Type)" notify
}

told() {
    local said=$(property StatusText)
    echo "$said" | grep -Eqx 'hooks: [0-9]+ mounts in [0-9]+ mount namespaces at revision [0-9]+, coverage complete' ||
        fail "the status is \"$said\""
    systemctl status $unit | grep -qF 'Status: "hooks: ' || fail "systemctl status shows no status"
}

modes() {
    same "the mode of $run" "$(stat -c '%a %U %G' $run)" "755 root root"
    same "the mode of $socket" "$(stat -c '%F %a %U %G' $socket)" "socket 660 root root"
}

# What systemd mounted while it was starting among it.
asked() {
    mountwatch status -J | grep -q '"agent_calls": [1-9]' || fail "status is not the agent's"
    mountwatch list -J | grep -q '"answered_by": *"agent"' || fail "list is not answered by the agent"
    mountwatch list --mountinfo > /run/listed || fail "list fails"
    cmp -s /run/listed /proc/self/mountinfo || fail "list --mountinfo is not /proc/self/mountinfo"
    mountwatch verify > /run/verified 2>&1 || fail "verify: $(head -1 /run/verified)"
    mount -t tmpfs check /mnt || fail "cannot mount"
    answers /mnt 0
    umount /mnt || fail "cannot unmount"
    answers /mnt 32
}

in_namespace_of_systemd() {
    local pid=$(property MainPID)
    same "its mount namespace" "$(readlink /proc/$pid/ns/mnt)" "$(readlink /proc/1/ns/mnt)"
    same "its root directory" "$(stat -Lc %d:%i /proc/$pid/root)" "$(stat -Lc %d:%i /proc/1/root)"
}

# Numbers of capabilities: linux/capability.h.
bits_of() {
    local name bits=0
    for name; do
        case $name in
        CAP_CHOWN) bits=$((bits | 1 << 0)) ;;
        CAP_DAC_READ_SEARCH) bits=$((bits | 1 << 2)) ;;
        CAP_SYS_CHROOT) bits=$((bits | 1 << 18)) ;;
        CAP_SYS_PTRACE) bits=$((bits | 1 << 19)) ;;
        CAP_SYS_ADMIN) bits=$((bits | 1 << 21)) ;;
        *) fail "the number of $name is to be added here" ;;
        esac
    done
    printf '%016x' $bits
}

capabilities() {
    local names=$(sed -n 's/^CapabilityBoundingSet=//p' $shipped) pid=$(property MainPID) set wanted
    wanted=$(bits_of $names) || fail "$wanted"
    for set in CapEff CapPrm CapBnd; do
        same $set "$(sed -n "s/^$set:[[:space:]]*//p" /proc/$pid/status)" "$wanted"
    done
    same NoNewPrivs "$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' /proc/$pid/status)" 1
}

stop() {
    local since=$(cut -d. -f1 /proc/uptime) seconds
    systemctl stop $unit || fail "systemctl stop fails"
    seconds=$(($(cut -d. -f1 /proc/uptime) - since))
    same "the state" "$(property ActiveState)" inactive
    same "the result" "$(property Result)" success
    same "the exit status" "$(property ExecMainStatus)" 0
    [ ! -e $run ] || fail "$run is still there"
    [ $seconds -le 40 ] || fail "it took $seconds s"
    # The first time it was starting while the system was mounting: what is too many is seen at the next.
    if [ -e /run/mounts ]; then
        same "what is mounted" "$(cat /proc/self/mountinfo)" "$(cat /run/mounts)"
    else
        cat /proc/self/mountinfo > /run/mounts
    fi
}

# What is told of namespaces, but for how many processes are in each.
namespaces() {
    awk '{ $4 = ""; print }'
}

# A namespace in which somebody else's process is, and one that a descriptor of such a process keeps.
others() {
    local pid
    unshare -m su nobody -s /bin/sh -c 'exec sleep 10000' > /dev/null 2>&1 &
    unshare -m sleep 10000 > /dev/null 2>&1 &
    pid=$!
    sleep 2
    su nobody -s /bin/sh -c 'exec sleep 10000' 9< /proc/$pid/ns/mnt > /dev/null 2>&1 &
    sleep 2
    kill $pid
}

# Asks with the unit's rights. Its own tracker needs what the agent's needs.
ask_with() {
    configure Type=oneshot Restart=no ExecStart= "ExecStart=/usr/bin/mountwatch --no-agent namespaces" \
        StandardOutput=truncate:/run/said "$@"
    systemctl start $unit 2> /dev/null
}

# Each capability but that of the socket's group.
each_capability() {
    local name
    ask_with || fail "namespaces fails with all of them"
    namespaces < /run/said > /run/with_all
    grep -q "a descriptor of process" /run/with_all || fail "no descriptor holds a namespace"
    ! grep -qv -e complete -e COVERAGE /run/with_all || fail "it is not complete: $(cat /run/with_all)"
    for name in $(sed -n 's/^CapabilityBoundingSet=//p' $shipped | sed 's/CAP_CHOWN//'); do
        if ask_with "CapabilityBoundingSet=~$name" && [ "$(namespaces < /run/said)" = "$(cat /run/with_all)" ]; then
            fail "without $name it says the same"
        fi
    done
}

group() {
    local command="ExecStart=/usr/bin/mountwatch agent --socket-group nogroup"
    configure Restart=no ExecStart= "$command" CapabilityBoundingSet=~CAP_CHOWN
    systemctl start $unit 2> /dev/null && fail "without CAP_CHOWN it names a group as well"
    configure ExecStart= "$command" WatchdogSec=$watchdog RuntimeDirectoryPreserve=restart
    systemctl start $unit || fail "systemctl start fails with a group"
    answers /proc 0
    same "the group of $socket" "$(stat -c '%a %U %G' $socket)" "660 root nogroup"
}

alive() {
    local before=$(property WatchdogTimestampMonotonic)
    same "the period" "$(property WatchdogUSec)" "${watchdog}s"
    sleep $((watchdog * 2))
    [ "$(property WatchdogTimestampMonotonic)" -gt "$before" ] || fail "no sign of life in two periods"
    same "restarts" "$(property NRestarts)" 0
}

# One that hangs is ended and started again.
hangs() {
    kill -STOP "$(property MainPID)"
    until_active 1
    journalctl --no-pager --unit $unit | grep -qF "Watchdog timeout" || fail "it was not the watchdog"
    answers /proc 0
}

# The directory stays here, so that the socket of the one that was killed is in the way.
killed() {
    local before=$(stat -c %i:%Z $socket)
    kill -KILL "$(property MainPID)"
    while [ "$(property ActiveState)" = active ]; do sleep 0.1; done
    same "what the killed one left" "$(stat -c %i:%Z $socket)" "$before"
    until_active 2
    answers /proc 0
    [ "$(stat -c %i:%Z $socket)" != "$before" ] || fail "the socket is the old one"
}

for name in verified boot told modes asked in_namespace_of_systemd capabilities stop; do
    step $name
done
if [ "$1" != once ]; then
    for name in group alive hangs killed stop; do
        step $name
    done
    others
    step each_capability
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
