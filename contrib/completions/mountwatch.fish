# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mountwatch_global_optspecs
    string join \n socket= no-agent backend= show-secrets kernel-log ring-bytes= nice= without-hook= fallback-hook= no-fentry mute-hook= h/help V/version
end

function __fish_mountwatch_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mountwatch_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mountwatch_using_subcommand
    set -l cmd (__fish_mountwatch_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mountwatch -n "__fish_mountwatch_needs_command" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -s V -l version -d 'Print version'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "agent" -d 'Run in the foreground: watch, and answer others on a socket'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "list" -d 'List mounts: all that this process sees, or those asked for'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "info" -d 'Tell everything about one mount'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "is-mountpoint" -d 'Say whether a path is a mount point'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "watch" -d 'Follow changes in every mount namespace'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "exec" -d 'Run a command, and list the mounts and mount namespaces that it and its processes left behind'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "namespaces" -d 'List the mount namespaces: what is in each, and what keeps it alive'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "verify" -d 'Compare the index with the kernel, now, in every mount namespace'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "status" -d 'Say how this host is watched, what cannot be seen, and what was counted'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "doctor" -d 'Say in sentences what this host allows, which back end that makes, and what would help'
complete -c mountwatch -n "__fish_mountwatch_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l socket-group -d 'The socket\'s group, by name or number: its members may ask about everything' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l socket-mode -d 'The socket\'s mode, octal. With 666 everybody may ask about the own mount namespace' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l mapped-socket -d 'Where other processes get the index of their mount namespace in shared memory; by default mapped.sock in the socket\'s directory. Empty for nowhere' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l metrics -d 'Serve metrics for Prometheus on this address' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l metrics-textfile -d 'Write metrics into this file, for node_exporter; it ends with .prom' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l export-file -d 'Write changes and operations as JSON lines into this file; `-` for stdout' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l export-file-bytes -d 'Bytes of that file at most; then another one is begun' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l export-files -d 'Files at most, the older ones being FILE.1, FILE.2, …' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l otlp -d 'Send changes, operations and metrics to an OpenTelemetry collector, over gRPC: `http://HOST:4317`. OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and OTEL_METRIC_EXPORT_INTERVAL say the rest' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l export-rate -d 'Lines and records in a second at most, of each export; 0 for any number. What is more is counted, and told in the stream' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l export-events -d 'Only these events, in the words of `watch`: attach,detach,operation,…' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand agent" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s N -l task -d 'What this process or thread sees, from its root directory' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l ns -d 'What a process sees that enters this mount namespace: the inode of /proc/PID/ns/mnt' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s M -l mountpoint -d 'Only what is mounted at this path: another way to give PATH' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s T -l target -d 'The mount on which this path lies' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s t -l types -d 'Only these file system types, separated by commas; `no` in front means all others' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s O -l options -d 'Only mounts with all of these options, separated by commas; `no` in front of one means without it (`+no…` for an option that begins so)' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s S -l source -d 'Only this source, or this device as MAJ:MIN' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l id -d 'Only the mount with this ID' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l uniq-id -d 'Only the mount with this unique ID' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s o -l output -d 'Columns, separated by commas; after `+` in addition to the default ones' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s A -l all-namespaces -d 'Every mount namespace, each from its own root'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s R -l submounts -d 'Also what is mounted below the path'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l real -d 'Only file systems that keep files somewhere'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l pseudo -d 'Only file systems that the kernel or a program makes up'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l shadowed -d 'Only mounts on top of which another one is mounted'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l no-bind -d 'No bind mounts'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s f -l first-only -d 'Only the first one that is found'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s J -l json -d 'JSON in the shape of `findmnt -J`; all columns that need no walk over /proc, unless -o is given'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l output-all -d 'All columns'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s H -l list-columns -d 'Say what columns there are, and nothing else'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l tree -d 'As a tree. This is the default, except with a path and without --submounts'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s l -l list -d 'As a list'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s a -l ascii -d 'Draw the tree with ASCII characters'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s r -l raw -d 'A blank between cells, and `\\xNN` for what is not plain text'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s P -l pairs -d 'NAME="cell" for each cell'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s y -l shell -d 'Names of columns that are variables of a shell: MAJ_MIN for MAJ:MIN'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s n -l noheadings -d 'No line of names on top'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s v -l nofsroot -d 'Sources without the root in brackets'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l mountinfo -d 'The kernel\'s own text, line for line what /proc/TID/mountinfo says'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -s N -l task -d 'What this process or thread sees, from its root directory' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l ns -d 'What a process sees that enters this mount namespace: the inode of /proc/PID/ns/mnt' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -s T -l target -d 'If the path is no mount point, tell about the mount on which it lies'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -s N -l task -d 'What this process or thread sees, from its root directory' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l ns -d 'What a process sees that enters this mount namespace: the inode of /proc/PID/ns/mnt' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l no-bind -d 'Bind mounts do not count. What a bind mount is stands in the README'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -s q -l quiet -d 'Say nothing: the exit status is the answer'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -s v -l verbose -d 'Say on stderr who answered'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand is-mountpoint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -s n -l count -d 'End after this many changes, or operations if they are shown' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l timeout -d 'End after this many seconds' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l initial -d 'First every mount that is there, then `synced`, then every change after exactly that'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -s J -l json -d 'One JSON object a line'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l operations -d 'Operations too: each system call of the mount family with its arguments and its result, those that failed included, after its changes'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l no-operations -d 'Changes alone; the default'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -s q -l quiet -d 'Do not say on stderr that watching has begun'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l output -d 'Write the report to this file, not to stderr' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l junit -d 'Write a report for continuous integration to this file, too: JUnit\'s XML' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l wait -d 'After the command\'s end wait this long at most for processes that it started' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -s J -l json -d 'The report as JSON. It is written even if nothing was left behind'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l namespace -d 'Run the command in a mount namespace of its own that is private: it sees the mounts that are there, and what it mounts ends with it'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -s o -l output -d 'Columns, separated by commas' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -s n -l noheadings -d 'No line of names on top'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand namespaces" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l settle-ms -d 'Follow changes for this many milliseconds first: what is compared then is the index that they led to, not the one just read' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l socket -d 'The agent\'s socket. Commands ask the agent if it is there; \'\' for none' -r -F
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l backend -d 'How the kernel is watched. Naming a back end means that no agent is asked' -r -f -a "auto\t'The best one that this host allows'
hooks\t'eBPF programs on the kernel\'s functions (kernel 5.10 with BTF)'
notify\t'eBPF programs on tracepoints and fanotify (kernel 6.15)'
poll\t'No eBPF: mount tables are read again once in a second and before each answer'
none\t'None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges'"
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l ring-bytes -d 'Size of the ring buffer between the kernel and us, a power of two' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l nice -d 'The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would otherwise fall behind those that mount' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l without-hook -d 'Leave out a hook, to test what happens without it' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l fallback-hook -d 'Replace a hook by what stands in for it, to test that' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l mute-hook -d 'Only say that a hook is attached, to test whether the self-test notices' -r
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -s J -l json -d 'JSON'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l no-agent -d 'Ask no agent, even if there is one'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l show-secrets -d 'Show the values of options that hold secrets (password=, credentials=, key=, …)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l kernel-log -d 'Print what the kernel side logs, on stderr'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -l no-fentry -d 'Use probes in place of trampolines (fentry and fexit)'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "agent" -d 'Run in the foreground: watch, and answer others on a socket'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "list" -d 'List mounts: all that this process sees, or those asked for'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "info" -d 'Tell everything about one mount'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "is-mountpoint" -d 'Say whether a path is a mount point'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "watch" -d 'Follow changes in every mount namespace'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "exec" -d 'Run a command, and list the mounts and mount namespaces that it and its processes left behind'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "namespaces" -d 'List the mount namespaces: what is in each, and what keeps it alive'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "verify" -d 'Compare the index with the kernel, now, in every mount namespace'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "status" -d 'Say how this host is watched, what cannot be seen, and what was counted'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "doctor" -d 'Say in sentences what this host allows, which back end that makes, and what would help'
complete -c mountwatch -n "__fish_mountwatch_using_subcommand help; and not __fish_seen_subcommand_from agent list info is-mountpoint watch exec namespaces verify status doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
