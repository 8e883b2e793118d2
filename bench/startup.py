# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/startup, memory, scale and boot: what it takes to have a machine, before it does anything."""

import os
import re
import subprocess
import tempfile
import time

from harness import (PATIENCE, SYSCALLS, Console, Counters, Qmp, at_most, memory_of,
                     paused_machine, value_at_most)

RAM = 512  # MiB


def milliseconds(bench, command, marker="", text=b""):
    """(until the marker was printed, until the end) of a command, without Python's own fork."""
    done = subprocess.run([bench.image("measure"), marker, *command], input=text,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return tuple(int(word) / 1e6 for word in done.stdout.split())


def start_and_quit(bench, program, *arguments, defaults=False):
    return milliseconds(bench, [*program, *([] if defaults else ["-nodefaults"]), "-display", "none",
                                "-S", "-monitor", "stdio", *arguments], text=b"quit\n")[1]


def startup(bench):
    """process start, ready but paused, quit"""
    def once(_, program):
        bare, vga = (start_and_quit(bench, program, "-m", str(RAM), *words)
                     for words in ((), ("-vga", "std")))
        default = start_and_quit(bench, program, "-m", str(RAM), defaults=True)
        return {"time": bare, "vga": vga, "default": default, "of": default / bare}

    rounds = bench.rounds * 5
    medians = bench.pairs(rounds, once)
    bench.table(f"Start, ready but paused, quit (median of {rounds})", [
        ("start to quit, ms", medians["vmm"]["time"], medians["QEMU"]["time"], at_most(0.12)),
        ("with a VGA, ms", medians["vmm"]["vga"], medians["QEMU"]["vga"], at_most(0.12)),
        ("the whole default machine, ms", medians["vmm"]["default"], medians["QEMU"]["default"], None),
        ("  of the first row (* is a goal for vmm itself)", medians["vmm"]["of"],
         medians["QEMU"]["of"], value_at_most(1.3))])


def disk_arguments(folder, count):
    """Arguments for virtio disks on empty raw images, made if need be."""
    arguments = []
    for number in range(count):
        path = f"{folder}/disk{number}.raw"
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.truncate(1 << 20)
        arguments += ["-drive", f"file={path},if=none,id=d{number},format=raw",
                      "-device", f"virtio-blk-pci,drive=d{number}"]
    return arguments


def memory(bench):
    """memory beyond the guest's RAM: paused before the first instruction, and a further disk's"""
    few, many = 1, 9

    def once(_, program):
        paused = paused_machine(program, RAM)
        one, more = (paused_machine(program, RAM, *disk_arguments(folder, count))
                     for count in (few, many))
        return {"paused": paused, "disk": (more - one) / (many - few),
                "default": paused_machine(program, RAM, defaults=True) - paused,
                "vga": paused_machine(program, RAM, "-vga", "std") - paused}

    with tempfile.TemporaryDirectory() as folder:
        medians = bench.pairs(min(bench.rounds, 3), once)
    ours, theirs = medians["vmm"], medians["QEMU"]
    bench.table("Memory beyond the guest's RAM (private and shared dirty; * is a goal for vmm itself)", [
        ("paused at the start, MiB", ours["paused"], theirs["paused"],
         value_at_most(1)),
        ("a VGA, MiB", ours["vga"], theirs["vga"], value_at_most(0.25)),
        ("the whole default machine, MiB more", ours["default"], theirs["default"], value_at_most(2)),
        ("each further virtio disk, MiB", ours["disk"], theirs["disk"], value_at_most(0.1))])


def memory_idle(bench):
    """memory beyond the guest's RAM, idle after a boot"""
    def once(_, program):
        with tempfile.TemporaryDirectory() as folder:
            with Console([*program, "-m", str(RAM), "-nodefaults", "-display", "none",
                          "-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-serial", "stdio",
                          "-kernel", bench.image("kernel/vmlinuz"),
                          "-initrd", bench.image("initrd"), "-append",
                          'console=ttyS0 quiet vmm.run="echo idle; sleep 1000"']) as console:
                console.expect("idle", timeout=PATIENCE)
                time.sleep(3)
                booted = memory_of(console.process.pid, RAM)
                Qmp(f"{folder}/qmp").command("quit")
                console.wait(PATIENCE)
        return {"idle": booted}

    memory(bench)
    medians = bench.pairs(1, once)
    bench.table("", [("idle after boot, MiB", medians["vmm"]["idle"], medians["QEMU"]["idle"],
                      value_at_most(3))])


def overlays(bench, folder, length):
    """The top of a chain of so many overlays over one small image."""
    path = f"{folder}/base.qcow2"
    subprocess.run([bench.vmm_img, "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    for number in range(length):
        below, path = path, f"{folder}/overlay{length}-{number}.qcow2"
        subprocess.run([bench.vmm_img, "create", "-q", "-u", "-f", "qcow2", "-b", below,
                        "-F", "qcow2", path, "1M"], check=True)
    return ["-drive", f"file={path},if=none,id=d0,format=qcow2",
            "-device", "virtio-blk-pci,drive=d0"]


def scale(bench):
    """start-up time and memory of small and of large machines"""
    with tempfile.TemporaryDirectory() as folder:
        ladders = {  # what: [(size, MiB of RAM, arguments)]
            "CPUs": [(count, RAM, ["-smp", str(count)]) for count in (1, 8, 64, 240)],
            "GiB": [(size, int(size * 1024), []) for size in (0.5, 16)],
            "disks": [(count, RAM, disk_arguments(folder, count)) for count in (1, 28)],
            "overlays": [(count, RAM, overlays(bench, folder, count)) for count in (1, 200)],
        }
        for what, ladder in ladders.items():
            def once(_, program, ladder=ladder):
                figures = {}
                for size, ram, arguments in ladder:
                    figures[size, "ms"] = start_and_quit(bench, program, "-m", str(ram), *arguments)
                    figures[size, "MiB"] = paused_machine(program, ram, *arguments)
                return figures
            once("", bench.vmm)  # once unmeasured: files come into the page cache
            once("", bench.qemu)
            medians = bench.pairs(bench.rounds, once)
            ours, theirs = medians["vmm"], medians["QEMU"]
            smallest, largest = ladder[0][0], ladder[-1][0]
            rows = []
            for unit in ("ms", "MiB"):
                rows += [(f"{size} {what}, {unit}", ours[size, unit], theirs[size, unit], None)
                         for size, _, _ in ladder]
                increments = (max(medians[name][largest, unit] - medians[name][smallest, unit], 0)
                              for name in ("vmm", "QEMU"))
                rows.append((f"from {smallest} to {largest} {what}, {unit}", *increments,
                             at_most(0.4)))
            bench.table(f"Scale: {what} (median of {bench.rounds})", rows)


# Ports and addresses that KVM's chips in the kernel answer: no exit to user space.
IN_KERNEL = (range(0x20, 0x22), range(0xA0, 0xA2), range(0x40, 0x44), range(0x61, 0x62),
             range(0x4D0, 0x4D2), range(0xFEC00000, 0xFEC00100), range(0xFEE00000, 0xFEE01000))
PORTS = (  # the guest's own business, told apart
    (range(0x3F8, 0x400), "serial port"), (range(0xCF8, 0xD00), "PCI configuration"),
    (range(0x70, 0x72), "RTC and CMOS"), (range(0x510, 0x51C), "fw_cfg"),
    (range(0x402, 0x403), "firmware's debug port"), (range(0x60, 0x65), "keyboard controller"),
    (range(0x600, 0x640), "ACPI registers"), (range(0xAE00, 0xB000), "ACPI hotplug"),
    (range(0x80, 0x81), "delay port"), (range(0xB2, 0xB4), "SMI port"))
REASONS = {2: "port", 5: "halt", 6: "MMIO", 7: "interrupt window", 8: "shutdown", 24: "system event"}
RARE = 5  # what happens less often gets no row
INIT = "vmm-guest: init"
FIRST = "~"  # printed by the first instructions of first.bin


def linux(bench, append=""):
    return ["-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio",
            "-kernel", bench.image("kernel/vmlinuz"), "-initrd", bench.image("initrd"),
            "-append", f"console=ttyS0 quiet vmm.modules=- {append}"]


def tiny(bench):
    return ["-m", "256", "-nodefaults", "-display", "none", "-kernel", bench.image("first.bin"),
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def boot_times(bench):
    def once(_, program):
        first = milliseconds(bench, [*program, *tiny(bench), "-serial", "stdio"], FIRST)[0]
        done = subprocess.run([bench.image("measure"), "-o", INIT, *program,
                               *linux(bench, 'vmm.run="dmesg | grep Run"')],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=True, text=True)
        init, end = (int(word) / 1e6 for word in done.stdout.split())
        stamp = re.search(r"\[ *(\d+\.\d+)\] Run /init", done.stderr)
        return {"first": first, "init": init, "end": end, "stamp": float(stamp[1]) * 1e3}

    for _, program in bench.programs:  # once unmeasured: files come into the page cache
        once("", program)
    least = bench.pairs(3, once, of=min)  # the clock is exact, but for what waits for the host
    ours, theirs = least["vmm"], least["QEMU"]
    bench.table("Boot of a cloud kernel by -kernel, instruction clock", [
        (what, ours[key], theirs[key], goal) for what, key, goal in (
            ("exec to first instruction, ms", "first", at_most(0.3)),
            ("exec to /init, ms", "init", None),
            ("  the kernel's last time stamp before, ms", "stamp", None),
            ("exec to power-off, ms", "end", None))])


class Count:
    """What a start has taken until the guest has printed a marker."""

    PORT, LEFT = "kvm/kvm_pio", "kvm/kvm_userspace_exit"

    def __init__(self, bench, program, marker, arguments):
        with Counters({self.PORT: "port", self.LEFT: "reason,errno"}) as counters:
            with subprocess.Popen([bench.image("measure"), "-s", marker, *program, *arguments],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True) as measure:
                pid = int(measure.stdout.readline().split()[1])
                self.ports = self._ports(counters)
                self.reasons = self._reasons(counters)
                self.calls = counters.syscalls(pid)
                measure.stdin.close()
        self.exits = sum(self.reasons.values())
        self.all_calls = sum(self.calls.values())

    def _ports(self, counters):
        """{device: accesses that left the kernel}"""
        counts = {}
        for keys, count in counters.histogram(self.PORT):
            port = int(keys["port"])
            if not any(port in ports for ports in IN_KERNEL):
                names = [name for ports, name in PORTS if port in ports]
                name = names[0] if names else "other ports"
                counts[name] = counts.get(name, 0) + count
        return counts

    def _reasons(self, counters):
        """{reason: how often a KVM_RUN has ended for it}"""
        counts = {}
        for keys, count in counters.histogram(self.LEFT):
            # A call that fails (EINTR, EAGAIN) leaves the reason of an earlier one behind.
            name = REASONS.get(int(keys["reason"]), "others")
            name = name if keys["errno"] == "0" else "interrupted by the program"
            counts[name] = counts.get(name, 0) + count
        return counts


def by_name(counts, count_of, named):
    """Rows of all that either program has."""
    names = sorted({name for count in counts.values() for name in count_of(count)},
                   key=lambda name: -max(count_of(count).get(name, 0) for count in counts.values()))
    rows = [(f"  {named(name)}", *(count_of(count).get(name, 0) for count in counts.values()), None)
            for name in names]
    return [row for row in rows if max(row[1:3]) >= RARE]


def boot_counts(bench):
    counts, starts = {}, {}
    for name, program in bench.programs:
        starts[name] = Count(bench, program, FIRST, [*tiny(bench), "-serial", "stdio"])
        counts[name] = Count(bench, program, INIT, linux(bench))

    def both(value):
        return [value(name) for name in counts]
    bench.table("Exits to user space from exec to /init", [
        ("exits", *both(lambda name: counts[name].exits), at_most(1)),
        *by_name(counts, lambda count: count.reasons, str)])
    bench.table("Of these, what the guest asks for by a port access", by_name(
        counts, lambda count: count.ports, str))
    bench.table("System calls from exec to /init", [
        ("system calls", *both(lambda name: counts[name].all_calls), at_most(1)),
        ("  KVM_RUN: the exits", *both(lambda name: counts[name].exits), None),
        ("  others until the first instruction: ours",
         *both(lambda name: starts[name].all_calls - starts[name].exits), at_most(1)),
        ("  others from there on", *both(
            lambda name: counts[name].all_calls - counts[name].exits -
            starts[name].all_calls + starts[name].exits), at_most(1))])
    bench.table("The same by their names", by_name(
        counts, lambda count: count.calls, lambda number: SYSCALLS.get(number, f"no. {number}")))


def boot(bench):
    """exec to the guest's first instruction, to its /init, and what that takes"""
    if bench.inside:
        bench.move_into_memory()
    boot_times(bench)
    boot_counts(bench)
