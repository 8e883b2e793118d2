# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands try-... share: packages, the build, the lab, steps with their times.

Such a command is main(__doc__, prepare, ways): 'prepare' makes what the guests boot, in a folder;
each of 'ways' is a function that takes a Trial, and fails by raising. The ways run on the host's KVM,
or each in a lab of its own.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from drive_console import ConsoleError
from vm import Vm

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.realpath(f"{HERE}/../..")
# A whole installer boots, every instruction emulated twice, on a machine with other work to do.
STEP_SECONDS = 900
# The emulator below the lab hangs a guest in some dozens (docs/lab.md).
TRIES_IN_LAB = 2


class Trial:
    """One way, being tried."""

    def __init__(self, options):
        self.vmm = options.vmm
        self.folder = options.folder  # where 'prepare' made its files; it can be written
        self.keep = options.keep
        self.way = options.inside
        self.began = time.monotonic()

    def file(self, name):
        return os.path.join(self.folder, name)

    def start(self, *arguments):
        """The default machine with these arguments."""
        print(f"  {os.path.relpath(self.vmm)} {shlex.join(arguments)}", flush=True)
        return Vm(self.vmm, *arguments, defaults=True)

    def done(self, what, vm=None):
        """Says that a step is done; with 'vm' there is a picture of its screen, where wanted."""
        print(f"  {time.monotonic() - self.began:5.0f} s  {what}", flush=True)
        if vm and self.keep:
            name = re.sub(r"\W+", "-", f"{self.way} {what}".lower())
            vm.qmp.command("screendump", filename=f"{self.keep}/{name}.png", format="png")


def step(text):
    print(f"\n==> {text}", flush=True)


def run(command):
    """Runs a command to its end; one that is interrupted is ended in order."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise


def must(*command, **how):
    subprocess.run(command, check=True, **how)


def install_and_build(options, in_lab):
    step("Packages")
    must(f"{TOP}/tests/install-packages", "run", "image", *(["lab"] if in_lab else []),
         *([] if options.vmm else ["build"]))
    if not options.vmm:
        step("Build")
        if not os.path.exists(f"{TOP}/build/build.ninja"):
            must("meson", "setup", f"{TOP}/build", TOP)
        must("meson", "compile", "-C", f"{TOP}/build", "vmm", "vmm-img")
        options.vmm = f"{TOP}/build/src/vmm"
    options.vmm = os.path.realpath(options.vmm)


def try_way(options, way, in_lab):
    lab = [f"{TOP}/tests/lab/run", "--mem", "3072", "--writable", options.folder]
    if options.keep:
        lab += ["--writable", options.keep]
    inside = [sys.executable, sys.argv[0], "--inside", way, "--vmm", options.vmm, "--folder",
              options.folder, *(["--keep", options.keep] if options.keep else [])]
    for number in range(TRIES_IN_LAB if in_lab else 1):
        if number:
            print(f"{way}: once more, because the lab's emulator is not free of faults", flush=True)
        if run([*lab, "--", *inside] if in_lab else inside) == 0:
            return True
    return False


def run_inside(options, ways):
    try:
        ways[options.inside](Trial(options))
    except ConsoleError as error:
        print(f"failed: {error}", flush=True)
        return 1
    return 0


def parse_arguments(doc, ways):
    name = os.path.basename(sys.argv[0])
    parser = argparse.ArgumentParser(
        prog=name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{name} [--vmm BINARY] [--keep FOLDER]"
        + (f" [{' | '.join(ways)}]..." if len(ways) > 1 else ""))
    parser.add_argument("--vmm", metavar="BINARY", help="this one; without it, vmm is built in build/")
    parser.add_argument("--keep", metavar="FOLDER", help="pictures of the screen stay there, to be looked at")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("ways", nargs="*", metavar="WAY", help="only these; without one, all"
                        if len(ways) > 1 else argparse.SUPPRESS)
    options = parser.parse_args()
    for way in options.ways:
        if way not in ways:
            parser.error(f"there is no way {way!r}, but {', '.join(ways)}")
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
        options.keep = os.path.realpath(options.keep)
    return options


def main(doc, prepare, ways, check=None):
    """'check' looks from outside at what a way that went well left in the folder."""
    options = parse_arguments(doc, ways)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if options.inside:
        return run_inside(options, ways)

    host = subprocess.run([f"{TOP}/tests/lab/host-kvm"], stdout=subprocess.PIPE, text=True,
                          check=False)
    in_lab = host.returncode != 0
    if in_lab:
        print(f"Guests run in the lab, emulated and slow: {host.stdout.strip()}.")
    failed = []
    with tempfile.TemporaryDirectory(prefix="vmm-try.") as options.folder:
        try:
            install_and_build(options, in_lab)
            prepare(options.folder)
            for way in options.ways or ways:
                step(way)
                if not try_way(options, way, in_lab):
                    failed.append(way)
                elif check:
                    check(options)
        except (ConsoleError, OSError, subprocess.CalledProcessError) as error:
            print(f"\nfailed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall went well")
    return 1 if failed else 0
