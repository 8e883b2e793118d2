# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurements of bench/: vmm beside QEMU, on the same work, in the same run.

Called by the scripts beside it, which have the names in BENCHES. What needs a guest runs in the lab
where the host has no KVM. Each prints tables of both programs' figures and their ratio. A goal that
is missed is said; the status is 1 only where a measurement fails. README.md has the goals.
"""

import argparse
import os
import shutil
import subprocess
import sys

import block
import devices
import image
import monitor
import nbd
import net
import savevm
import screen
import startup
from harness import HERE, TOP, Bench, Skip

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "ata_piix", "sd_mod")
FULL_MODULES = ("e1000", "8139cp", "ata_piix", "bochs", "ehci_pci", "uhci_hcd",
                *devices.IDLE_MODULES)
PROGRAMS = ("measure", "blkload", "conload", "nbdload", "netload", "qmpload")
# The least that a multiboot loader takes: a header, and code that prints '~' on the serial port and
# ends the machine by the debug-exit port (mov $0x3f8,%edx; mov $'~',%al; out %al,%dx; mov $0x10,%al;
# out %al,$0xf4; hlt; jmp .-1). Loaded and entered at 1 MiB.
FIRST_INSTRUCTION = b"".join(number.to_bytes(4, "little") for number in (
    0x1BADB002, 0x10000, (-0x1BADB002 - 0x10000) & 0xFFFFFFFF,
    0x100000, 0x100000, 0, 0, 0x100020)) + (
        b"\xba\xf8\x03\0\0\xb0~\xee\xb0\x10\xe6\xf4\xf4\xeb\xfd")
# The same without the debug-exit port's write: it stays.
STAY = FIRST_INSTRUCTION.replace(b"\xb0\x10\xe6\xf4", b"")

LAB_SECONDS = 900
HOST = None  # a phase without a guest that runs: any /dev/kvm does
BENCHES = {  # name: [(function, options of the lab, or HOST)]
    "startup": [(startup.startup, HOST)],
    "boot": [(startup.boot, ["--icount"])],
    "memory": [(startup.memory, HOST), (startup.memory_idle, [])],
    "scale": [(startup.scale, HOST)],
    "idle": [(devices.idle, [])],
    "blk": [(devices.blk, ["--smp", "2", "--mem", "4096"])],
    "ide": [(devices.ide, ["--smp", "2"])],
    "serial": [(devices.serial, ["--smp", "2"])],
    "net": [(net.net, ["--smp", "2"])],
    "cards": [(net.cards, ["--smp", "2"])],
    "screen": [(screen.screen, HOST)],
    "image": [(image.image, HOST)],
    "block": [(block.block, HOST)],
    "nbd": [(nbd.nbd, HOST)],
    "savevm": [(savevm.savevm, HOST)],
    "monitor": [(monitor.monitor, HOST)],
}


def make_images(images):
    os.makedirs(images, exist_ok=True)
    for program in PROGRAMS:
        subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", f"{images}/{program}",
                        f"{HERE}/{program}.c"], check=True)
    with open(f"{images}/first.bin", "wb") as file:
        file.write(FIRST_INSTRUCTION)
    with open(f"{images}/stay.bin", "wb") as file:
        file.write(STAY)


def make_guest(images, full=False):
    """A kernel and an initramfs; with 'full' Debian's kernel for all machines, and "-full"."""
    make = f"{TOP}/tests/guest/images"
    flavour, modules, end = ("amd64", FULL_MODULES, "-full") if full else ("cloud-amd64", MODULES, "")
    subprocess.run([f"{make}/fetch-kernel", "-f", flavour, f"{images}/kernel{end}", *modules],
                   check=True)
    subprocess.run([f"{make}/make-initrd", f"{images}/kernel{end}", f"{images}/initrd{end}",
                    *(f"{images}/{program}" for program in PROGRAMS)], check=True)


def run_in_lab(lab, command):
    """The emulator hangs a guest now and then (docs/lab.md): what fails is tried once more."""
    for _ in range(2):
        status = subprocess.run([f"{TOP}/tests/lab/run", "-t", str(LAB_SECONDS), *lab, "--", *command],
                                stdin=subprocess.DEVNULL, check=False).returncode
        if status == 0:
            break
        print(f"the lab's status is {status}", flush=True)
    return status


def run_phase(phase, options):
    """Measures here, or in the lab; returns the exit status."""
    function, lab = BENCHES[options.bench][phase]
    if options.inside is None and lab is not HOST:
        make_guest(options.images, options.bench in ("cards", "idle"))
        host = subprocess.run([f"{TOP}/tests/lab/host-kvm"], stdout=subprocess.DEVNULL, check=False)
        # The instruction clock is the lab's alone.
        if "--icount" in lab or host.returncode != 0:
            return run_in_lab(lab, ["python3", os.path.realpath(__file__), options.bench,
                                    "--vmm", options.vmm, "--qemu", options.qemu,
                                    "--images", options.images, "--rounds", str(options.rounds),
                                    "--only", options.only, "--inside", str(phase)])
    guestless = options.bench in ("image", "block", "nbd", "monitor")
    if not guestless and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("/dev/kvm is missing, or may not be used")
    bench = Bench(options)
    function(bench)
    if bench.missed:
        print(f"{options.bench}: {bench.missed} goals missed")
    return 0


def main():
    parser = argparse.ArgumentParser(
        description="vmm beside QEMU on the same work. The status is 1 where a measurement fails, "
        "not where a goal is missed.")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--vmm", default=f"{TOP}/build/vmm", help="default: build/vmm")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="default: the one in PATH")
    parser.add_argument("--images", default=f"{TOP}/build/bench", help="where to put what is booted")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs")
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="only the loads whose name has TEXT (idle, blk, serial, net, nbd, block, cards)")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.vmm_img = os.path.join(os.path.dirname(os.path.abspath(options.vmm)), "vmm-img")
    options.vmm_nbd = os.path.join(os.path.dirname(options.vmm_img), "vmm-nbd")
    options.vmm = os.path.abspath(options.vmm)
    options.images = os.path.realpath(options.images)
    try:
        if not os.access(options.vmm, os.X_OK):
            raise Skip(f"{options.vmm} is not there: ninja -C build")
        qemu = shutil.which(options.qemu)
        if not qemu:
            raise Skip(f"{options.qemu} is not there: apt-get install qemu-system-x86")
        options.qemu = qemu
        if options.inside is not None:
            return run_phase(options.inside, options)
        make_images(options.images)
        statuses = [run_phase(phase, options) for phase in range(len(BENCHES[options.bench]))]
        return 1 if any(statuses) else 0
    except Skip as reason:
        print(f"SKIP {options.bench}: {reason}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
