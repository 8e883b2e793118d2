# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurements of bench/: vmm beside QEMU, on the same work, in the same run.

Called by the scripts beside it, whose names are those of the functions at the end. What needs a
guest runs in the lab where the host has no KVM. Each prints a table and ends with status 1 if vmm
misses its goal.
"""

import argparse
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

MODULES = ("virtio_pci", "virtio_blk")
# The least that a multiboot loader takes: a header, and code that writes to the debug-exit port
# (mov $0x10,%al; out %al,$0xf4; hlt; jmp .-1). Loaded and entered at 1 MiB.
FIRST_INSTRUCTION = b"".join(number.to_bytes(4, "little") for number in (
    0x1BADB002, 0x10000, (-0x1BADB002 - 0x10000) & 0xFFFFFFFF,
    0x100000, 0x100000, 0, 0, 0x100020)) + b"\xb0\x10\xe6\xf4\xf4\xeb\xfd"


class Bench:
    def __init__(self, options):
        self.images = options.images
        self.vmm = [options.vmm]
        self.vmm_img = options.vmm_img
        self.qemu = [options.qemu, "-accel", "kvm", "-M", "pc"]
        self.programs = (("vmm", self.vmm), ("QEMU", self.qemu))
        self.missed = False

    def image(self, name):
        return os.path.join(self.images, name)

    def table(self, title, rows, unit):
        """Prints rows of (what, vmm's value, QEMU's value, Goal or None)."""
        print(f"\n{title}")
        print(f"  {'':<40}{'vmm':>10}{'QEMU':>10}{'ratio':>8}{'goal':>8}")
        for what, ours, theirs, goal in rows:
            ratio = ours / theirs if theirs else float("inf")
            verdict = ""
            if goal is not None and not goal(ratio, ours):
                self.missed = True
                verdict = "  missed"
            print(f"  {what + ', ' + unit:<40}{ours:>10.2f}{theirs:>10.2f}{ratio:>8.2f}"
                  f"{goal.text if goal else '':>8}{verdict}")
        sys.stdout.flush()

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

    def measure(self, marker, command):
        """Runs a command; returns (seconds until it prints the marker, seconds until its end)."""
        done = subprocess.run([self.image("measure"), marker, *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=True)
        return tuple(int(word) / 1e9 for word in done.stdout.split())


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


def boot(bench):
    """exec to the guest's first instruction, to its /init, and to its power-off"""
    if bench.inside:
        bench.move_into_memory()
    linux = ["-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio",
             "-kernel", bench.image("kernel/vmlinuz"), "-initrd", bench.image("initrd"),
             "-append", "console=ttyS0 quiet vmm.modules=-"]
    tiny = ["-m", "256", "-nodefaults", "-display", "none", "-kernel", bench.image("first.bin"),
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    times = {}
    for name, program in bench.programs:
        bench.measure("", [*program, *tiny])  # once unmeasured: files come into the page cache
        first = [bench.measure("", [*program, *tiny])[1] for _ in range(3)]
        bench.measure("vmm-guest: init", [*program, *linux])
        whole = [bench.measure("vmm-guest: init", [*program, *linux]) for _ in range(2)]
        times[name] = (min(first), min(init for init, _ in whole), min(end for _, end in whole))
    bench.table("Boot of a cloud kernel by -kernel, instruction clock", [
        (what, times["vmm"][index] * 1e3, times["QEMU"][index] * 1e3, goal)
        for index, (what, goal) in enumerate((("exec to first instruction", at_most(0.6)),
                                              ("exec to /init", at_most(0.6)),
                                              ("exec to power-off", at_most(0.6))))], "ms")


def startup(bench):
    """process start, ready but paused, quit"""
    command = ["-m", "512", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio"]
    times = {"vmm": [], "QEMU": []}
    for _ in range(21):
        for name, program in bench.programs:
            began = time.monotonic()
            subprocess.run([*program, *command], input=b"quit\n", stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True)
            times[name].append(time.monotonic() - began)
    ours, theirs = (statistics.median(times[name]) * 1e3 for name in ("vmm", "QEMU"))
    bench.table("Start, ready but paused, quit (median of 21)",
                [("start to quit", ours, theirs, at_most(0.2))], "ms")


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


def memory(bench):
    """memory beyond the guest's RAM, paused before the first instruction and idle after boot"""
    rows = []
    values = {}
    for name, program in bench.programs:
        with tempfile.TemporaryDirectory() as folder:
            common = [*program, "-m", "512", "-nodefaults", "-display", "none",
                      "-qmp", f"unix:{folder}/qmp,server=on,wait=off"]
            with Console([*common, "-S"]) as console:
                qmp = Qmp(f"{folder}/qmp")
                time.sleep(1)
                paused = memory_of(console.process.pid, 512)
                qmp.command("quit")
                console.wait(PATIENCE)
            with Console([*common, "-serial", "stdio", "-kernel", bench.image("kernel/vmlinuz"),
                          "-initrd", bench.image("initrd"),
                          "-append", 'console=ttyS0 quiet vmm.run="echo idle; sleep 1000"']) as console:
                console.expect("idle", timeout=PATIENCE)
                time.sleep(3)
                booted = memory_of(console.process.pid, 512)
                Qmp(f"{folder}/qmp").command("quit")
                console.wait(PATIENCE)
            values[name] = paused, booted
    for index, what in enumerate(("paused at the start", "idle after boot")):
        rows.append((what, values["vmm"][index], values["QEMU"][index], value_at_most(8)))
    bench.table("Memory beyond the guest's RAM (private and shared dirty; * is a goal for vmm itself)",
                rows, "MiB")


class Syscalls:
    """Counts system calls by the kernel's own trace point. Needs root, and tracefs."""

    FOLDER = "/sys/kernel/tracing"
    EVENT = f"{FOLDER}/events/raw_syscalls/sys_enter"

    def __init__(self):
        if not os.path.exists(self.EVENT):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", self.FOLDER], check=True)

    def __enter__(self):
        with open(f"{self.EVENT}/trigger", "w", encoding="ascii") as trigger:
            trigger.write("hist:keys=common_pid")
        return self

    def __exit__(self, *_):
        with open(f"{self.EVENT}/trigger", "w", encoding="ascii") as trigger:
            trigger.write("!hist:keys=common_pid")

    def count(self, pid):
        """How many all threads of a process have made so far."""
        threads = set(os.listdir(f"/proc/{pid}/task"))
        with open(f"{self.EVENT}/hist", encoding="ascii") as hist:
            pairs = re.findall(r"common_pid: +(\d+) *\} hitcount: +(\d+)", hist.read())
        return sum(int(count) for thread, count in pairs if thread in threads)


def idle(bench):
    """system calls of an idle guest's VMM in ten seconds"""
    counts = {}
    with Syscalls() as syscalls:
        for name, program in bench.programs:
            with Console([*program, "-m", "256", "-nodefaults", "-display", "none",
                          "-serial", "stdio", "-kernel", bench.image("kernel/vmlinuz"),
                          "-initrd", bench.image("initrd"),
                          "-append", 'console=ttyS0 quiet vmm.run="echo idle; sleep 1000"']) as console:
                console.expect("idle", timeout=PATIENCE)
                time.sleep(5)
                before = syscalls.count(console.process.pid)
                if before == 0:
                    raise SystemExit("the kernel counts no system calls: this cannot be measured")
                time.sleep(10)
                counts[name] = syscalls.count(console.process.pid) - before
    bench.table("Idle guest (* is a goal for vmm itself)",
                [("system calls in 10 s", counts["vmm"], max(counts["QEMU"], 0.01),
                  value_at_most(19))], "number")


def blk(bench):
    """virtio-blk: random reads from a raw file, one I/O thread"""
    bench.stop_halt_polling()
    with tempfile.TemporaryDirectory() as folder, Syscalls() as syscalls:
        path = f"{folder}/disk.raw"
        subprocess.run(["dd", "if=/dev/urandom", f"of={path}", "bs=1M", "count=128", "status=none"],
                       check=True)
        rates = {"vmm": [], "QEMU": []}
        calls = {"vmm": [], "QEMU": []}
        for _ in range(bench.rounds):
            for name, program in bench.programs:
                with Console([*program, "-m", "256", "-nodefaults", "-display", "none",
                              "-serial", "stdio", "-object", "iothread,id=io",
                              "-drive", f"file={path},if=none,id=d,format=raw",
                              "-device", "virtio-blk-pci,drive=d,iothread=io",
                              "-kernel", bench.image("kernel/vmlinuz"),
                              "-initrd", bench.image("initrd"),
                              "-append", 'console=ttyS0 quiet vmm.run="randread /dev/vda 4 2; '
                              'echo go; randread /dev/vda 4 10"']) as console:
                    console.expect("go", timeout=PATIENCE)
                    before = syscalls.count(console.process.pid)
                    _, match = console.expect(r"randread: (\d+) reads (\d+) ns", timeout=PATIENCE)
                    after = syscalls.count(console.process.pid)
                    reads, nanoseconds = int(match[1]), int(match[2])
                    rates[name].append(reads / nanoseconds * 1e9)
                    calls[name].append((after - before) / reads)
                    console.wait(PATIENCE)
    bench.table(f"virtio-blk, 4 KiB random reads, raw, one I/O thread (median of {bench.rounds})", [
        ("reads a second", *(statistics.median(rates[name]) for name in rates), at_least(1))],
        "number")
    bench.table("", [
        ("system calls a read", *(statistics.median(calls[name]) for name in calls), at_most(1))],
        "number")


def serial(bench):
    """what a program in the guest writes to its serial console"""
    bench.stop_halt_polling()
    rates = {"vmm": [], "QEMU": []}
    calls = {"vmm": [], "QEMU": []}
    length = 10000
    with Syscalls() as syscalls:
        for _ in range(bench.rounds):
            for name, program in bench.programs:
                with Console([*program, "-m", "256", "-nodefaults", "-display", "none",
                              "-serial", "stdio", "-kernel", bench.image("kernel/vmlinuz"),
                              "-initrd", bench.image("initrd"),
                              "-append", 'console=ttyS0 quiet vmm.modules=- vmm.run="sleep 1; '
                              'cat /proc/uptime; yes 012345678901234567890123456789 | '
                              f'head -c {length}; echo; cat /proc/uptime; sleep 3"']) as console:
                    _, start = console.expect(r"(\d+\.\d\d) \d+\.\d\d\s", timeout=PATIENCE)
                    before = syscalls.count(console.process.pid)
                    _, end = console.expect(r"(\d+\.\d\d) \d+\.\d\d\s", timeout=PATIENCE)
                    calls[name].append((syscalls.count(console.process.pid) - before) / length)
                    rates[name].append(length / (float(end[1]) - float(start[1])))
                    console.wait(PATIENCE)
    bench.table(f"Serial console (median of {bench.rounds})", [
        ("characters a second", *(statistics.median(rates[name]) for name in rates), at_least(1))],
        "number")
    bench.table("", [("system calls a character",
                      *(statistics.median(calls[name]) for name in calls), at_most(1))], "number")


def usage_of(command):
    """(wall seconds, seconds of CPU time) of a command."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: status {process.returncode}")
    return wall, used.ru_utime + used.ru_stime


def make_disks(folder):
    """'dense': 256 MiB of data that does not compress; 'sparse': 16 GiB with 64 KiB of it in every
    4 MiB; 'text': 24 MiB that compress, which takes the CPU long."""
    data = os.urandom(1 << 20)
    with open(f"{folder}/dense", "wb") as file:
        for _ in range(256):
            file.write(data)
    with open(f"{folder}/sparse", "wb") as file:
        file.truncate(16 << 30)
        for index in range(4096):
            file.seek(index << 22)
            file.write(data[:65536])
    with open(f"{folder}/text", "wb") as file:
        file.write(b"".join(b"%d" % number for number in range(4 << 20))[:24 << 20])


def image(bench):
    """vmm-img beside qemu-img: whole images, through the page cache and past it"""
    tools = {"vmm": bench.vmm_img,
             "QEMU": shutil.which("qemu-img") or sys.exit("qemu-img is not there")}
    raw, qcow2 = ["-f", "raw"], ["-f", "qcow2"]
    direct = ["-t", "none", "-T", "none"]
    jobs = [  # what, command; {} is another file for each program
        ("convert raw to qcow2", ["convert", *raw, "-O", "qcow2", "dense", "{}"]),
        ("convert raw to qcow2, O_DIRECT", ["convert", *direct, *raw, "-O", "qcow2", "dense", "{}"]),
        ("convert raw to qcow2, sparse", ["convert", *raw, "-O", "qcow2", "sparse", "{}"]),
        ("convert raw to raw, sparse", ["convert", *raw, "-O", "raw", "sparse", "{}"]),
        ("convert qcow2 to raw", ["convert", *qcow2, "-O", "raw", "dense.qcow2", "{}"]),
        ("convert qcow2 to raw, O_DIRECT",
         ["convert", *direct, *qcow2, "-O", "raw", "dense.qcow2", "{}"]),
        ("convert, compressed", ["convert", "-c", *raw, "-O", "qcow2", "text", "{}"]),
        ("compare raw", ["compare", *raw, "-F", "raw", "dense", "dense"]),
        ("compare raw with qcow2", ["compare", *raw, "-F", "qcow2", "dense", "dense.qcow2"]),
        ("compare, O_DIRECT",
         ["compare", "-T", "none", *raw, "-F", "qcow2", "dense", "dense.qcow2"]),
        ("compare, sparse", ["compare", *raw, "-F", "qcow2", "sparse", "sparse.qcow2"]),
        ("map raw", ["map", "--output=json", *raw, "sparse"]),
        ("map qcow2", ["map", "--output=json", *qcow2, "sparse.qcow2"]),
        ("check", ["check", *qcow2, "sparse.qcow2"]),
        ("create", ["create", *qcow2, "{}", "1T"]),
        ("info", ["info", "--output=json", *qcow2, "sparse.qcow2"]),
    ]
    rows = {"wall": [], "CPU": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        make_disks(folder)
        os.chdir(folder)
        for disk in "dense", "sparse":
            subprocess.run([tools["QEMU"], "convert", *raw, "-O", "qcow2", disk, f"{disk}.qcow2"],
                           check=True)
        for what, command in jobs:
            times = {name: [] for name in tools}
            for turn in range(bench.rounds + 1):
                for name, tool in tools.items():
                    used = usage_of([tool, *(word.format(f"new.{name}") for word in command)])
                    if turn:  # once unmeasured: files come into the page cache
                        times[name].append(used)
            for index, kind in enumerate(rows):
                ours, theirs = (statistics.median(used[index] for used in times[name]) * 1e3
                                for name in tools)
                rows[kind].append((what, ours, theirs, at_most(1)))
        os.chdir("/")
    for kind, lines in rows.items():
        bench.table(f"vmm-img, {kind} time (median of {bench.rounds})", lines, "ms")


BENCHES = {  # name: (function, options of the lab, or None for what runs without a guest)
    "boot": (boot, ["--icount"]),
    "startup": (startup, None),
    "memory": (memory, []),
    "idle": (idle, []),
    "blk": (blk, ["--smp", "2"]),
    "serial": (serial, []),
    "image": (image, None),
}


def make_images(images):
    make = f"{TOP}/tests/guest/images"
    os.makedirs(images, exist_ok=True)
    for program in ("measure", "randread"):
        subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", f"{images}/{program}",
                        f"{HERE}/{program}.c"], check=True)
    subprocess.run([f"{make}/fetch-kernel", f"{images}/kernel", *MODULES], check=True)
    subprocess.run([f"{make}/make-initrd", f"{images}/kernel", f"{images}/initrd",
                    f"{images}/randread"], check=True)
    with open(f"{images}/first.bin", "wb") as file:
        file.write(FIRST_INSTRUCTION)


def main():
    parser = argparse.ArgumentParser(description="vmm beside QEMU on the same work")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--vmm", default=f"{TOP}/build/vmm", help="default: build/vmm")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="default: the one in PATH")
    parser.add_argument("--images", default=f"{TOP}/build/bench", help="where to put what is booted")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (blk, serial, image)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.vmm_img = os.path.realpath(f"{os.path.dirname(options.vmm)}/vmm-img")
    options.vmm = os.path.realpath(options.vmm)
    options.qemu = shutil.which(options.qemu) or parser.error(f"{options.qemu} is not there")
    options.images = os.path.realpath(options.images)
    function, lab = BENCHES[options.bench]

    if not options.inside:
        if lab is not None:
            make_images(options.images)
        host = subprocess.run([f"{TOP}/tests/lab/host-kvm"], stdout=subprocess.DEVNULL, check=False)
        # The instruction clock is the lab's alone.
        if lab is not None and ("--icount" in lab or host.returncode != 0):
            return subprocess.run(
                [f"{TOP}/tests/lab/run", *lab, "--", "python3", os.path.realpath(__file__),
                 options.bench, "--vmm", options.vmm, "--qemu", options.qemu,
                 "--images", options.images, "--rounds", str(options.rounds), "--inside"],
                stdin=subprocess.DEVNULL, check=False).returncode
    bench = Bench(options)
    bench.rounds = options.rounds
    bench.inside = options.inside
    function(bench)
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
