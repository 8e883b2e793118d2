# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest tests of snapshots of the running machine. See guest-tests."""

import re
import socket
import threading
import time

import disk_tests
from guest_env import need
from vm import PATIENCE

TICKS = "i=0; while [ $i -lt 1000 ]; do echo tick $i; i=$((i + 1)); usleep 100000; done"
ROUNDS, ALL_ROUNDS = 5, 50
LINE = b"what the guest sends\n"
# What Linux says of a clock, a CPU or an interrupt that did not go on.
ALARMS = r"unstable|lockup|stall|clocksource.*(skew|wd)|hung task|nobody cared|I/O error"


def hmp(vm, line):
    said = vm.qmp.hmp(line)
    need("-live" in line and "Error" not in said or not said, f"{line}: {said}")


def test_saved_machine_goes_on_in_another_process(env):
    """savevm of a guest that runs, loadvm by the same process, and -loadvm by another one."""
    disk = env.disk("disk.qcow2", "64M")
    machine = (TICKS, "-smp", "2", "-device", "virtio-rng-pci",
               "-drive", f"file={disk},if=virtio,discard=unmap")

    def tick(vm):
        return int(vm.expect(r"tick (\d+)\s", timeout=PATIENCE)[1].group(1))

    with env.linux(*machine) as vm:
        before = tick(vm)
        hmp(vm, "savevm point")
        last = tick(vm)
        while last < before + 6:
            last = tick(vm)
        hmp(vm, "loadvm point")
        while True:  # what the guest had said before is still to be read
            again = tick(vm)
            if again <= last:
                break
            last = again
        need(again >= before, f"tick {before} was saved, and {again} follows")
        vm.qmp.command("quit")
        vm.finish()
    with env.linux(*machine, "-loadvm", "point") as vm:
        after = tick(vm)
        need(before <= after < before + 6, f"tick {before} was followed by tick {after}")
        tick(vm)
        hmp(vm, "delvm point")
        vm.qmp.command("quit")
        vm.finish()
    disk_tests.check_image(env, disk)


class Stream:
    """Takes what guests send over TCP, and looks at each byte of it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.bytes = self.connections = 0
        self.wrong = None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # it was closed
                return
            self.connections += 1
            threading.Thread(target=self.take, args=(client, self.connections),
                             daemon=True).start()

    def take(self, client, number):
        at = 0
        with client:
            while True:
                try:
                    data = client.recv(1 << 16)
                except ConnectionError:
                    return
                if not data:
                    return
                start = at % len(LINE)
                if data != (LINE * (len(data) // len(LINE) + 2))[start:start + len(data)]:
                    self.wrong = f"connection {number} has other bytes from {at} on"
                    return
                at += len(data)
                self.bytes += len(data)

    def goes_on(self, patience):
        """Until more of it has come."""
        goal, deadline = self.bytes + (256 << 10), time.monotonic() + patience
        while self.bytes < goal:
            need(not self.wrong, self.wrong)
            need(time.monotonic() < deadline, f"the stream does not go on after {self.bytes} bytes")
            time.sleep(0.05)


def uptime(vm):
    """Of the guest, in seconds by its monotonic clock; and the host's time of then."""
    said = disk_tests.run(vm, "echo up $(cut -d' ' -f1 /proc/uptime) end")
    return float(re.search(r"up ([\d.]+) end", said)[1]), time.monotonic()


def begin(env, vm, disk, stream):
    disk_tests.run(vm, "udhcpc -i eth0 -n -q -s /bin/dhcp-event >/tmp/dhcp 2>&1")
    vm.send_line(f"while :; do yes '{LINE.decode().strip()}' | nc 10.0.2.2 {stream.port}; "
                 "usleep 100000; done >/tmp/nc 2>&1 &")
    disk_tests.start_load(env, vm, [disk])


def loaded(vm, disk, counts, number):
    """What is still to be read was said before the load; the disk has what it had when saved."""
    vm.send_line(f"echo loaded $(({number} + 1000))")
    vm.expect(f"loaded {number + 1000}", timeout=vm.patience)
    disk.counts = list(counts)


def test_saves_and_loads_under_load(env):
    """A guest that writes to its disk and sends over TCP is saved and loaded again and again. Its
    clocks never go back, its stream outlives each save, and its disk has what it should."""
    disk = disk_tests.Disk(env, 0, "virtio", "qcow2", "none", "native")
    stream = Stream()
    network = ("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n")
    rounds = ALL_ROUNDS if env.full_size else ROUNDS

    vm = disk_tests.boot(env, [disk], *network)
    try:
        begin(env, vm, disk, stream)
        disk_tests.wait_for_load(env, vm, [disk], disk_tests.BATCH)
        for number in range(rounds):
            live = "-live " if number % 2 else ""
            stream.goes_on(vm.patience)
            connections = stream.connections
            before, _ = uptime(vm)
            disk_tests.take_counts(vm, [disk])
            counts = list(disk.counts)
            hmp(vm, f"savevm {live}point")
            after, then = uptime(vm)
            need(after >= before, f"the guest's clock went from {before} back to {after}")
            stream.goes_on(vm.patience)
            need(stream.connections == connections, f"savevm {live}broke the guest's connection")
            disk_tests.wait_for_load(env, vm, [disk], disk_tests.BATCH)

            began = time.monotonic()
            hmp(vm, "loadvm point")
            loaded(vm, disk, counts, number)
            again, then = uptime(vm)
            need(before <= again < after + (then - began) + 1,
                 f"the guest was saved {before} to {after} seconds after its boot, "
                 f"and {then - began} seconds after loadvm its clock says {again}")
            stream.goes_on(vm.patience)
            disk_tests.wait_for_load(env, vm, [disk], disk_tests.BATCH)
            print(f"# round {number}: {stream.bytes >> 10} KiB in {stream.connections} connections",
                  flush=True)
        disk_tests.run(vm, "touch /tmp/stop; while pidof diskload >/dev/null; do usleep 50000; done")
        disk_tests.take_counts(vm, [disk])
        disk_tests.check_in_guest(vm, [disk])
        said = disk_tests.run(vm, "dmesg")
        need(not re.search(ALARMS, said, re.IGNORECASE), said)
        hmp(vm, "delvm point")
        vm.qmp.command("quit")
        vm.finish()
    finally:
        vm.close()
        stream.listener.close()
    disk_tests.check_image(env, disk.path)
