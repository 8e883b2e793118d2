# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives a program by its terminal, as a person would: waits for what it prints, types.

    with Console(["build/vmm", "-nographic", ...], log=file) as console:
        console.login("root", "vmm", timeout=120)
        status, text = console.shell("uname -r", timeout=20)
        console.write("\\x01x")
        exit_status = console.wait(timeout=10)

The program gets a terminal of its own. One that is still there at the end of the block is killed.
"""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../contrib/python"))
import vmm  # noqa: E402

ConsoleError = vmm.Error  # the expected output did not come; the message holds the last output


class Console(vmm.Shell):
    def __init__(self, argv, log=None, rows=24, columns=200):
        """Starts argv. All that it prints is copied to log, a binary file, if there is one."""
        self.log = log
        self.unread = b""  # printed, and not yet consumed by expect()
        self.recent = b""  # the last of all that was printed, for error messages
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def adopt_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave,
                                        preexec_fn=adopt_terminal, close_fds=True)
        # Stays open here: terminal_restored() compares the settings.
        self.slave = slave
        self.settings = termios.tcgetattr(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            # SIGTERM comes first, so that a lab and the VM in it can clean up.
            for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
                try:
                    os.killpg(self.process.pid, number)
                    self.process.wait(seconds)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
        for descriptor in (self.master, self.slave):
            if descriptor is not None:
                os.close(descriptor)
        self.master = self.slave = None

    def last_output(self, lines=25):
        text = self.recent.decode(errors="replace").replace("\r", "")
        return "\n".join(text.split("\n")[-lines:])

    def write(self, text):
        os.write(self.master, text.encode())

    def _read(self, deadline):
        """Takes in what the program prints next; False when the time is over."""
        wait = deadline - time.monotonic()
        # Our own slave keeps the terminal open, so the end of the program is no end of file.
        while wait > 0:
            ended = self.process.poll() is not None  # before select(): output may come until then
            if select.select([self.master], [], [], min(wait, 0.2))[0]:
                data = os.read(self.master, 65536)
                if self.log:
                    self.log.write(data)
                    self.log.flush()
                self.unread += data
                self.recent = (self.recent + data)[-16384:]
                return True
            if ended:
                raise ConsoleError(f"the program ended with status {self.process.returncode}, "
                                   f"having printed:\n{self.last_output()}")
            wait = deadline - time.monotonic()
        return False

    def poll_output(self):
        """Takes in one piece of output that is there already; whether there was one."""
        return self._read(time.monotonic() + 0.01)

    def skip_output(self):
        """Drops all output so far, so that expect() does not see it."""
        while self.poll_output():
            pass
        self.unread = b""

    def expect(self, *patterns, timeout=None):
        """Waits until one of the regular expressions has been printed. Returns its index and the
        match; what comes later is left for the next call."""
        compiled = [re.compile(pattern.encode(), re.MULTILINE) for pattern in patterns]
        timeout = 60 if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while True:
            matches = [(match.start(), index, match) for index, regex in enumerate(compiled)
                       if (match := regex.search(self.unread))]
            if matches:
                _, index, match = min(matches, key=lambda item: item[:2])
                self.unread = self.unread[match.end():]
                return index, match
            if not self._read(deadline):
                raise ConsoleError(f"no {' or '.join(map(repr, patterns))} in {timeout:g} s; "
                                   f"the last output was:\n{self.last_output()}")

    def wait(self, timeout):
        """Waits until the program ends by itself; returns its exit status."""
        deadline = time.monotonic() + timeout
        try:
            while self._read(deadline):
                pass
        except ConsoleError:
            return self.process.wait()
        raise ConsoleError(f"the program has not ended in {timeout:g} s; "
                           f"its last output was:\n{self.last_output()}")

    def terminal_restored(self):
        """Whether the terminal has the settings that it had at the start."""
        return termios.tcgetattr(self.slave) == self.settings
