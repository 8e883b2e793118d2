# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/image: vmm-img beside qemu-img."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time

from harness import Skip, at_most


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
    if not shutil.which("qemu-img"):
        raise Skip("qemu-img is missing: apt-get install qemu-utils")
    tools = {"vmm": bench.vmm_img, "QEMU": shutil.which("qemu-img")}
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
                rows[kind].append((f"{what}, ms", ours, theirs, at_most(1)))
        os.chdir("/")
    for kind, lines in rows.items():
        bench.table(f"vmm-img, {kind} time (median of {bench.rounds})", lines)
