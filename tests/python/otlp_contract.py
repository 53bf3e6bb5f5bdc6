"""What an agent sends over OTLP, against what was done: each operation once, through restarts of the
collector.

Run by `cargo xtask otlp-python`, as root, in a mount namespace of its own:

    otlp_contract.py MOUNTWATCH SOCKET PORT DIRECTORY MOUNTS

DIRECTORY is an empty one to mount on; the agent at SOCKET sends to PORT of this machine.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

RECEIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "otlp_receiver.py")
# Longer than lines are gathered (0.2 s) and than the first pauses between two tries.
DOWN_SECONDS = 3
# One request has so many records at most.
BATCH = 512
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)


def until(is_so, what):
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < 120, f"in vain: {what}"
        time.sleep(0.05)


class Receiver:
    def __init__(self, port, path):
        self.port, self.path, self.looked_at = port, path, 0
        self.start()

    def start(self):
        words = [sys.executable, RECEIVER, self.port, self.path]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"listening\n"

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()

    def records(self):
        with open(self.path) as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def has(self, word):
        """Whether a line that came since the last look has it."""
        with open(self.path, "rb") as lines:
            lines.seek(self.looked_at)
            text = lines.read()
        self.looked_at += text.rfind(b"\n") + 1
        return word in text


def work(directory, mounts, receiver):
    """Mounts and unmounts; the receiver is away twice. What was done, in order."""
    done = []
    for place in range(50):
        os.mkdir(os.path.join(directory, str(place)))
    away = {mounts // 5: signal.SIGTERM, 3 * mounts // 5: signal.SIGKILL}
    back = {number + mounts // 10 for number in away}
    for number in range(mounts):
        if number in away:
            receiver.end(away[number])
            gone = time.monotonic()
        if number in back:
            time.sleep(max(0, gone + DOWN_SECONDS - time.monotonic()))
            receiver.start()
        path = os.path.join(directory, str(number % 50))
        call("mount", f"o{number}".encode(), path.encode(), b"tmpfs", 0, b"size=4k")
        done.append(("mount", path, f"o{number}"))
        call("umount2", path.encode(), 0)
        done.append(("umount2", path, None))
    return done


def without_repeats(records):
    """Each record once. What came again has to be of the one request that was in flight at SIGKILL."""
    known, order, again = {}, [], 0
    for record in records:
        number = record["mountwatch.sequence"]
        if number in known:
            assert known[number] == record, f"two records are number {number}"
            again += 1
        else:
            known[number] = record
            order.append(number)
    assert again <= BATCH, f"{again} records came twice"
    assert order == list(range(1, len(order) + 1)), "records are missing, or out of order"
    return [known[number] for number in order], again


def main():
    mountwatch, socket, port, directory, mounts = sys.argv[1:]
    receiver = Receiver(port, os.path.join(directory, "received"))
    try:
        check(mountwatch, socket, directory, int(mounts), receiver)
    finally:
        receiver.process.kill()


def check(mountwatch, socket, directory, mounts, receiver):
    ask = lambda *words: subprocess.run(
        [mountwatch, "--socket", socket, *words], check=True, capture_output=True, text=True
    ).stdout
    began = time.monotonic()
    done = work(directory, mounts, receiver)
    took = time.monotonic() - began
    end = os.path.join(directory, "0")
    call("mount", b"the-end", end.encode(), b"tmpfs", 0, b"size=4k")
    call("umount2", end.encode(), 0)
    word = b'"mountwatch.arguments.source": "the-end"'
    until(lambda: receiver.has(word), "the last operation arrives")
    receiver.end(signal.SIGTERM)

    records, again = without_repeats(receiver.records())
    assert len({record["instance"] for record in records}) == 1
    assert not [one for one in records if one["event"] == "mount.dropped"], "some were dropped"
    inside = os.path.join(directory, "")
    ours = [
        (one["mountwatch.call"], one["mountwatch.arguments.target"], one.get("mountwatch.arguments.source"))
        for one in records
        if one["event"] == "mount.operation"
        and one["process.pid"] == os.getpid()
        and one.get("mountwatch.arguments.target", "").startswith(inside)
    ]
    numbers = [one["mountwatch.operation"] for one in records if one["event"] == "mount.operation"]
    assert len(set(numbers)) == len(numbers), "an operation was told twice"
    ours = ours[: ours.index(("mount", end, "the-end"))]
    status = json.loads(ask("status", "-J"))
    # A program that the kernel skipped counts too.
    missed = sum(status["counters"].get(key, 0) for key in ("operations_missed", "recursion_misses"))
    if missed == 0:
        check_changes(records)
    if ours != done:
        check_few_missing(ours, done, missed, status["backend"])
    names = {name for line in open(receiver.path + ".metrics") for name in json.loads(line)}
    assert any(name.startswith("mountwatch") for name in names), names
    print(
        f"{len(ours)} of {len(done)} operations arrived once each, {missed} missed by the kernel side; "
        f"{took:.1f} s, two restarts, {again} records sent again after SIGKILL; {len(names)} metrics"
    )


def check_changes(records):
    """Each mount and umount of ours did one thing, and that is told as a part of it."""
    changes = {}
    for one in records:
        if one["event"] in ("mount.attach", "mount.detach"):
            changes.setdefault(one.get("mountwatch.operation"), []).append(one["event"])
    expected = {"mount": (["mount.attach"], (1, 0)), "umount2": (["mount.detach"], (0, 1))}
    ours = [one for one in records if one["event"] == "mount.operation" and one["process.pid"] == os.getpid()]
    # Before it became this script the process made the namespace, and made it private.
    for one in [one for one in ours if one["mountwatch.call"] != "unshare"][1:]:
        told = changes.get(one["mountwatch.operation"], [])
        counts = one["mountwatch.created"], one["mountwatch.removed"]
        assert (told, counts) == expected.get(one["mountwatch.call"]), (told, one)


def check_few_missing(ours, done, missed, backend):
    """Where the kernel skips programs, what is missing is counted."""
    rest = iter(done)
    assert all(one in rest for one in ours), "out of order, twice, or never done"
    missing = len(done) - len(ours)
    assert backend != "hooks" and missing <= missed, f"{missing} are missing, {missed} were counted"


main()
