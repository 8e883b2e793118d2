# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests for guest-tests: boot loaders that nobody here wrote, by the BIOS and by their own drivers."""

import glob
import os
import shutil
import struct
import subprocess

from guest_env import Skip, need
from vm import PATIENCE, Vm

GRUB = "/usr/lib/grub/i386-pc"


def test_grub_from_a_floppy_reads_another(env):
    """GRUB's own way through int 13h: it loads itself from drive A:, and a file from B:."""
    if not shutil.which("mformat") or not os.path.exists(f"{GRUB}/boot.img"):
        raise Skip("needs grub-pc-bin and mtools")
    config, core, boot, data = map(env.scratch, ("grub.cfg", "core.img", "a.img", "b.img"))
    with open(config, "w", encoding="ascii") as file:
        file.write("serial\nterminal_output serial\ncat (fd1)/greeting\necho loaded\nhalt\n")
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-p", "(fd0)", "-c", config, "-o", core,
                    "biosdisk", "fat", "serial", "terminal", "echo", "cat", "halt"], check=True)
    with open(boot, "wb") as image:
        for part in f"{GRUB}/boot.img", core:
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
    if not shutil.which("xorriso") or not os.path.exists(f"{GRUB}/cdboot.img"):
        raise Skip("needs grub-common, grub-pc-bin and xorriso")
    root, image = env.scratch("root"), env.scratch("grub.iso")
    os.makedirs(f"{root}/boot/grub")
    with open(f"{root}/greeting", "w", encoding="ascii") as file:
        file.write("from the CD\n")
    with open(f"{root}/boot/grub/grub.cfg", "w", encoding="ascii") as file:
        file.write("serial\nterminal_output serial\ncat (cd)/greeting\necho by the BIOS\n"
                   "nativedisk pata\nls\ncat ($root)/greeting\necho by ATAPI from $root\nhalt\n")
    subprocess.run(["grub-mkrescue", "-d", GRUB, "-o", image, root],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Vm(env.vmm, "-m", "64", "-cdrom", image, "-boot", "d", log=env.log) as vm:
        vm.expect("from the CD[\\s\\S]*by the BIOS", timeout=PATIENCE)
        vm.expect("from the CD[\\s\\S]*by ATAPI from \\w*ata", timeout=PATIENCE)
        vm.finish()


def make_grub_disk(env, config):
    """A disk with a partition of FAT, from which GRUB boots with this configuration."""
    if not shutil.which("mformat") or not os.path.exists(f"{GRUB}/boot.img"):
        raise Skip("needs grub-common, grub-pc-bin and mtools")
    path, core, begin, sectors = env.scratch("disk.img"), env.scratch("core.img"), 2048, 16384
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core,
                    "biosdisk", "part_msdos", "fat", "normal", "nativedisk", "at_keyboard",
                    "serial", "terminal", "echo", "cat", "halt"], check=True)
    with open(path, "wb") as image, open(f"{GRUB}/boot.img", "rb") as boot, open(core, "rb") as rest:
        image.write(boot.read(446))
        image.write(struct.pack("<B3sB3sII48xH", 0x80, b"\0\x20\x21", 0x0e, b"\xfe\xff\xff", begin,
                                sectors - begin, 0xaa55))
        image.write(rest.read())
        image.truncate(sectors * 512)
    partition = ["-i", f"{path}@@{begin * 512}"]
    modules = [f"{GRUB}/{name}.mod" for name in ("ata", "cs5536", "ehci", "pata", "pci", "scsi", "uhci",
                                                 "usb", "usbms")]
    subprocess.run(["mformat", *partition, "-T", str(sectors - begin), "-h", "16", "-s", "63",
                    "::"], check=True)
    subprocess.run(["mmd", *partition, "::boot", "::boot/grub", "::boot/grub/i386-pc"], check=True)
    subprocess.run(["mcopy", *partition, *modules, *glob.glob(f"{GRUB}/*.lst"),
                    "::boot/grub/i386-pc"], check=True)
    for name, content in ("boot/grub/grub.cfg", config), ("greeting", "from the disk\n"):
        subprocess.run(["mcopy", *partition, "-", f"::{name}"], input=content.encode(), check=True)
    return path


def boot_grub_by_its_menu(env, options, native=""):
    """The BIOS boots GRUB from a disk, '@' in the options. GRUB's own keyboard driver has the menu;
    what is chosen there reads a file by the BIOS, then by GRUB's own drivers, the modules 'native'."""
    config = ("serial\nterminal_input at_keyboard\nterminal_output serial\nset timeout=-1\n"
              "menuentry one { halt }\n"
              "menuentry two {\necho $chosen from $root\ncat ($root)/greeting\n")
    if native:
        config += f"nativedisk {native}\necho native from $root\ncat ($root)/greeting\n"
    with open(env.scratch("disk.img.empty"), "wb") as file:
        file.truncate(1 << 20)
    disk = make_grub_disk(env, config + "echo the end\nhalt\n}\n")
    with Vm(env.vmm, "-m", "64", *(option.replace("@", disk) for option in options),
            log=env.log) as vm:
        vm.expect("two", timeout=PATIENCE)
        for key in "down", "ret":
            vm.qmp.hmp(f"sendkey {key}")
        vm.expect("two from hd0,msdos1\\s+from the disk", timeout=PATIENCE)
        if native:
            vm.expect("native from (ata|usb)0,msdos1\\s+from the disk", timeout=PATIENCE)
        vm.expect("the end", timeout=PATIENCE)
        vm.finish()
        need("opcode" not in vm.output(), "GRUB cannot read the ACPI tables to halt")


def test_grub_from_a_hard_disk(env):
    boot_grub_by_its_menu(env, ("-hda", "@", "-boot", "c"), "pata")


# Without bootindex= the BIOS takes the IDE disk, on which there is no program.
STICK = ("-drive", "if=none,id=stick,format=raw,file=@",
         "-device", "usb-storage,drive=stick,bus=usb.0,bootindex=1",
         "-hda", "@.empty")


def test_grub_from_a_usb_stick_by_uhci(env):
    boot_grub_by_its_menu(env, ("-device", "piix3-usb-uhci,id=usb", *STICK), "uhci usbms")


def test_grub_from_a_usb_stick_by_ehci(env):
    boot_grub_by_its_menu(env, ("-device", "usb-ehci,id=usb", *STICK), "ehci usbms")


def test_grub_from_a_usb_stick_by_xhci(env):
    """GRUB has no driver for it."""
    boot_grub_by_its_menu(env, ("-device", "qemu-xhci,id=usb", *STICK))
