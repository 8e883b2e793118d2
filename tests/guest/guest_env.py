# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of guest-tests share: where things are, how a machine is started."""

import os
import socket
import subprocess

from drive_console import ConsoleError
from vm import PATIENCE, Vm


class Skip(Exception):
    """Something that the test needs is missing; the message says what."""


class Environment:
    """What a test gets: where things are, and how to start a machine."""

    def __init__(self, vmm, vmm_img, programs, images, log, full_size):
        self.vmm_img = vmm_img
        self.log = log
        self.full_size = full_size
        self.vmm = vmm
        self.programs = programs  # what is built from this folder's sources, and its payload/
        self.bulk = os.path.join(programs, "bulk")
        self.diskload = os.path.join(programs, "diskload")
        self.guest_programs = [self.bulk, self.diskload,  # in the guest's /bin
                               os.path.join(programs, "events")]
        self.images = images
        self.folder = None  # scratch space of the current test
        self.disk_folder = None  # such space on a disk

    def image(self, name):
        return os.path.join(self.images, name)

    def scratch(self, name):
        return os.path.join(self.folder, name)

    def direct_folder(self):
        """Scratch space where O_DIRECT works, which not all file systems in memory know."""
        for folder in self.folder, self.disk_folder:
            try:
                os.close(os.open(f"{folder}/direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT))
                return folder
            except OSError:
                continue
        raise Skip("needs a file system with O_DIRECT for its scratch files")

    def linux(self, run, *arguments, kernel="vmlinux", full="", memory=256, words="", wrapper=()):
        """A machine that boots the kernel directly and runs a command line in it. With 'full' as
        "-full" it is the kernel for all machines. The ELF file need not be unpacked, which takes
        seconds in the lab; it finds no VGA text console, which the setup code of "vmlinuz" does."""
        return Vm(self.vmm, "-m", str(memory), "-kernel", self.image(f"kernel{full}/{kernel}"),
                  "-initrd", self.image(f"initrd{full}"),
                  "-append", f'console=ttyS0 quiet panic=-1 {words} vmm.run="{run}"',
                  *arguments, wrapper=wrapper, log=self.log)

    def shell(self, *arguments, patience=PATIENCE, **how):
        """A machine whose serial line is a shell for Vm.shell(), which has been reached."""
        # Without a terminal as its output the shell neither prompts nor edits lines.
        vm = self.linux("stty -echo; echo shell is ready; sh 2>&1 | cat", *arguments,
                        words="loglevel=1", **how)
        try:
            vm.expect("shell is ready", timeout=patience)
        except BaseException:
            vm.close()
            raise
        return vm

    def disk(self, name, size, image_format="qcow2", backing=None):
        path = self.scratch(name)
        command = ["qemu-img", "create", "-q", "-f", image_format]
        if backing:
            command += ["-b", backing, "-F", "qcow2"]
        subprocess.run([*command, path, *([size] if size else [])], check=True)
        return path


def need(condition, message):
    if not condition:
        raise ConsoleError(message)


def run_to_the_end(vm):
    """Waits for env.linux()'s command, which has to succeed, and for the power-off after it.
    Returns the command's output."""
    with vm:
        vm.expect(r"vmm-guest: init [\d.]+", timeout=PATIENCE)
        _, match = vm.expect(r"([\s\S]*?)vmm-guest: exit (\d+)", timeout=PATIENCE)
        output = match[1].decode(errors="replace")
        need(match[2] == b"0", f"the command ended with status {match[2].decode()}:\n{output}")
        vm.finish()
        return output


def full_kernel(test):
    test.full_kernel = True
    return test


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
