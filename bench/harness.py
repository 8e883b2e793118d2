# SPDX-License-Identifier: GPL-2.0-or-later
"""What the measurements of bench/ share: the two programs, pairs of runs, guests, tables, goals."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, f"{TOP}/tests/guest")
from vm import PATIENCE, Qmp  # noqa: E402
from drive_console import Console  # noqa: E402

SYSCALLS = {0: "read", 1: "write", 3: "close", 7: "poll", 8: "lseek", 9: "mmap", 10: "mprotect",
            11: "munmap", 12: "brk", 13: "rt_sigaction", 14: "rt_sigprocmask", 15: "rt_sigreturn",
            16: "ioctl", 17: "pread64", 20: "writev", 21: "access", 28: "madvise", 39: "getpid",
            72: "fcntl", 202: "futex", 228: "clock_gettime", 232: "epoll_wait", 233: "epoll_ctl",
            234: "tgkill", 257: "openat", 262: "newfstatat", 271: "ppoll", 281: "epoll_pwait",
            286: "timerfd_settime", 290: "eventfd2", 441: "epoll_pwait2"}


class Skip(Exception):
    """Something that the measurement needs is missing; the message says what."""


class Goal:
    """What a row has to reach: a condition on the ratio to QEMU or, marked *, on vmm's value."""

    def __init__(self, text, holds):
        self.text = text
        self.holds = holds

    def __call__(self, ratio, value):
        return self.holds(ratio, value)


def at_most(limit):
    return Goal(f"<={limit:g}", lambda ratio, value: ratio <= limit)


def at_least(limit):
    return Goal(f">={limit:g}", lambda ratio, value: ratio >= limit)


def value_at_most(limit):
    return Goal(f"<={limit:g} *", lambda ratio, value: value <= limit)


class Bench:
    def __init__(self, options):
        self.images = options.images
        self.rounds = options.rounds
        self.only = options.only
        self.inside = options.inside is not None  # in the lab, not on this machine's own KVM
        self.vmm = [options.vmm]
        self.vmm_img = options.vmm_img
        self.vmm_nbd = options.vmm_nbd
        self.qemu = [options.qemu, "-accel", "kvm", "-M", "pc"]
        self.programs = (("vmm", self.vmm), ("QEMU", self.qemu))
        self.missed = 0

    def image(self, name):
        return os.path.join(self.images, name)

    def table(self, title, rows):
        """Prints rows of (what, vmm's value, QEMU's value, Goal or None)."""
        if not rows:
            return
        print(f"\n{title}")
        print(f"  {'':<50}{'vmm':>12}{'QEMU':>12}{'ratio':>8}{'goal':>9}")
        for what, ours, theirs, goal in rows:
            ratio = ours / theirs if theirs else (float("inf") if ours else 1)
            verdict = ""
            if goal is not None and not goal(ratio, ours):
                self.missed += 1
                verdict = "  missed"
            print(f"  {what:<50}{number(ours):>12}{number(theirs):>12}{ratio:>8.2f}"
                  f"{goal.text if goal else '':>9}{verdict}")
        sys.stdout.flush()

    def pairs(self, rounds, once, of=statistics.median):
        """Runs once(name, program) for both programs in turns. Returns for each program the median,
        or 'of', of each figure that once() returns in a dictionary."""
        figures = {name: {} for name, _ in self.programs}
        for _ in range(rounds):
            for name, program in self.programs:
                for what, value in once(name, program).items():
                    figures[name].setdefault(what, []).append(value)
        return {name: {what: of(values) for what, values in lists.items()}
                for name, lists in figures.items()}

    def move_into_memory(self):
        """Copies the programs and all that they load into a tmpfs. In the lab the host opens its
        files for us, and the instruction clock cannot measure how long that takes."""
        folder = "/run/bench"
        os.makedirs(f"{folder}/lib")
        os.makedirs(f"{folder}/bin")
        self.images = shutil.copytree(self.images, f"{folder}/images",
                                      ignore=shutil.ignore_patterns("lib", "modules"))
        for program in (self.vmm, self.qemu):
            libraries = subprocess.run(["ldd", program[0]], stdout=subprocess.PIPE, text=True,
                                       check=True).stdout
            for path in re.findall(r"=> (/\S+)", libraries):
                shutil.copy(path, f"{folder}/lib")
            program[0] = shutil.copy(program[0], f"{folder}/bin")
        for firmware in ("qemu", "seabios"):
            if os.path.isdir(f"/usr/share/{firmware}"):
                shutil.copytree(f"/usr/share/{firmware}", f"{folder}/{firmware}",
                                ignore=shutil.ignore_patterns("*.img", "open*", "skiboot*"))
        self.qemu[1:1] = ["-L", f"{folder}/qemu", "-L", f"{folder}/seabios"]
        os.environ["LD_LIBRARY_PATH"] = f"{folder}/lib"

    def stop_halt_polling(self):
        """For rates of both programs. In the lab KVM's busy-wait after a guest's HLT makes rates flip
        between two levels, by whether a request ends within it. A host's own setting stays."""
        if self.inside:
            with open("/sys/module/kvm/parameters/halt_poll_ns", "w", encoding="ascii") as setting:
                setting.write("0")


def number(value):
    """Three digits that count: the figures of one table may be of very different sizes."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


class Guest(Console):
    """A booted Linux with a shell on its serial line, for runs that take turns: both programs'
    guests are there all the time, and only one of them has work. With 'full' as "-full" it has
    Debian's kernel for all machines."""

    def __init__(self, bench, program, *arguments, modules=None, full="", defaults=False):
        self.folder = tempfile.TemporaryDirectory(prefix="bench.")
        self.qmp_path = f"{self.folder.name}/qmp"
        words = "" if modules is None else f"vmm.modules={modules}"
        super().__init__([*program, "-m", "256", *([] if defaults else ["-nodefaults"]),
                          *([] if "-vnc" in arguments else ["-display", "none"]),
                          "-serial", "stdio", "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                          "-kernel", bench.image(f"kernel{full}/vmlinuz"),
                          "-initrd", bench.image(f"initrd{full}"),
                          "-append", f"console=ttyS0 quiet panic=-1 {words} vmm.shell",
                          *arguments])
        self.booted = False

    def boot(self):
        self.expect(r"# ", timeout=PATIENCE)
        self.shell("stty -echo; PS1= PS2=", timeout=PATIENCE)
        self.booted = True

    def run(self, command):
        """The output of a command, which has to end with status 0."""
        if not self.booted:
            self.boot()
        status, output = self.shell(command, timeout=PATIENCE)
        if status != 0:
            raise SystemExit(f"{command}: status {status} in the guest\n{output}")
        return output

    def close(self):
        super().close()
        self.folder.cleanup()


class Counters:
    """Counts system calls of processes by the kernel's own trace point, and reads KVM's own counts.
    Needs root, and tracefs."""

    TRACING = "/sys/kernel/tracing"
    SYSCALLS = "raw_syscalls/sys_enter"

    def __init__(self, keys=None):
        """keys: {event: keys of its histogram} of further trace points."""
        if os.getuid() != 0:
            raise Skip("counting system calls takes root's rights")
        self.events = {self.SYSCALLS: "common_pid,id", **(keys or {})}
        for kind, folder in ("tracefs", self.TRACING), ("debugfs", "/sys/kernel/debug"):
            if not os.listdir(folder) if os.path.isdir(folder) else True:
                if subprocess.run(["mount", "-t", kind, kind, folder], check=False).returncode != 0:
                    raise Skip(f"{kind} cannot be mounted on {folder}: its counters are needed")
        for event in self.events:
            if not os.path.exists(f"{self.TRACING}/events/{event}/trigger"):
                raise Skip(f"this kernel has no trace point {event}")

    def _trigger(self, event, prefix=""):
        with open(f"{self.TRACING}/events/{event}/trigger", "w", encoding="ascii") as trigger:
            trigger.write(f"{prefix}hist:keys={self.events[event]}:size=16384")

    def __enter__(self):
        for event in self.events:
            self._trigger(event)
        return self

    def __exit__(self, *_):
        for event in self.events:
            self._trigger(event, "!")

    def histogram(self, event):
        """[({key: value}, count)]"""
        with open(f"{self.TRACING}/events/{event}/hist", encoding="ascii") as hist:
            lines = re.findall(r"^\{ (.*) \} hitcount: +(\d+)", hist.read(), re.MULTILINE)
        result = []
        for keys, count in lines:
            pairs = re.findall(r"(\w+): *(?:\S+ *\[ *)?(0x[0-9a-f]+|-?[0-9a-f]+)", keys)
            result.append((dict(pairs), int(count)))
        return result

    def syscalls(self, pid):
        """{number of a system call: how many all threads of a process have made so far}"""
        threads = set(os.listdir(f"/proc/{pid}/task"))
        counts = {}
        for keys, count in self.histogram(self.SYSCALLS):
            if keys["common_pid"] in threads:
                call = int(keys["id"])
                counts[call] = counts.get(call, 0) + count
        return counts

    def kvm(self, pid):
        """KVM's counts of a process's machine: exits, io_exits, irq_injections..."""
        folder = "/sys/kernel/debug/kvm"
        names = [name for name in os.listdir(folder) if name.startswith(f"{pid}-")]
        if not names:
            raise Skip(f"{folder} has no counts of a machine")
        counts = {}
        for name in os.listdir(f"{folder}/{names[0]}"):
            path = f"{folder}/{names[0]}/{name}"
            if os.path.isfile(path):
                with open(path, encoding="ascii") as file:
                    text = file.read().strip()
                if text.isdigit():
                    counts[name] = int(text)
        return counts

    def snapshot(self, pid):
        return {"syscalls": sum(self.syscalls(pid).values()), **self.kvm(pid)}


def memory_of(pid, ram_mib):
    """MiB of dirty pages, private and shared, outside the guest's RAM."""
    mappings = []  # [start, end, KiB of dirty and of huge pages]
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ (\S+) ", line):
                start, end = int(match[1], 16), int(match[2], 16)
                mappings.append([start, end, 0])
            elif match := re.match(r"(Private_Dirty|Shared_Dirty|Private_Hugetlb): +(\d+)", line):
                mappings[-1][2] += int(match[2])
    # The guest's RAM is one mapping, and the largest.
    ram = max(mappings, key=lambda mapping: mapping[1] - mapping[0])
    if ram[1] - ram[0] < ram_mib << 20:
        raise SystemExit("no mapping is as large as the guest's RAM: this cannot be measured")
    total = sum(kib for _, _, kib in mappings) - ram[2]
    return total / 1024


def paused_machine(program, ram_mib, *arguments, defaults=False):
    """MiB beyond the guest's RAM of a machine that is ready and has not run."""
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        with subprocess.Popen([*program, "-m", str(ram_mib), *([] if defaults else ["-nodefaults"]),
                               "-display", "none", "-S",
                               "-qmp", f"unix:{folder}/qmp,server=on,wait=off", *arguments],
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                qmp = Qmp(f"{folder}/qmp")
                qmp.command("query-status")
                time.sleep(0.3)  # threads that the start has left behind come to rest
                memory = memory_of(process.pid, ram_mib)
                qmp.command("quit")
                if process.wait(PATIENCE) != 0:
                    raise SystemExit(f"{program[0]}: status {process.returncode}")
            finally:
                process.kill()
    return memory
