# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests for guest-tests: disks under load. The program is killed, and what the guest had flushed is
there; jobs move and copy disks meanwhile, and what they leave is compared from outside."""

import hashlib
import os
import re
import subprocess
import time

from drive_console import ConsoleError
from guest_env import need
from vm import PATIENCE

# Which engine goes with which cache mode: 'native' needs O_DIRECT.
ENGINES = {"writeback": ("threads", "io_uring"), "none": ("native", "io_uring", "threads"),
           "writethrough": ("io_uring", "threads"), "directsync": ("threads", "native", "io_uring"),
           "unsafe": ("threads", "io_uring")}
THROUGH = ("writethrough", "directsync")
IDE_DISKS = 4  # as many as a machine has
JOBS, BATCH = 4, 4  # diskload's: for a disk, which has as many queues, and what is flushed at once
# How many of these run, and CPUs to run them: in the lab, four CPUs are emulated by one.
FEW, ALL = 2, 4
FULL_PATIENCE = 6 * PATIENCE
FIO = ("--direct=1 --rw=randwrite --bsrange=512-64k --size=2m --thread --ioengine=libaio "
       "--iodepth=16 --verify=crc32c --do_verify=1 --verify_fatal=1 --allow_file_create=0")


class Disk:
    """One with diskload's pattern, which the guest knows by its size."""

    def __init__(self, env, number, bus, image_format, cache, engine):
        self.number, self.bus, self.format = number, bus, image_format
        self.cache, self.engine = cache, engine
        self.seed = 1000 + number
        self.sectors = 16384 + 8 * number
        self.path = os.path.join(env.direct_folder(), f"{number}.{image_format}")
        self.device = None  # in the guest that runs now
        self.counts = [0] * JOBS  # what the guest has said of each job
        env.disk(self.path, str(self.sectors * 512), image_format)

    def __str__(self):
        return f"{self.bus} {self.format} cache={self.cache} aio={self.engine}"

    def arguments(self):
        drive = f"file={self.path},format={self.format},cache={self.cache},aio={self.engine}"
        if self.bus == "ide":
            return ["-drive", f"{drive},if=ide"]
        return ["-drive", f"{drive},if=none,id=d{self.number}",
                "-device", f"virtio-blk-pci,drive=d{self.number},iothread=io{self.number % 2},"
                f"num-queues={JOBS}"]


def writers(env):
    return ALL if env.full_size else FEW


def patience(env):
    return FULL_PATIENCE if env.full_size else PATIENCE


def boot(env, disks, *arguments):
    """A machine with these disks, which have the write cache that they should; names them."""
    vm = env.shell("-smp", str(writers(env)), "-object", "iothread,id=io0",
                   "-object", "iothread,id=io1",
                   *(word for disk in disks for word in disk.arguments()), *arguments, memory=320, patience=patience(env))
    vm.patience = patience(env)
    try:
        sizes = run(vm, "modprobe sd_mod; until [ $(ls -d /sys/block/[vs]d* | wc -l) -ge "
                    f"{len(disks)} ]; do usleep 50000; done; "
                    "cd /sys/block; for i in [vs]d*; do echo $i $(cat $i/size) "
                    "$(cat $i/queue/write_cache) end; done; cd /")
        for disk in disks:
            found = re.search(rf"^(\w+) {disk.sectors} (.*) end", sizes, re.MULTILINE)
            need(found, f"there is no disk of {disk.sectors} sectors: {disk}\n{sizes}")
            disk.device = found[1]
            wanted = "write through" if disk.cache in THROUGH else "write back"
            need(found[2] == wanted, f"{disk}: the guest sees the cache as {found[2]!r}")
    except BaseException:
        vm.close()
        raise
    return vm


def run(vm, line):
    status, output = vm.shell(line, timeout=vm.patience)
    need(status == 0, f"{line} ended with status {status}:\n{output}")
    return output


def start_load(env, vm, disks):
    """diskload on all of them, in the background."""
    for disk in disks:
        mode = "through" if disk.cache in THROUGH else "back"
        vm.send_line(f"diskload write /dev/{disk.device} {disk.seed} {mode} {writers(env)} &")


def note_counts(text, disks):
    """What the guest says in these lines."""
    names = {disk.device: disk for disk in disks}
    for name, job, count in re.findall(r"(\w+)\.(\d) (\d+)\r*$", text, re.MULTILINE):
        disk = names.get(name)
        if disk:
            disk.counts[int(job)] = max(disk.counts[int(job)], int(count))


def take_counts(vm, disks):
    """What the guest has said until now."""
    text = vm.unread()
    end = text.rfind(b"\n") + 1
    note_counts(text[:end].decode(errors="replace"), disks)
    need(b"diskload:" not in text, f"the guest's load failed:\n{vm.last_output()}")
    vm.skip(end)


def wait_for_load(env, vm, disks, more):
    """Until each job has done so many operations more than it had."""
    goal = [[count + more for count in disk.counts[:writers(env)]] for disk in disks]
    deadline = time.monotonic() + vm.patience
    while any(count < wanted for disk, row in zip(disks, goal)
              for count, wanted in zip(disk.counts, row)):
        vm.poll_output()
        take_counts(vm, disks)
        need(time.monotonic() < deadline, "the guest's load does not come on:\n" +
             "\n".join(f"{disk}: {disk.counts}" for disk in disks))


def kill_under_load(env, disks):
    """The program is killed while the guest writes. What there is of its output is taken in."""
    vm = boot(env, disks)
    try:
        start_load(env, vm, disks)
        wait_for_load(env, vm, disks, 2 * BATCH)
        vm.process.kill()
        vm.process.wait()
        try:
            while True:
                vm.poll_output()
        except ConsoleError:  # there is no more of it
            take_counts(vm, disks)
    finally:
        vm.close()
    for disk in disks:
        print(f"# {disk}: killed after {sum(disk.counts)} operations", flush=True)
        if disk.format == "qcow2":
            check_image(env, disk.path, (0, 3))


def check_in_guest(vm, disks):
    for disk in disks:
        counts = " ".join(map(str, disk.counts))
        status, output = vm.shell(f"diskload check /dev/{disk.device} {disk.seed} {counts}",
                                  timeout=vm.patience)
        need(status == 0, f"{disk} after the kill:\n{output}")


def check_image(env, path, statuses=(0,)):
    """By vmm-img check, whose status 3 says that there are leaks, and nothing else."""
    done = subprocess.run([env.vmm_img, "check", "-q", path], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    need(done.returncode in statuses, f"{path}: status {done.returncode}\n{done.stdout}")


def fio_in_guest(vm, disks):
    """fio's own verification."""
    run(vm, "for i in /sys/block/vd*; do [ $(cat $i/ro) = 0 ] || fio=${i##*/}; done; "
            "mkdir -p /fio && mount -o ro /dev/$fio /fio")
    for disk in disks:
        output = run(vm, f"/fio/run.sh --name=disk --filename=/dev/{disk.device} {FIO} --minimal")
        need(re.search(r"^3;fio-[^;]*;disk;0;0;", output, re.MULTILINE), f"{disk}: fio:\n{output}")


# -- Jobs ------------------------------------------------------------------------------------------

def wait_for_job(vm, disks, name, disk):
    """An event of this disk's job. The machine's output is taken in meanwhile: the load goes on."""
    deadline = time.monotonic() + vm.patience
    while time.monotonic() < deadline:
        vm.qmp.command("query-status")
        for event in vm.qmp.events:
            if event["event"] == name and event["data"]["device"] == f"d{disk.number}":
                need("error" not in event["data"], f"{disk}: {event}")
                vm.qmp.events.remove(event)
                return
        vm.poll_output()
        take_counts(vm, disks)
    raise ConsoleError(f"{disk}: no {name}; {vm.qmp.hmp('info block-jobs')}")


def run_jobs(env, vm, mirror, commit, backup):
    """A mirror with pivot, a commit of the active image and a backup, while the guest writes to all
    three disks. Returns the images that then hold them."""
    disks = mirror, commit, backup
    overlay, target, copy = (os.path.join(env.direct_folder(), f"{name}.qcow2")
                             for name in ("overlay", "target", "copy"))
    start_load(env, vm, disks)
    wait_for_load(env, vm, disks, 2 * BATCH)
    vm.qmp.command("blockdev-snapshot-sync", device=f"d{commit.number}", snapshot_file=overlay,
                   format="qcow2")
    before = list(backup.counts)
    vm.qmp.command("drive-backup", device=f"d{backup.number}", target=copy, sync="full",
                   format="qcow2", speed=4 << 20)
    vm.qmp.command("drive-mirror", device=f"d{mirror.number}", target=target, sync="full",
                   format="qcow2", copy_mode="write-blocking")
    wait_for_load(env, vm, disks, 2 * BATCH)
    vm.qmp.command("block-commit", device=f"d{commit.number}")
    for disk in commit, mirror:
        wait_for_job(vm, disks, "BLOCK_JOB_READY", disk)
        vm.qmp.command("block-job-complete", device=f"d{disk.number}")
    for disk in commit, mirror, backup:
        wait_for_job(vm, disks, "BLOCK_JOB_COMPLETED", disk)
    wait_for_load(env, vm, disks, 2 * BATCH)
    # On a busy host the guest is far ahead of what has been read of its output.
    note_counts(run(vm, "touch /tmp/stop; wait"), disks)
    return target, commit.path, copy, before


def guest_sums(vm, disks):
    return [run(vm, f"dd if=/dev/{disk.device} bs=64k iflag=direct 2>/dev/null | md5sum").split()[0]
            for disk in disks]


def as_raw(env, path):
    raw = env.scratch("raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
    return raw


def compare(env, path, wanted):
    check_image(env, path)
    with open(as_raw(env, path), "rb") as file:
        found = hashlib.md5(file.read()).hexdigest()
    need(found == wanted, f"{path} has the sum {found} outside, {wanted} in the guest")


def check_moment(env, disk, path, before):
    """A copy that has each writer's operations up to one, which is not before those in 'before'."""
    check_image(env, path)
    done = subprocess.run([env.diskload, "moment", as_raw(env, path), str(disk.seed)], check=False,
                          text=True, stdout=subprocess.PIPE)
    need(done.returncode == 0, f"{path} is of no one moment:\n{done.stdout}")
    counts = [int(count) for count in re.findall(r": (\d+) operations", done.stdout)]
    need(all(low <= count < high for low, count, high in
             list(zip(before, counts, disk.counts))[:writers(env)]),
         f"{path} is of {counts}; before the job it was {before}, at the end {disk.counts}")
    print(f"# backup: the guest had flushed {before}, the copy has {counts}, "
          f"at the end it was {disk.counts}", flush=True)


# -- Tests -----------------------------------------------------------------------------------------

def run_round(env, disks, with_jobs=True, with_fio=()):
    """The program is killed under load, and started again; then jobs run."""
    kill_under_load(env, disks)
    jobs = [Disk(env, len(disks) + i, "virtio", "qcow2", *mode)
            for i, mode in enumerate((("writeback", "io_uring"), ("none", "native"),
                                      ("writeback", "threads")))] if with_jobs else []
    fio = ("-drive", f"file={env.image('fio.img')},if=virtio,format=raw,readonly=on") \
        if with_fio else ()
    with boot(env, [*disks, *jobs], *fio) as vm:
        check_in_guest(vm, disks)
        if with_jobs:
            *images, copy, before = run_jobs(env, vm, *jobs)
            sums = guest_sums(vm, jobs[:2])
        if with_fio:
            fio_in_guest(vm, with_fio)
        vm.send_line("exit 0")
        vm.expect("vmm-guest: exit 0", timeout=vm.patience)
        vm.finish(vm.patience)
    for disk in disks:
        if disk.format == "qcow2":
            check_image(env, disk.path, (0, 3))
    if with_jobs:
        for path, wanted in zip(images, sums):
            compare(env, path, wanted)
        check_moment(env, jobs[2], copy, before)


def test_killed_under_disk_load_then_jobs(env):
    """Each cache mode on virtio-blk, on two I/O threads, and two of them on IDE. With --full-size: four
    CPUs, and as many queues in use; each mode with each engine, on both, by both formats; and fio
    verifies on all of them."""
    if not env.full_size:
        run_round(env, [Disk(env, number, *what) for number, what in enumerate((
            ("virtio", "qcow2", "writeback", "io_uring"), ("virtio", "qcow2", "none", "native"),
            ("virtio", "qcow2", "writethrough", "threads"),
            ("virtio", "raw", "directsync", "threads"),
            ("virtio", "qcow2", "unsafe", "io_uring"), ("ide", "qcow2", "none", "io_uring"),
            ("ide", "qcow2", "writethrough", "threads")))])
        return
    modes = [(cache, engine) for cache, engines in ENGINES.items() for engine in engines]
    for formats in ("qcow2", "raw"), ("raw", "qcow2"):
        for first in range(0, len(modes), IDE_DISKS):
            disks = []
            for bus, image_format in zip(("virtio", "ide"), formats):
                for mode in modes[first:first + IDE_DISKS]:
                    disks.append(Disk(env, len(disks), bus, image_format, *mode))
            run_round(env, disks, with_fio=disks)
