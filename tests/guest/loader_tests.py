# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests for guest-tests: boot loaders that nobody here wrote, by the BIOS and by their own drivers."""

import os
import shutil
import subprocess

from guest_env import Skip
from vm import PATIENCE, Vm


def test_grub_from_a_floppy_reads_another(env):
    """GRUB's own way through int 13h: it loads itself from drive A:, and a file from B:."""
    if not shutil.which("mformat") or not os.path.exists("/usr/lib/grub/i386-pc/boot.img"):
        raise Skip("needs grub-pc-bin and mtools")
    config, core, boot, data = map(env.scratch, ("grub.cfg", "core.img", "a.img", "b.img"))
    with open(config, "w", encoding="ascii") as file:
        file.write("serial\nterminal_output serial\ncat (fd1)/greeting\necho loaded\nhalt\n")
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-p", "(fd0)", "-c", config, "-o", core,
                    "biosdisk", "fat", "serial", "terminal", "echo", "cat", "halt"], check=True)
    with open(boot, "wb") as image:
        for part in "/usr/lib/grub/i386-pc/boot.img", core:
            with open(part, "rb") as file:
                image.write(file.read())
        image.truncate(2880 * 512)
    subprocess.run(["mformat", "-C", "-i", data, "-f", "1440", "::"], check=True)
    subprocess.run(["mcopy", "-i", data, "-", "::greeting"], input=b"from drive B:\n", check=True)
    with Vm(env.vmm, "-m", "64", "-boot", "a", "-drive", f"if=floppy,format=raw,file={boot}",
            "-drive", f"if=floppy,format=raw,file={data}", log=env.log) as vm:
        vm.expect("from drive B:", timeout=PATIENCE)
        vm.expect("loaded", timeout=PATIENCE)
        vm.finish()


def test_grub_from_a_cd(env):
    """GRUB boots from the CD by int 13h, and reads a file: the BIOS's way, and by its own ATAPI."""
    if not shutil.which("xorriso") or not os.path.exists("/usr/lib/grub/i386-pc/cdboot.img"):
        raise Skip("needs grub-common, grub-pc-bin and xorriso")
    root, image = env.scratch("root"), env.scratch("grub.iso")
    os.makedirs(f"{root}/boot/grub")
    with open(f"{root}/greeting", "w", encoding="ascii") as file:
        file.write("from the CD\n")
    with open(f"{root}/boot/grub/grub.cfg", "w", encoding="ascii") as file:
        file.write("serial\nterminal_output serial\ncat (cd)/greeting\necho by the BIOS\n"
                   "nativedisk pata\nls\ncat ($root)/greeting\necho by ATAPI from $root\nhalt\n")
    subprocess.run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", image, root],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Vm(env.vmm, "-m", "64", "-cdrom", image, "-boot", "d", log=env.log) as vm:
        vm.expect("from the CD[\\s\\S]*by the BIOS", timeout=PATIENCE)
        vm.expect("from the CD[\\s\\S]*by ATAPI from \\w*ata", timeout=PATIENCE)
        vm.finish()
