# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/screen: a VNC viewer of a screen that stands still, and of a line that is printed."""

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time

from harness import HERE, PATIENCE, TOP, Qmp, at_most, value_at_most

sys.path.insert(0, f"{TOP}/tests/device")
from rfb import Viewer  # noqa: E402

LINES = 20
STILL_SECONDS = 10
MODES = (("text", b""), ("1024x768, linear", b"G"))  # and the characters that set it


def make_sector(path):
    subprocess.run(["cc", "-m32", "-nostdlib", "-static",
                    "-Wl,--build-id=none,--oformat=binary,-Ttext=0x7c00", "-o", path,
                    f"{HERE}/screenload.S"], check=True)


class Screen:
    """A machine that has booted screenload.S, and a viewer of its screen."""

    def __init__(self, program, folder, sector):
        """folder is empty, and the caller's to remove."""
        self.process = subprocess.Popen(
            [*program, "-m", "32", "-nodefaults", "-vga", "std", "-vnc", f"unix:{folder}/vnc",
             "-serial", f"unix:{folder}/serial,server=on,wait=off",
             "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
             "-drive", f"file={sector},format=raw", "-S"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.folder = folder
        self.serial = socket.socket(socket.AF_UNIX)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def start(self):
        self.qmp = Qmp(f"{self.folder}/qmp")
        self.serial.settimeout(PATIENCE)
        self.serial.connect(f"{self.folder}/serial")
        self.qmp.command("cont")
        if self.serial.recv(1) != b"~":
            raise SystemExit("the boot sector does not run")
        self.viewer = Viewer(f"{self.folder}/vnc")
        self.viewer.settle(1)

    def set_mode(self, characters):
        for character in characters:
            self.serial.sendall(bytes([character]))
            self.viewer.settle(2)

    def busy_ns(self):
        """CPU time of all threads but the guest's CPUs."""
        cpus = {str(cpu["thread-id"]) for cpu in self.qmp.command("query-cpus-fast")}
        total = 0
        for thread in set(os.listdir(f"/proc/{self.process.pid}/task")) - cpus:
            with open(f"/proc/{self.process.pid}/task/{thread}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[0])
        return total

    def still(self):
        """Percent of a core that a viewer of a still screen costs. It waits for an update."""
        self.viewer.settle(3)
        before = self.busy_ns()
        time.sleep(STILL_SECONDS)
        return (self.busy_ns() - before) / STILL_SECONDS / 1e7

    def line(self, character):
        """Milliseconds from the character on the serial line to the change in the viewer."""
        before = bytes(self.viewer.pixels)
        began = time.monotonic()
        self.serial.sendall(bytes([character]))
        while True:
            if not select.select([self.viewer.socket], [], [], PATIENCE)[0]:
                raise SystemExit("the viewer is told of no change")
            self.viewer.update()
            if self.viewer.pixels != before:
                break
            self.viewer.request()
        took = time.monotonic() - began
        self.viewer.settle()
        return took * 1e3


def screen(bench):
    """a viewer of a still screen, and how long a printed line takes to it"""
    pause = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        make_sector(f"{folder}/sector")
        for title, characters in MODES:
            figures = {}
            for name, program in bench.programs:
                with contextlib.ExitStack() as stack:
                    place = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench."))
                    machine = stack.enter_context(Screen(program, place, f"{folder}/sector"))
                    machine.start()
                    machine.set_mode(characters)
                    times = []
                    for n in range(LINES):
                        time.sleep(pause.uniform(0, 1))
                        times.append(machine.line(ord("a") + n))
                    figures[name] = (sorted(times), machine.still())
            (ours, our_still), (theirs, their_still) = figures["vmm"], figures["QEMU"]
            middle = LINES // 2
            bench.table(f"A VNC viewer of a screen: {title} (* is a goal for vmm itself)", [
                (f"a line reaches the viewer, ms (median of {LINES})", ours[middle], theirs[middle],
                 at_most(1)),
                ("  the same", ours[middle], theirs[middle], value_at_most(50)),
                ("  the longest", ours[-1], theirs[-1], None),
                ("still, % of a core beside the guest's CPUs", our_still, their_still,
                 value_at_most(0.5))])
