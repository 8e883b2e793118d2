# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/nbd: vmm-nbd beside qemu-nbd."""

import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from harness import Skip, at_least, at_most

SECONDS = 2


def cpu_of(pid):
    """Seconds of CPU time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def listening(path):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def rate(bench, tool, image, fmt, load):
    """(requests a second, microseconds of the server's CPU time for each)"""
    if os.path.exists("sock"):
        os.unlink("sock")
    with subprocess.Popen([tool, "-t", "-k", os.path.abspath("sock"), "-f", fmt, image],
                          stderr=subprocess.DEVNULL) as server:
        try:
            while not listening("sock"):
                if server.poll() is not None:
                    raise SystemExit(f"{tool}: status {server.returncode}")
                time.sleep(0.01)
            began = cpu_of(server.pid)
            output = subprocess.run([bench.image("nbdload"), "sock", *load, str(SECONDS)],
                                    check=True, stdout=subprocess.PIPE, text=True).stdout
            requests, nanoseconds = map(int, output.split())
            return requests / nanoseconds * 1e9, (cpu_of(server.pid) - began) / requests * 1e6
        finally:
            server.terminate()


def nbd(bench):
    """vmm-nbd beside qemu-nbd: small and large requests, one and many at a time"""
    if not shutil.which("qemu-nbd"):
        raise Skip("qemu-nbd is missing: apt-get install qemu-utils")
    tools = {"vmm": bench.vmm_nbd, "QEMU": shutil.which("qemu-nbd")}
    loads = [
        (f"{what}, {fmt}, depth {depth}", fmt, [kind, size, depth], at_least(goal))
        for fmt in ("raw", "qcow2")
        for what, kind, size, depth, goal in (
            ("read 4 KiB", "read", "4096", "1", 1.3), ("read 4 KiB", "read", "4096", "16", 1.3),
            ("read 256 KiB", "read", "262144", "4", 1), ("write 4 KiB", "write", "4096", "16", 1))
        if bench.only in f"{what}, {fmt}, depth {depth}"]
    rates, costs = [], []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/run")) as folder:
        os.chdir(folder)
        with open("raw", "wb") as file:
            file.write(os.urandom(1 << 20) * 128)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "raw", "qcow2"],
                       check=True)
        for what, fmt, load, goal in loads:
            found = {name: [] for name in tools}
            for _ in range(bench.rounds):
                for name, tool in tools.items():
                    found[name].append(rate(bench, tool, fmt, fmt, load))
            ours, theirs = ([statistics.median(pair[index] for pair in found[name])
                             for index in (0, 1)] for name in tools)
            rates.append((f"{what}: requests a second", ours[0], theirs[0], goal))
            costs.append((f"{what}: us of CPU a request", ours[1], theirs[1], at_most(1)))
        os.chdir("/")
    bench.table(f"vmm-nbd, images in memory (median of {bench.rounds})", rates)
    bench.table("the server's CPU time", costs)
