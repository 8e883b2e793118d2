# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine under test: vmm with its serial line on a terminal and QMP on a socket."""

import json
import os
import re
import socket
import tempfile
import time

from drive_console import Console, ConsoleError

# A guest's instructions may be emulated twice, on a machine with other work to do.
PATIENCE = 150


class Qmp:
    """A QMP session. Commands return their result; events are kept until they are asked for."""

    def __init__(self, path, timeout=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.reader = self.socket.makefile("rb")
        self.events = []
        self._next()  # the greeting
        self.command("qmp_capabilities")

    def _next(self):
        line = self.reader.readline()
        if not line:
            raise ConsoleError("the QMP connection was closed")
        return json.loads(line)

    def command(self, name, /, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value
                                    for key, value in arguments.items()}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._next()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise ConsoleError(f"QMP {name}: {answer['error'].get('desc')}")
            else:
                return answer["return"]

    def hmp(self, line):
        return self.command("human-monitor-command", command_line=line)

    def wait_event(self, name):
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            answer = self._next()
            if "event" in answer:
                self.events.append(answer)


class Vm(Console):
    """Starts vmm with the arguments given, and without default devices unless they are asked for."""

    def __init__(self, vmm, *arguments, wrapper=(), log=None, defaults=False):
        self.folder = tempfile.TemporaryDirectory(prefix="vm.")
        self.qmp_path = os.path.join(self.folder.name, "qmp")
        super().__init__([*wrapper, vmm, *([] if defaults else ["-nodefaults"]), "-display", "none",
                          "-serial", "stdio", "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                          *arguments], log=log)
        self._qmp = None

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self.qmp_path)
        return self._qmp

    def __exit__(self, kind, *_):
        if kind is not None and self.process.poll() is None:
            try:
                self.describe()
            except (OSError, ConsoleError, ValueError) as error:
                print(f"# the machine cannot be asked for its registers: {error}")
        self.close()

    def screen(self):
        """The text on the screen; in a graphics mode, an error that names the mode."""
        return self.qmp.hmp("screendump")

    def wait_for_screen(self, *wanted, timeout=PATIENCE):
        """Until all of these stand on the text screen; its text."""
        deadline = time.monotonic() + timeout
        while not all(part in (text := self.screen()) for part in wanted):
            self.poll_output()  # raises when the program has ended
            if time.monotonic() > deadline:
                raise ConsoleError(f"no {' and '.join(map(repr, wanted))} in {timeout:g} s on the "
                                   f"screen, which shows\n{text}")
            time.sleep(0.3)
        return text

    def press(self, *keys):
        """Each of these goes down and up; combinations are written as ctrl-alt-f1."""
        for key in keys:
            answer = self.qmp.hmp(f"sendkey {key}")
            if answer.strip():
                raise ConsoleError(f"sendkey {key}: {answer}")

    def describe(self):
        """Prints run state and vCPU registers twice, a second apart: do the vCPUs make progress?"""
        qmp = self._qmp or Qmp(self.qmp_path, 20)
        qmp.socket.settimeout(20)
        for _ in range(2):
            for line in qmp.hmp("info status").split("\n") + qmp.hmp("info registers -a").split("\n"):
                if re.match(r"VM status|CPU#|RIP|CS |CR0|.*RSP=", line):
                    print(f"# {line.rstrip()}")
            time.sleep(1)

    def close(self):
        super().close()
        self.folder.cleanup()

    def finish(self, timeout=PATIENCE):
        """Waits for the program to end, which it has to with status 0."""
        status = self.wait(timeout)
        if status != 0:
            raise ConsoleError(f"exit status {status}; the last output was:\n{self.last_output()}")
