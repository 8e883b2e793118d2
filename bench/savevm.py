# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/savevm: snapshots of the machine, saved and gone back to."""

import os
import subprocess
import tempfile
import time

from harness import PATIENCE, Qmp, at_most, memory_of

RAM = 1024  # MiB, of which half is the file that the loader puts there
UNTOUCHED = 16384


def say(qmp, line):
    """Milliseconds that an HMP command takes, which must say nothing."""
    began = time.monotonic()
    said = qmp.command("human-monitor-command", command_line=line)
    if said.strip():
        raise SystemExit(f"{line}: {said}")
    return (time.monotonic() - began) * 1e3


class Machine:
    """A machine with a qcow2 disk and a program that prints '~' once its memory is loaded."""

    def __init__(self, bench, program, folder, ram, *words):
        self.qmp_path, self.serial = f"{folder}/qmp", f"{folder}/serial"
        for path in self.qmp_path, self.serial:
            if os.path.exists(path):
                os.unlink(path)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*program, "-m", str(ram), "-nodefaults", "-display", "none",
             "-serial", f"file:{self.serial}", "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
             "-kernel", bench.image("stay.bin"),
             "-drive", f"file={folder}/disk.qcow2,if=virtio", *words],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.qmp = Qmp(self.qmp_path)

    def wait_ready(self):
        while not os.path.exists(self.serial) or os.path.getsize(self.serial) == 0:
            if time.monotonic() - self.began > PATIENCE:
                raise SystemExit("the program did not start in the guest")
            time.sleep(0.02)

    def wait_running(self):
        """Milliseconds from the start."""
        while not self.qmp.command("query-status")["running"]:
            time.sleep(0.001)
        return (time.monotonic() - self.began) * 1e3

    def end(self):
        self.qmp.command("quit")
        if self.process.wait(PATIENCE) != 0:
            raise SystemExit(f"status {self.process.returncode}")


def new_disk(folder):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{folder}/disk.qcow2", "8G"],
                   check=True)


def half_full(bench, program, folder):
    new_disk(folder)
    machine = Machine(bench, program, folder, RAM, "-initrd", f"{folder}/half")
    machine.wait_ready()
    first, second = say(machine.qmp, "savevm a"), say(machine.qmp, "savevm a")
    load, again = say(machine.qmp, "loadvm a"), say(machine.qmp, "loadvm a")
    live, stood = save_live(machine.qmp)
    machine.end()
    machine = Machine(bench, program, folder, RAM, "-loadvm", "a")
    start = machine.wait_running()
    machine.end()
    return {"first": first, "second": second, "load": load, "again": again, "start": start,
            "live": live, "stood": stood}


def save_live(qmp):
    """Milliseconds that it takes, and that the guest stands still; QEMU's guest does all the time."""
    began = time.monotonic()
    said = qmp.command("human-monitor-command", command_line="savevm -live b")
    if "stood still" not in said:
        time_all = say(qmp, "savevm b")
        return time_all, time_all
    return (time.monotonic() - began) * 1e3, float(said.split("stood still for ")[1].split()[0])


def untouched(bench, program, folder):
    new_disk(folder)
    machine = Machine(bench, program, folder, UNTOUCHED)
    machine.wait_ready()
    before = memory_of(machine.process.pid, UNTOUCHED)
    save = say(machine.qmp, "savevm a")
    grown = memory_of(machine.process.pid, UNTOUCHED) - before
    machine.end()
    return {"save": save, "grown": grown}


def savevm(bench):
    """savevm, loadvm, -loadvm: a machine half of whose memory is full, and one without content"""
    for title, parent in ("in memory", "/dev/shm"), ("on disk", os.environ.get("TMPDIR", "/var/tmp")):
        with tempfile.TemporaryDirectory(dir=parent, prefix="bench.") as folder:
            with open(f"{folder}/half", "wb") as file:
                for _ in range(RAM // 2 - 16):
                    file.write(os.urandom(1 << 20))
            ours, theirs = (found for found in bench.pairs(
                bench.rounds, lambda _, program: half_full(bench, program, folder)).values())
            memory = title == "in memory"
            rows = (("first", "savevm", at_most(0.33 if memory else 1)),
                    ("second", "savevm of a name that is there", None),
                    ("load", "loadvm", None), ("again", "loadvm again", None),
                    ("start", "from exec with -loadvm until it runs", None),
                    ("live", "savevm -live (QEMU: savevm)", None),
                    ("stood", "the guest stands still meanwhile", None))
            bench.table(f"{title}: {RAM} MiB, half of it full, ms (median of {bench.rounds})",
                        [(what, ours[key], theirs[key], goal) for key, what, goal in rows])
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench.") as folder:
        ours, theirs = bench.pairs(
            bench.rounds, lambda _, program: untouched(bench, program, folder)).values()
        bench.table(f"in memory: {UNTOUCHED} MiB that nobody touched", [
            ("savevm, ms", ours["save"], theirs["save"], None),
            ("the process grows by, MiB", ours["grown"], theirs["grown"], None)])
