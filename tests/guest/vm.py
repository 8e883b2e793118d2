# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine under test: that of contrib/python/vmm.py, with more patience."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../contrib/python"))
import vmm  # noqa: E402

# A guest's instructions may be emulated twice, on a machine with other work to do.
PATIENCE = 150


class Qmp(vmm.Qmp):
    def __init__(self, path, patience=PATIENCE):
        super().__init__(path, patience)


class Vm(vmm.Vm):
    """Starts vmm with the arguments given, and without default devices unless they are asked for.
    'wrapper' is a command that runs it."""

    def __init__(self, program, *arguments, wrapper=(), log=None, defaults=False):
        super().__init__(*([] if defaults else ["-nodefaults"]), *arguments, patience=PATIENCE,
                         program=[*wrapper, program], log=log)

    def __exit__(self, kind, *_):
        if kind is not None and self.process.poll() is None:
            try:
                self.describe()
            except (OSError, vmm.Error, ValueError) as error:
                print(f"# the machine cannot be asked for its registers: {error}")
        self.close()

    def unread(self):
        """What the console has shown behind what was found, in bytes."""
        with self._arrived:
            return bytes(self._output[self._seen:])

    def skip(self, length):
        """So much of unread() is not found any more."""
        with self._arrived:
            self._seen += length

    def poll_output(self):
        """Waits a moment for more output; an error when there cannot be any."""
        with self._arrived:
            if self._console_over:
                raise vmm.Ended(self._missing("the console is closed"))
            self._arrived.wait(0.01)

    def wait_for_text(self, *wanted, timeout=PATIENCE):
        """Until all of these stand on the text screen; its text."""
        deadline = time.monotonic() + timeout
        while not all(part in (text := self.hmp("screendump")) for part in wanted):
            self.poll_output()  # raises when the program has ended
            if time.monotonic() > deadline:
                raise vmm.Error(f"no {' and '.join(map(repr, wanted))} in {timeout:g} s on the "
                                f"screen, which shows\n{text}")
            time.sleep(0.3)
        return text

    def describe(self):
        """Prints run state and vCPU registers twice, a second apart: do the vCPUs make progress?"""
        self.qmp.patience = 20
        for _ in range(2):
            for line in self.hmp("info status").split("\n") + self.hmp("info registers -a").split("\n"):
                if re.match(r"VM status|CPU#|RIP|CS |CR0|.*RSP=", line):
                    print(f"# {line.rstrip()}")
            time.sleep(1)

    def finish(self, timeout=PATIENCE):
        """Waits for the program to end, which it has to with status 0."""
        status = self.wait(timeout)
        if status != 0:
            raise vmm.Error(f"exit status {status}; {self.said()}the last output was:\n"
                            f"{self.last_output()}")
