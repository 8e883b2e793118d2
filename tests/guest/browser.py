# SPDX-License-Identifier: GPL-2.0-or-later
"""Chromium without a window, driven by its devtools protocol through a pair of pipes.

    with Browser(folder) as browser:
        browser.open("http://127.0.0.1:5700/")
        browser.value("document.title")
"""

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import time

PATIENCE = 120
# A US keyboard: characters by the keys' names of the UI Events specification.
CODES = {**{c: f"Key{c.upper()}" for c in "abcdefghijklmnopqrstuvwxyz"},
         **{c: f"Digit{c}" for c in "0123456789"}, " ": "Space", "-": "Minus", ".": "Period",
         "/": "Slash", ",": "Comma", "=": "Equal"}
NAMED = {"\n": ("Enter", "Enter", 13), "Shift": ("Shift", "ShiftLeft", 16),
         "Control": ("Control", "ControlLeft", 17), "Alt": ("Alt", "AltLeft", 18)}


class BrowserError(Exception):
    """The browser answered with an error, or not at all; the message says what."""


class Browser:
    def __init__(self, folder, program="chromium"):
        """Its profile and log are in folder."""
        ours = [os.pipe(), os.pipe()]  # to the browser, and from it

        def pass_pipes():  # it reads from descriptor 3 and writes to 4
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ours[0][0], ours[1][1])]
            for number, fd in zip((3, 4), high):
                os.dup2(fd, number)

        with open(f"{folder}/browser.log", "wb") as log:
            # Its processes are a group, which ends as one.
            self.process = subprocess.Popen(
                [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile",
                 "--window-size=1100,760", "--remote-debugging-pipe", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=pass_pipes,
                pass_fds=(3, 4), start_new_session=True)
        os.close(ours[0][0])
        os.close(ours[1][1])
        self.to, self.back = ours[0][1], ours[1][0]
        self.unread, self.number, self.session = b"", 0, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.command("Browser.close")
            self.process.wait(PATIENCE)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.to)
        os.close(self.back)

    def _message(self, deadline):
        while b"\0" not in self.unread:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self.back], [], [], wait)[0]:
                raise BrowserError("the browser does not answer")
            data = os.read(self.back, 1 << 20)
            if not data:
                raise BrowserError("the browser has ended: see browser.log")
            self.unread += data
        line, self.unread = self.unread.split(b"\0", 1)
        return json.loads(line)

    def command(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while (answer := self._message(deadline)).get("id") != self.number:
            pass
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def open(self, url):
        target = self.command("Target.createTarget", url=url)["targetId"]
        self.session = self.command("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        self.command("Page.bringToFront")

    def value(self, expression):
        """What an expression of JavaScript is in the page."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True,
                              awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def picture(self):
        """What the window shows: a PNG file's bytes."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def _key(self, down, key, code, number):
        self.command("Input.dispatchKeyEvent", type="rawKeyDown" if down else "keyUp", key=key,
                     code=code, windowsVirtualKeyCode=number)

    def chord(self, *keys):
        """Keys that are pressed in this order, and released in the other one."""
        known = [NAMED.get(key) or (key, CODES[key.lower()], ord(key.upper())) for key in keys]
        for key in known:
            self._key(True, *key)
        for key in reversed(known):
            self._key(False, *key)

    def type(self, text):
        for character in text:
            self.chord(*(["Shift"] if character.isupper() else []), character)
