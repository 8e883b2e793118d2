# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/block: requests of 4 KiB to images, by vmm-img bench and qemu-img bench."""

import os
import shutil
import statistics
import subprocess
import tempfile

from harness import Skip, at_least, at_most
from image import usage_of

DISK = 4 << 30
PLACE = 1 << 16
STRIDE = 37 * PLACE  # odd: every place once, far from the last one


def new_image(kind, folder):
    """A disk that has nothing ('new'), half of whose clusters are in a backing file ('overlay'), or
    that has all ('full')."""
    backing = ["-b", f"{folder}/base", "-F", "raw"] if kind == "overlay" else []
    full = ["-o", "preallocation=metadata"] if kind == "full" else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *full, *backing, f"{folder}/image",
                    str(DISK)], check=True)


def figures(bench, name, load, folder):
    """(requests a second, microseconds of CPU time for each), opening and closing with it"""
    kind, write, depth, queues, cache, count = load
    new_image(kind, folder)
    if queues > 1 and name == "vmm":
        command = [bench.queues, f"{folder}/image", queues, depth // queues, count, cache]
    else:
        command = [bench.vmm_img if name == "vmm" else "qemu-img", "bench", "-f", "qcow2",
                   "-t", cache, "-c", count, "-d", depth, "-S", STRIDE, *(["-w"] if write else []),
                   f"{folder}/image"]
    wall, cpu = usage_of([str(word) for word in command])
    return count / wall, cpu / count * 1e6


def loads_of(bench, memory):
    """{what: (kind, write, depth, queues, cache, count), goal}"""
    many = 40000 if memory else 4000
    goals = (1.3, 1.5) if memory else (1, 1.5)
    caches = ["writeback"] if memory else ["writeback", "none"]
    rows = {}
    for cache in caches:
        for depth in (1, 16):
            rows[f"{cache}, read, depth {depth}"] = (
                ("full", False, depth, 1, cache, many), goals[0])
            rows[f"{cache}, write to new clusters, depth {depth}"] = (
                ("new", True, depth, 1, cache, many), goals[0])
        rows[f"{cache}, copy on write, depth 16"] = (
            ("overlay", True, 16, 1, cache, many // 8), 1)
        rows[f"{cache}, write to new clusters, 4 queues of 4"] = (
            ("new", True, 16, 4, cache, many), goals[1])
        rows[f"{cache}, write to new clusters, 4 queues of 16"] = (
            ("new", True, 64, 4, cache, many), goals[1])
    return {what: row for what, row in rows.items() if bench.only in what}


def measure(bench, title, parent, memory):
    rates, costs = [], []
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        with open(f"{folder}/base", "wb") as file:
            file.truncate(DISK)
            for at in range(0, 128 << 20, 1 << 20):
                file.seek(at)
                file.write(os.urandom(1 << 20))
        for what, (load, goal) in loads_of(bench, memory).items():
            found = {"vmm": [], "QEMU": []}
            for _ in range(bench.rounds):
                for name, results in found.items():
                    results.append(figures(bench, name, load, folder))
            ours, theirs = ([statistics.median(pair[index] for pair in found[name])
                             for index in (0, 1)] for name in ("vmm", "QEMU"))
            rates.append((what, ours[0], theirs[0], at_least(goal)))
            costs.append((what, ours[1], theirs[1], at_most(1)))
    bench.table(f"{title}: requests of 4 KiB a second (median of {bench.rounds})", rates)
    bench.table(f"{title}: us of CPU a request", costs)


def block(bench):
    """qcow2, 4 KiB in random places: reads, writes that allocate, copy on write, several queues"""
    if not shutil.which("qemu-img"):
        raise Skip("qemu-img is missing: apt-get install qemu-utils")
    bench.queues = os.path.join(os.path.dirname(bench.vmm_img), "bench", "queues")
    if not os.access(bench.queues, os.X_OK):
        raise Skip(f"{bench.queues} is not there: ninja -C build bench/queues")
    measure(bench, "in memory", "/dev/shm", True)
    measure(bench, "on disk", os.environ.get("TMPDIR", "/var/tmp"), False)
