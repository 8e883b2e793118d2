# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests for guest-tests: Linux's own drivers of USB controllers, sticks, keyboards and tablets."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

from drive_console import ConsoleError
from guest_env import Skip, full_kernel, need
from vm import PATIENCE

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../device"))
import rfb  # noqa: E402

EHCI, COMPANION, UHCI, XHCI = "1d.7", "1d.0", "1c.0", "1b.0"
CONTROLLERS = (
    "-device", f"ich9-usb-ehci1,id=ehci,addr={EHCI},multifunction=on",
    "-device", f"ich9-usb-uhci1,masterbus=ehci.0,firstport=0,addr={COMPANION},multifunction=on",
    "-device", "ich9-usb-uhci2,masterbus=ehci.0,firstport=2,addr=1d.1",
    "-device", "ich9-usb-uhci3,masterbus=ehci.0,firstport=4,addr=1d.2",
    "-device", f"piix3-usb-uhci,id=uhci,addr={UHCI}",
    "-device", f"qemu-xhci,id=xhci,addr={XHCI}")
STICK_BYTES = 8 << 20


def boot(env, *arguments):
    vm = env.shell(*CONTROLLERS, *arguments, full="-full")
    run(vm, "modprobe -a usb-storage sd_mod crc32c_generic ext4 vfat nls_cp437 nls_ascii usbhid "
            "hid-generic evdev")
    return vm


def run(vm, line):
    """The guest's shell runs a line, which has to succeed; its output."""
    status, output = vm.shell(line, timeout=PATIENCE)
    if status != 0:
        _, log = vm.shell("dmesg | tail -n 15", timeout=PATIENCE)
        raise ConsoleError(f"{line} ended with status {status}:\n{output}\n{log}")
    return output


def power_off(vm):
    vm.send_line("exit 0")
    vm.expect("vmm-guest: exit 0", timeout=PATIENCE)
    vm.finish()


def make_stick(env, name, fat=False):
    path = env.scratch(name)
    with open(path, "wb") as file:
        file.truncate(STICK_BYTES)
    if fat:
        subprocess.run(["mformat", "-i", path, "-h", "16", "-s", "32", "-t", "32", "::"],
                       check=True)
    return path


def device_add(vm, what):
    answer = vm.qmp.hmp(f"device_add {what}")
    need(not answer, answer)


def plug(vm, path, bus, image_format="raw"):
    """By the old command for drives, and device_add; the guest's disk is /dev/sda then."""
    answer = vm.qmp.hmp(f"drive_add 0 if=none,id=stick,format={image_format},file={path}")
    need(answer.strip() == "OK", answer)
    device_add(vm, f"usb-storage,id=usb,drive=stick,bus={bus}")
    wait_for_stick(vm)


def wait_for_stick(vm):
    # The node is there before the driver knows the size.
    run(vm, "until [ -b /dev/sda ] && [ $(cat /sys/block/sda/size) != 0 ]; do usleep 50000; done")


def unplugged(vm):
    """Waits until the guest has no disk, and the monitor no drive."""
    run(vm, "while [ -b /dev/sda ]; do usleep 50000; done")
    deadline = time.monotonic() + PATIENCE
    while vm.qmp.hmp("info block").strip():
        need(time.monotonic() < deadline, vm.qmp.hmp("info block"))
        time.sleep(0.1)


def pull(vm):
    answer = vm.qmp.hmp("device_del usb")
    need(not answer, answer)
    vm.qmp.wait_event("DEVICE_DELETED")


def unplug(vm):
    pull(vm)
    unplugged(vm)


def make_files(vm, count):
    """Random ones in the guest's /tmp, by name; their MD5 sums."""
    names = " ".join(f"data{i}" for i in range(count))
    output = run(vm, f"cd /tmp; for i in {names}; do head -c 300001 /dev/urandom >$i; done; "
                     f"md5sum {names}")
    return {name: md5 for md5, name in re.findall(r"(\w{32})  (\w+)", output)}


def check_ext2(env, path, files):
    """The image from outside: whole, and the files are what the guest wrote."""
    subprocess.run(["e2fsck", "-fn", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    check_ext2_files(env, path, files)


def check_ext2_files(env, path, files):
    copy = env.scratch("copy")
    for name, md5 in files.items():
        subprocess.run(["debugfs", "-R", f"dump /{name} {copy}", path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check_md5(copy, name, md5)


def check_md5(path, name, md5):
    with open(path, "rb") as file:
        found = hashlib.md5(file.read()).hexdigest()
    need(found == md5, f"{name} has the sum {found} outside, {md5} in the guest")


@full_kernel
def test_usb_sticks(env):
    """A file system on a stick, hot-plugged into each controller, and read from outside."""
    if not all(map(shutil.which, ("e2fsck", "debugfs", "mformat", "mcopy"))):
        raise Skip("needs e2fsprogs and mtools")
    full, high, super_speed = (make_stick(env, name, name == "super")
                               for name in ("full", "high", "super"))
    make = "mke2fs /dev/sda >/dev/null 2>&1 && "
    use = "mount -t {} /dev/sda /mnt && cp /tmp/data* /mnt && umount /mnt"
    with boot(env) as vm:
        files = make_files(vm, 2)
        plug(vm, full, "uhci.0")
        run(vm, make + use.format("ext2"))
        unplug(vm)
        check_ext2(env, full, files)

        answer = vm.qmp.hmp(f"usb_add disk:format=raw:{high}")
        need(not answer, answer)
        wait_for_stick(vm)
        run(vm, make + use.format("ext2"))
        place = re.search(r"Device (\d+\.\d+), Port \d+, Speed 480 Mb/s", vm.qmp.hmp("info usb"))
        need(place, vm.qmp.hmp("info usb"))
        answer = vm.qmp.hmp(f"usb_del {place[1]}")
        need(not answer, answer)
        unplugged(vm)
        check_ext2(env, high, files)

        plug(vm, super_speed, "xhci.0")
        need("Speed 5000 Mb/s" in vm.qmp.hmp("info usb"), vm.qmp.hmp("info usb"))
        run(vm, use.format("vfat"))
        unplug(vm)
        for name, md5 in files.items():
            subprocess.run(["mcopy", "-n", "-i", super_speed, f"::{name}", env.scratch("copy")],
                           check=True)
            check_md5(env.scratch("copy"), name, md5)
        power_off(vm)


def write_until_it_is_pulled(vm):
    """The guest writes one file after the other; the names of those that it had flushed when the
    stick was gone."""
    vm.send_line("i=0; while dd if=/tmp/data0 of=/mnt/file$i conv=fsync 2>/tmp/error; do "
                 "echo flushed $i,; i=$((i + 1)); done; cat /tmp/error; echo stopped")
    vm.expect("flushed 1,", timeout=PATIENCE)
    pull(vm)
    last, text = 1, vm.expect(r"([\s\S]*)stopped", timeout=PATIENCE)[1][1].decode()
    for number in re.findall(r"flushed (\d+),", text):
        last = int(number)
    need("Input/output error" in text, f"writing ended by\n{text}")
    return [f"file{i}" for i in range(last + 1)]


@full_kernel
def test_usb_stick_is_pulled_during_a_write(env):
    """The guest sees an error and goes on; what it had flushed is in the image, and is there when
    the stick is plugged again."""
    if not all(map(shutil.which, ("e2fsck", "debugfs"))):
        raise Skip("needs e2fsprogs")
    raw = env.scratch("raw")
    with boot(env) as vm:
        data = make_files(vm, 1)["data0"]
        for bus in "uhci.0", "ehci.0", "xhci.0":
            path = env.disk(f"{bus}.qcow2", "8M")
            plug(vm, path, bus, "qcow2")
            run(vm, "mke2fs /dev/sda >/dev/null 2>&1 && mount -t ext2 /dev/sda /mnt")
            files = dict.fromkeys(write_until_it_is_pulled(vm), data)
            run(vm, "umount /mnt")
            unplugged(vm)
            subprocess.run(["qemu-img", "check", "-q", path], check=True)
            subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
            check_ext2_files(env, raw, files)

            plug(vm, path, bus, "qcow2")
            run(vm, "mount -t ext2 /dev/sda /mnt")
            output = run(vm, f"cd /mnt; md5sum {' '.join(files)}; cd /tmp; umount /mnt")
            need(output.count(data) == len(files), output)
            unplug(vm)
        power_off(vm)


# -- Keyboards and pointers ------------------------------------------------------------------------

def expect_events(vm, what, events):
    got = [vm.expect(r"((?:key|rel|abs) \d+ -?\d+)\s", timeout=PATIENCE)[1][1].decode()
           for _ in events]
    need(sorted(got) == sorted(events), f"{what} gave {got}, not {events}")


def try_input(vm, viewer, place):
    """Has the guest print events of the keyboard, mouse and tablet on USB, which are all behind the
    controller of this PCI address."""
    vm.send_line("events Keyboard Mouse Tablet")
    vm.expect("events: ready", timeout=PATIENCE)
    right, bottom = viewer.width - 1, viewer.height - 1
    for what, send, events in (
            ("a key", lambda: vm.qmp.hmp("sendkey ctrl-a"),
             ("key 29 1", "key 30 1", "key 30 0", "key 29 0")),
            ("mouse_move", lambda: vm.qmp.hmp("mouse_move 5 -7"), ("rel 0 5", "rel 1 -7")),
            ("a pointer", lambda: viewer.pointer(right, bottom, 0), ("abs 0 32767", "abs 1 32767")),
            ("its button", lambda: viewer.pointer(right, bottom, 1), ("key 272 1",)),
            ("a drag", lambda: viewer.pointer(0, bottom, 1), ("abs 0 0",)),
            ("its end", lambda: viewer.pointer(0, 0, 0), ("abs 1 0", "key 272 0")),
            ("Escape", lambda: vm.qmp.hmp("sendkey esc"), ("key 1 1", "key 1 0"))):
        send()
        expect_events(vm, f"{place}: {what}", events)
    devices = run(vm, "for i in /sys/bus/usb/drivers/usbhid/*:*; do readlink -f $i; done").split()
    need(len(devices) == 3 and all(f"/0000:00:{place}/" in path for path in devices),
         f"{place}: {devices}")


@full_kernel
def test_usb_keyboard_and_pointers(env):
    """sendkey, mouse_move and a viewer's pointer by each controller and by a hub, to Linux's usbhid.
    At full speed behind EHCI they come by a companion."""
    address = env.scratch("vnc")
    drivers = "usb-kbd", "usb-mouse", "usb-tablet"  # the last one has the viewer's pointer
    with boot(env, "-vga", "std", "-vnc", f"unix:{address}") as vm:
        viewer = rfb.Viewer(address)  # that asks for no pictures, and gets none
        for place, port in ((UHCI, "bus=uhci.0,port=1.{}"), (EHCI, "bus=ehci.0,port={}"),
                            (COMPANION, "bus=ehci.0,port=1.{}"),
                            (XHCI, "bus=xhci.0,port={}")):
            if "port=1." in port:
                device_add(vm, f"usb-hub,{port.partition('.{}')[0]}")
            for number, driver in enumerate(drivers, 1):
                device_add(vm, f"{driver},id={driver},{port.format(number)}")
            try_input(vm, viewer, place)
            for driver in drivers:
                vm.qmp.command("device_del", id=driver)
            run(vm, "while ls /sys/bus/usb/drivers/usbhid/*:* 2>/dev/null; do usleep 50000; done")
        power_off(vm)
