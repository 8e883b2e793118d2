# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/idle, blk and serial: what a running guest's devices take."""

import contextlib
import os
import re
import subprocess
import tempfile
import time

from harness import (PATIENCE, SYSCALLS, Console, Counters, Guest, at_least, at_most,
                     value_at_most)

SECONDS = 2  # of one run


# Drivers that no PCI device asks for; programs in the guest have keyboards and pointers open.
IDLE_MODULES = ("floppy", "psmouse", "mousedev", "sr_mod", "usbhid", "hid_generic", "evdev")
IDLE_MACHINES = (  # title, arguments, whether the machine has its default devices, goal
    ("-nodefaults", (), False, value_at_most(19)),
    ("the default machine", (), True, value_at_most(19)),
    ("with a VNC server", ("-vnc", "unix:{socket}"), True, value_at_most(19)),
    ("-usb -device usb-tablet (UHCI)", ("-usb", "-device", "usb-tablet"), True, at_most(0.1)),
    ("-device usb-ehci -device usb-tablet", ("-device", "usb-ehci", "-device", "usb-tablet"), True,
     at_most(0.1)))


def idle_calls(bench, program, counters, arguments, defaults):
    """{number of a system call: how often in ten seconds}"""
    with Guest(bench, program, *arguments, full="-full", defaults=defaults) as guest:
        guest.run(f"modprobe -a {' '.join(IDLE_MODULES)} 2>/dev/null; for file in /dev/input/*; do "
                  "[ -c $file ] && cat $file >/dev/null & done; sleep 1")
        time.sleep(5)
        before = counters.syscalls(guest.process.pid)
        if not before:
            raise SystemExit("the kernel counts no system calls: this cannot be measured")
        time.sleep(10)
        after = counters.syscalls(guest.process.pid)
        return {call: count - before.get(call, 0) for call, count in after.items()}


def idle(bench):
    """system calls of an idle guest's VMM in ten seconds"""
    rows = []
    with Counters() as counters:
        for title, arguments, defaults, goal in IDLE_MACHINES:
            if bench.only not in title:
                continue
            with tempfile.TemporaryDirectory(prefix="idle.") as folder:
                ours, theirs = (
                    idle_calls(bench, program, counters,
                               [word.format(socket=f"{folder}/{name}") for word in arguments], defaults)
                    for name, program in bench.programs)
            rows.append((title, sum(ours.values()), sum(theirs.values()), goal))
            rows += [(f"  {SYSCALLS.get(call, call)}", ours.get(call, 0), theirs.get(call, 0), None)
                     for call in sorted({**ours, **theirs})
                     if ours.get(call, 0) + theirs.get(call, 0) > 20]
    bench.table("System calls of an idle guest in 10 s (* is a goal for vmm itself)", rows)


class Loads:
    """Runs loads in guests of both programs that are all booted, in turns, and counts."""

    def __init__(self, bench, guests, counters):
        self.bench = bench
        self.guests = guests
        self.counters = counters
        self.shell = {}  # {name: counts of a command that does nothing but print such a line}

    def count(self, name, command):
        """A command's output, and what it has added to the counts."""
        guest = self.guests[name]
        before = self.counters.snapshot(guest.process.pid)
        output = guest.run(command)
        after = self.counters.snapshot(guest.process.pid)
        return output, {what: count - before.get(what, 0) for what, count in after.items()}

    def once(self, name, command, per):
        """The figures of one load; 'per' is how many of what it counts are one unit. Costs are per
        packet where the load says how many there were."""
        if name not in self.shell:
            _, self.shell[name] = self.count(name, "echo load: 1000 done 2000000000 ns 0 interrupts")
        output, counts = self.count(name, command(name))
        found = re.search(r"load: (\d+) done (\d+) ns (\d+) interrupts(?: (\d+) packets)?", output)
        done, nanoseconds, interrupts, packets = (int(word or 0) for word in found.groups())
        rate = done / per / nanoseconds * 1e9
        units = packets or done / per
        return {"rate": rate, "interrupts": interrupts / units,
                **{what: max(counts[key] - self.shell[name][key], 0) / units for what, key in (
                    ("calls", "syscalls"), ("exits", "exits"), ("ports", "io_exits"))}}

    def rows(self, what, unit, command, per, goal, calls_goal=None, counted=None,
             exits_goal=None, ports_goal=None):
        if self.bench.only not in what:
            return []
        medians = self.bench.pairs(self.bench.rounds,
                                   lambda name, _: self.once(name, command, per))
        ours, theirs = medians["vmm"], medians["QEMU"]
        rate = (f"{what}: {unit} a second", ours["rate"], theirs["rate"], goal)
        unit = counted or unit
        return [rate,
                (f"  system calls per {unit}", ours["calls"], theirs["calls"], calls_goal),
                (f"  exits per {unit}", ours["exits"], theirs["exits"], exits_goal),
                *([(f"    for ports, per {unit}", ours["ports"], theirs["ports"], ports_goal)]
                  if ports_goal else []),
                (f"  interrupts per {unit}", ours["interrupts"], theirs["interrupts"], None)]


@contextlib.contextmanager
def loads(bench, arguments, **how):
    """Guests of both programs; arguments(name) are what they need for the loads."""
    bench.stop_halt_polling()
    with contextlib.ExitStack() as stack:
        counters = stack.enter_context(Counters())
        guests = {name: stack.enter_context(Guest(bench, program, *arguments(name), **how))
                  for name, program in bench.programs}
        for guest in guests.values():
            guest.boot()
        yield Loads(bench, guests, counters)


def blk(bench):
    """virtio-blk with one I/O thread: reads, writes that allocate, io_uring and the page cache"""
    with tempfile.TemporaryDirectory() as folder:
        def arguments(name):
            drives = (("raw", "raw", "threads"), ("qcow2", "qcow2", "threads"),
                      ("uring", "raw", "io_uring"))
            words = ["-object", "iothread,id=io"]
            for drive, kind, engine in drives:
                path = f"{folder}/{name}.{drive}"
                if kind == "qcow2":
                    subprocess.run([bench.vmm_img, "create", "-q", "-f", kind, path, "64G"],
                                   check=True)
                else:
                    subprocess.run(["dd", "if=/dev/urandom", f"of={path}", "bs=1M", "count=64",
                                    "status=none"], check=True)
                words += ["-drive", f"file={path},if=none,id={drive},format={kind},aio={engine}",
                          "-device", f"virtio-blk-pci,drive={drive},iothread=io"]
            return words

        with loads(bench, arguments) as load:
            where = dict.fromkeys(("vmm", "QEMU"), 0)

            def allocate(name):
                """A part of the image that was never written."""
                where[name] += 1 << 30
                return f"blkload /dev/vdb write {where[name]} 65536 8 {SECONDS}"

            rows = [
                *load.rows("random reads, 4 KiB, depth 4", "read",
                           lambda _: f"blkload /dev/vda read random 4096 4 {SECONDS}", 1,
                           at_least(1), at_most(1)),
                *load.rows("random reads, 1 MiB, depth 4", "read",
                           lambda _: f"blkload /dev/vda read random 1048576 4 {SECONDS}", 1,
                           at_least(1), at_most(1)),
                # In order, the copy of the data is most of the work; in random places it is ours.
                *load.rows("qcow2 allocates, 64 KiB in order, depth 8", "write", allocate, 1,
                           None, at_most(1)),
                *load.rows("qcow2 allocates, random 4 KiB, depth 8", "write",
                           lambda _: f"blkload /dev/vdb write random 4096 8 {SECONDS}", 1,
                           at_least(1.6), at_most(1)),
                *load.rows("random writes, 4 KiB, depth 32, io_uring", "write",
                           lambda _: f"blkload /dev/vdc write random 4096 32 {SECONDS}", 1, None,
                           at_most(1))]
    bench.table(f"virtio-blk through the page cache, one I/O thread (median of {bench.rounds})", rows)


def ide(bench):
    """An IDE disk by bus-master DMA: reads one after the other, as its driver makes them. The driver's
    accesses to ports are the same in both; other exits are timers', and more where reads take longer."""
    with tempfile.TemporaryDirectory() as folder:
        def arguments(name):
            path = f"{folder}/{name}.ide"
            with open(path, "wb") as file:
                file.truncate(64 << 30)
            return ["-drive", f"file={path},if=ide,format=raw"]

        with loads(bench, arguments) as load:
            for guest in load.guests.values():
                guest.run("modprobe sd_mod; while ! [ -b /dev/sda ]; do usleep 100000; done; "
                          "echo load: 0 done 1 ns 0 interrupts")
            where = dict.fromkeys(("vmm", "QEMU"), 0)

            def sequential(size):
                def command(name):
                    where[name] += 2 << 30
                    return f"blkload /dev/sda read {where[name]} {size} 1 {SECONDS}"
                return command

            rows = [row for size in (131072, 4096)
                    for row in load.rows(f"reads in order, {size >> 10} KiB", "read",
                                         sequential(size), 1, at_least(1), at_most(1),
                                         exits_goal=at_most(1), ports_goal=at_most(1.02))]
    bench.table(f"IDE, DMA through the page cache (median of {bench.rounds})", rows)


def serial(bench):
    """what a program in the guest writes to its serial console, virtio console and port"""
    with tempfile.TemporaryDirectory() as folder:
        def arguments(name):
            return ["-device", "virtio-serial-pci",
                    "-chardev", f"file,id=con,path={os.devnull}", "-device", "virtconsole,chardev=con",
                    "-chardev", f"file,id=port,path={os.devnull}",
                    "-device", "virtserialport,chardev=port,nr=5,name=bench",
                    "-chardev", f"file,id=uart,path={folder}/{name}",
                    "-device", "isa-serial,chardev=uart,index=1"]

        with loads(bench, arguments) as load:
            for guest in load.guests.values():
                guest.run("stty -F /dev/hvc0 raw; stty -F /dev/ttyS1 115200 raw")
            rows = [
                *load.rows("serial port", "character",
                           lambda _: f"conload /dev/ttyS1 256 {SECONDS}", 1, at_least(1), at_most(1)),
                *load.rows("virtio console, 4 KiB writes", "KiB",
                           lambda _: f"conload /dev/hvc0 4096 {SECONDS}", 1024, at_least(1.1)),
                *load.rows("virtio port, 64 KiB writes", "KiB",
                           lambda _: f"conload /dev/vport0p5 65536 {SECONDS}", 1024, at_least(1.1))]
    bench.table(f"Consoles (median of {bench.rounds})", rows)
