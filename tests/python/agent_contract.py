"""The agent's interface, by a client that knows nothing but the .proto: grpcio, no code of ours.

Run by `cargo xtask agent-python`, as root, in a mount namespace of its own:

    agent_contract.py SOCKET DIRECTORY CHANGES

DIRECTORY is an empty one to mount on. Stubs made by grpcio-tools are on PYTHONPATH.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

import grpc
from mountwatch.v1 import mountwatch_pb2 as pb
from mountwatch.v1 import mountwatch_pb2_grpc as rpc

libc = ctypes.CDLL(None, use_errno=True)


def channel(socket):
    # C-core takes the path as authority else, which HTTP/2 does not allow.
    return grpc.insecure_channel(f"unix:{socket}", [("grpc.default_authority", "localhost")])


def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)


def mount(source, path):
    call("mount", source.encode(), path.encode(), b"tmpfs", 0, b"size=4k")


def umount(path):
    call("umount2", path.encode(), 0)


def code_of(ask):
    try:
        ask()
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("it was answered")


def every_call(stub, socket, directory):
    version = stub.GetVersion(pb.GetVersionRequest())
    assert version.api == "v1" and version.version and version.kernel, version
    status = stub.GetStatus(pb.GetStatusRequest())
    assert status.backend == version.backend and status.mounts > 0, status
    path = os.path.join(directory, "once").encode()
    os.mkdir(path)
    ask = lambda **more: stub.IsMountPoint(pb.IsMountPointRequest(path=path, **more))
    assert not ask().is_mount_point
    mount("python", path.decode())
    answer = ask()
    assert answer.is_mount_point
    assert answer.as_of.position.instance == version.instance
    assert answer.as_of.position.revision > 0 and answer.as_of.coverage.kind != 0, answer
    for viewpoint in [
        pb.Viewpoint(task=os.getpid()),
        pb.Viewpoint(namespace=os.stat("/proc/self/ns/mnt").st_ino),
    ]:
        assert ask(viewpoint=viewpoint).is_mount_point, viewpoint
    assert not ask(viewpoint=pb.Viewpoint(host=pb.Viewpoint.Host())).is_mount_point
    fresh = pb.Freshness(position=answer.as_of.position)
    assert ask(min_freshness=fresh).is_mount_point
    ask(min_freshness=pb.Freshness(latest=pb.Freshness.Latest()))

    found = stub.GetMount(pb.GetMountRequest(path=path)).mount
    assert found.mountpoint == path and found.source == b"python", found
    assert found.source_text == "python" and found.fs_type == b"tmpfs", found
    assert found.super_options.startswith(b"rw,size=4k"), found
    assert found.mountpoint_in_parent and found.HasField("namespace"), found
    by_id = stub.GetMount(pb.GetMountRequest(mount=pb.WhichMount(id=found.id))).mount
    assert by_id == found
    inside = os.path.join(path, b"no/such/file")
    covering = stub.CoveringMount(pb.CoveringMountRequest(path=inside)).mount
    assert covering == found
    all_mounts = [m for part in stub.ListMounts(pb.ListMountsRequest()) for m in part.mounts]
    with open("/proc/self/mountinfo", "rb") as lines:
        ids = [int(line.split()[0]) for line in lines]
    assert [m.id for m in all_mounts] == ids
    below = [m for part in stub.ListMounts(pb.ListMountsRequest(below=path)) for m in part.mounts]
    assert below == [found]
    on = pb.ListMountsRequest(on=pb.WhichMount(id=found.parent_id))
    assert found in [m for part in stub.ListMounts(on) for m in part.mounts]
    host = stub.GetHostPath(pb.GetHostPathRequest(path=path)).host_path
    assert host.way == pb.HostPath.WAY_PROCESS and host.pid == os.getpid(), host
    namespaces = stub.ListNamespaces(pb.ListNamespacesRequest()).namespaces
    own = [n for n in namespaces if n.inode == found.namespace]
    # Mounts that nobody's root shows count too.
    assert len(own) == 1 and own[0].mounts >= len(ids) and own[0].holder.processes > 0, own

    waited = stub.WaitForMount(pb.WaitForMountRequest(path=path))
    assert waited.mount == found
    child = os.fork()
    if child == 0:
        time.sleep(0.3)
        umount(path.decode())
        os._exit(0)
    gone = pb.WaitForMountRequest(path=path, until_unmounted=True, timeout_ms=20_000)
    assert not stub.WaitForMount(gone).HasField("mount")
    os.waitpid(child, 0)
    assert not ask().is_mount_point
    assert code_of(
        lambda: stub.WaitForMount(pb.WaitForMountRequest(path=path, timeout_ms=20))
    ) == grpc.StatusCode.DEADLINE_EXCEEDED
    for wrong in [b"relative", b"", b"/a\0b", b"/.."]:
        refused = code_of(lambda: stub.IsMountPoint(pb.IsMountPointRequest(path=wrong)))
        assert refused == grpc.StatusCode.INVALID_ARGUMENT, (wrong, refused)
    with channel(socket) as other:
        parts = list(rpc.IndexStub(other).Copy(pb.CopyRequest(holders=True)))
        assert parts[0].is_whole and sum(len(part.mounts) for part in parts) >= len(ids)


def follow(socket, directory, output):
    """A watcher that writes each change that it took with its position, and can be killed."""
    after = None
    if os.path.exists(output):
        with open(output) as lines:
            last = [line for line in lines if line.endswith("\n")][-1].split()
        after = pb.Position(instance=int(last[0]), revision=int(last[1]))
        if last[2] != "-":
            after.events = int(last[2])
    request = pb.WatchRequest(filter=pb.WatchFilter(namespace_only=True))
    if after is not None:
        request.after.CopyFrom(after)
    with channel(socket) as to_agent, open(output, "a", buffering=1) as out:
        for message in rpc.MountwatchStub(to_agent).Watch(request):
            what = message.WhichOneof("what")
            assert what in ("started", "event", "bookmark", "coverage_changed"), message
            position = message.position
            told = str(position.events) if position.HasField("events") else "-"
            name, kind = "-", "-"
            if what == "event":
                kind = pb.Event.Kind.Name(message.event.kind)
                # What is gone before it can be looked at is told by what the call was given.
                event = message.event
                named = event.mount if event.HasField("mount") else event.glimpsed
                name = named.source.decode() or "-"
            # One write(2): it is there as a whole, or not at all.
            out.write(f"{position.instance} {position.revision} {told} {what} {kind} {name}\n")


def many_changes(stub, socket, directory, changes):
    path = os.path.join(directory, "many")
    os.mkdir(path)
    output = os.path.join(directory, "followed")
    start = lambda: subprocess.Popen([sys.executable, __file__, socket, directory, "follow"])
    lines = lambda: open(output).read().splitlines() if os.path.exists(output) else []
    starts = lambda: len([line for line in lines() if " started " in line])
    watcher = start()
    until(lambda: starts() == 1, "the watcher starts")
    began = time.monotonic()
    kills = (changes // 6, changes // 3)
    for number in range(changes // 2):
        mount(f"m{number}", path)
        umount(path)
        if number in kills:
            watcher.send_signal(signal.SIGKILL)
            watcher.wait()
        elif number - changes // 20 in kills:
            # What happened in between is told when it goes on.
            before = starts()
            watcher = start()
            until(lambda: starts() == before + 1, "the watcher goes on")
    took = time.monotonic() - began
    mount("the-end", path)
    until(lambda: any(line.endswith(" the-end") for line in lines()), "the end is told")
    umount(path)
    watcher.send_signal(signal.SIGKILL)
    watcher.wait()
    told = [line.split() for line in lines()]
    events = [(line[4], line[5]) for line in told if line[3] == "event"]
    unnamed = len([name for _, name in events if name == "-"])
    events = [(kind, name) for kind, name in events if name[0] == "m" or name == "the-end"]
    events = events[: events.index(("KIND_ATTACH", "the-end")) + 1]
    assert starts() == 3, "it was not resumed twice"
    expected = [
        (kind, f"m{number}")
        for number in range(changes // 2)
        for kind in ("KIND_ATTACH", "KIND_DETACH")
    ] + [("KIND_ATTACH", "the-end")]
    # Twice it may be killed between the message and the line: then the line comes again, never the
    # other way round, since the position is in the line.
    positions = [tuple(line[:3]) for line in told if line[3] == "event"]
    assert len(set(positions)) == len(positions), "a duplicate"
    if stub.GetVersion(pb.GetVersionRequest()).backend == "hooks":
        assert events == expected, first_difference(events, expected)
    else:
        # The kernel skips programs now and then: then nobody knows what the call was given.
        order = {event: place for place, event in enumerate(expected)}
        places = [order[event] for event in events]
        assert places == sorted(set(places)), "out of order, or twice"
        assert events[-1] == ("KIND_ATTACH", "the-end")
        assert len(expected) - len(events) <= unnamed <= changes / 100, (len(events), unnamed)
    print(f"{len(events)} of {len(expected)} changes followed in {took:.1f} s, resumed twice")


def first_difference(events, expected):
    for place, (got, wanted) in enumerate(zip(events, expected)):
        if got != wanted:
            return f"change {place}: {got}, expected {wanted}"
    return f"{len(events)} changes, expected {len(expected)}"


def until(is_so, what):
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < 120, f"in vain: {what}"
        time.sleep(0.05)


def main():
    socket, directory, changes = sys.argv[1:]
    if changes == "follow":
        return follow(socket, directory, os.path.join(directory, "followed"))
    with channel(socket) as to_agent:
        stub = rpc.MountwatchStub(to_agent)
        every_call(stub, socket, directory)
        print("every call is answered")
        many_changes(stub, socket, directory, int(changes))


main()
