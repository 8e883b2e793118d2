# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives a virtual machine from a script. Needs nothing but Python 3 and vmm.

    import vmm

    with vmm.Vm('-m', '512', '-kernel', 'bzImage', '-append', 'console=ttyS0 panic=-1',
                '-no-reboot', '-deadline', '120') as vm:
        vm.wait_for(r'login: ')
        vm.write('root\\n')
        vm.wait_for(r'# ')
        vm.powerdown()
        assert vm.wait() == 0

The machine's first serial port is the console: wait_for() and write(). Over QMP go command() and
wait_event(), the HMP line hmp(), and what is made of these. Every wait has a time limit, 'patience'
where it is not given, and fails with Error, which says what the guest has printed last.

docs/harness.md has the exit statuses, and more examples.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

__all__ = ['Ended', 'Error', 'Qmp', 'QmpError', 'Shell', 'Vm']

NOT_STARTED = 2  # the exit status where the machine could not be started

# Characters of a US keyboard: the key's name in QMP, and behind it the one with shift.
_KEYS = {'minus': '-_', 'equal': '=+', 'bracket_left': '[{', 'bracket_right': ']}',
         'backslash': '\\|', 'semicolon': ';:', 'apostrophe': '\'"', 'grave_accent': '`~',
         'comma': ',<', 'dot': '.>', 'slash': '/?', 'spc': ' ', 'ret': '\n', 'tab': '\t'}
_KEYS.update({digit: digit + shifted for digit, shifted in zip('1234567890', '!@#$%^&*()')})
_KEYS.update({letter: letter + letter.upper() for letter in 'abcdefghijklmnopqrstuvwxyz'})
_COMBINATIONS = {char: ['shift', name][1 - index:] for name, chars in _KEYS.items()
                 for index, char in enumerate(chars)}
_DISPLAYS = {'-display', '-vnc', '-nographic', '-curses'}


class Error(Exception):
    """What was waited for has not come, or the machine has ended."""


class Ended(Error):
    """The machine has ended."""


class QmpError(Error):
    """A command was refused; 'kind' is QMP's class of the error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error.get('desc')}")
        self.kind = error.get('class')


class Qmp:
    """A QMP session with the server at a path, which is waited for; or over a connected socket, where
    'qmp_capabilities' is the caller's. Events are kept in 'events' until somebody takes them."""

    def __init__(self, connection, patience=60, missing=str):
        """'missing' adds to a message what else is known."""
        self.patience, self.events = patience, []
        self._missing, self._answers = missing, b''
        is_path = not isinstance(connection, socket.socket)
        self._socket = self._call(connection) if is_path else connection
        self._read(self._until(None))  # the greeting
        if is_path:
            self.command('qmp_capabilities')

    def _call(self, path):
        end = self._until(None)
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
                return connection
            except OSError as error:
                connection.close()
                if time.monotonic() > end:
                    raise Error(f'{path}: {error}') from None
                time.sleep(0.02)

    def _until(self, timeout):
        return time.monotonic() + (self.patience if timeout is None else timeout)

    def _read(self, end):
        while b'\n' not in self._answers:
            left = end - time.monotonic()
            if left <= 0:
                raise Error(self._missing('nothing came over QMP'))
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except socket.timeout:
                continue
            except OSError:
                data = b''
            if not data:
                raise Ended(self._missing('QMP is closed'))
            self._answers += data
        line, self._answers = self._answers.split(b'\n', 1)
        return json.loads(line)

    def command(self, name, /, **arguments):
        """A command; '_' in the names of arguments stands for '-'. Gives its result."""
        request = {'execute': name}
        if arguments:
            request['arguments'] = {key.replace('_', '-'): value
                                    for key, value in arguments.items()}
        end = self._until(None)
        self._socket.settimeout(self.patience)
        try:
            self._socket.sendall(json.dumps(request).encode() + b'\n')
        except BrokenPipeError:
            pass  # what it had to say before it ended is read below
        while True:
            answer = self._read(end)
            if 'error' in answer:
                raise QmpError(name, answer['error'])
            if 'return' in answer:
                return answer['return']
            self.events.append(answer)

    def hmp(self, line):
        """A line for the monitor for people; gives what it prints."""
        return self.command('human-monitor-command', command_line=line)

    def wait_event(self, name, timeout=None):
        """Until the event has come; takes it, and leaves others in 'events'."""
        end = self._until(timeout)
        while True:
            for index, event in enumerate(self.events):
                if event['event'] == name:
                    return self.events.pop(index)
            self.events.append(self._read(end))

    def close(self):
        self._socket.close()


class Shell:
    """A Unix system at the other end of a line: who has this class has write(), which types, and
    expect() and skip_output(), which are those of Vm."""

    _prompts = 0

    def send_line(self, text=''):
        self.write(text + '\r')

    def login(self, user, password=None, timeout=None):
        """Logs in at the getty, and makes its shell easy to follow."""
        self.expect(r'login: ', timeout=timeout)
        self.send_line(user)
        if password is not None:
            self.expect(r'[Pp]assword: ', timeout=timeout)
            self.send_line(password)
        index, _ = self.expect(r'[#$] (\x1b\[\S*)?$', r'incorrect', timeout=timeout)
        if index == 1:
            raise Error(f'{user} cannot log in')
        # No echo and no prompt: shell() takes all that appears for a command's output.
        self.shell("stty -echo; PS1= PS2=; bind 'set enable-bracketed-paste off' 2>/dev/null",
                   timeout)

    def shell(self, command, timeout=None):
        """Has the shell at the other end run a command; gives its exit status and its output."""
        self._prompts += 1
        # printf puts the mark together: an echo of the command line does not match it.
        mark = f'{self._prompts}-{os.getpid()}'
        self.skip_output()
        self.send_line(f"{command}; printf '\\n=%s=%d=\\n' done-{mark} $?")
        # \r more than once: the guest's terminal adds one, and so may the VMM's.
        _, match = self.expect(rf'([\s\S]*?)\r*\n=done-{mark}=(\d+)=\r*\n', timeout=timeout)
        return int(match[2]), match[1].decode(errors='replace').replace('\r', '').strip()


class Vm(Shell):
    """A machine that runs. As a context it is ended at its end, whatever state it is in.

    'program' is vmm, or a list: a command that runs it, and vmm. 'log' is a binary file, to which
    all that the guest writes to the console goes, too."""

    def __init__(self, *arguments, program='vmm', patience=60, cwd=None, log=None):
        self.patience = patience
        self.qmp = None
        self._log = log
        self._output = bytearray()
        self._seen = 0
        self._console_over = False
        self._arrived = threading.Condition()
        self._console = self._reader = None
        self._folder = tempfile.TemporaryDirectory(prefix='vmm-py-')
        self._said = open(self._path('said'), 'w+b')
        words = [*([program] if isinstance(program, (str, os.PathLike)) else program), *arguments]
        if not _DISPLAYS.intersection(arguments):
            words += ['-display', 'none']
        try:
            with self._listen('console') as console, self._listen('qmp') as qmp:
                words += ['-serial', f"unix:{self._path('console')}",
                          '-chardev', f"socket,id=vmm-py,path={self._path('qmp')}",
                          '-mon', 'chardev=vmm-py,mode=control']
                self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=cwd,
                                                stdout=self._said, stderr=self._said)
                self._console = self._accept(console)
                connection = self._accept(qmp)
            reader = threading.Thread(target=self._read_console, daemon=True)
            reader.start()
            self._reader = reader
            self.qmp = Qmp(connection, patience, self._missing)
            self._negotiate('-S' in arguments)
        except BaseException:
            self.close()
            raise

    # Setting up, and what the program itself says.

    def _path(self, name):
        return os.path.join(self._folder.name, name)

    def _listen(self, name):
        server = socket.socket(socket.AF_UNIX)
        server.bind(self._path(name))
        server.listen(1)
        server.settimeout(0.05)
        return server

    def _accept(self, server):
        end = self._until(None)
        while True:
            try:
                return server.accept()[0]
            except socket.timeout:
                if self.process.poll() is not None:
                    raise Ended(f'{self._ended()}:\n{self.said()}') from None
                if time.monotonic() > end:
                    raise Error('the program does not connect') from None

    def _until(self, timeout):
        return time.monotonic() + (self.patience if timeout is None else timeout)

    def _ended(self):
        return f'the machine has ended with status {self.process.poll()}'

    def said(self):
        """What the program has printed: its messages, not the guest's."""
        with open(self._path('said'), encoding='utf-8', errors='replace') as file:
            return file.read()

    def _negotiate(self, paused):
        """The monitor is there before the machine is, which -loadvm may have to read first; and the
        machine may have come to its end already."""
        end = self._until(None)
        try:
            self.command('qmp_capabilities')
            self._wait_for_start(end, paused)
        except Ended:
            if self.wait() == NOT_STARTED:
                raise

    def _wait_for_start(self, end, paused):
        while not paused and self.command('query-status')['status'] in ('prelaunch', 'restore-vm'):
            if time.monotonic() > end:
                raise Error(self._missing('the machine does not start'))
            time.sleep(0.01)

    # The console.

    def _read_console(self):
        while True:
            try:
                data = self._console.recv(65536)
            except OSError:
                data = b''
            with self._arrived:
                if data:
                    self._output += data
                    if self._log:
                        self._log.write(data)
                        self._log.flush()
                else:
                    self._console_over = True
                self._arrived.notify_all()
            if not data:
                return

    def last_output(self, lines=25):
        return '\n'.join(self.output().splitlines()[-lines:])

    def output(self):
        """All that the guest has written to the console."""
        with self._arrived:
            return self._output.decode(errors='replace')

    def expect(self, *patterns, timeout=None):
        """Until the console shows one of the regular expressions, behind what was found before. Gives
        its index, and the match (of bytes, as '.' may be anything); the first on the console counts."""
        expressions = [re.compile(p.encode() if isinstance(p, str) else p, re.M) for p in patterns]
        end = self._until(timeout)
        with self._arrived:
            while True:
                found = [(match.start(), index, match) for index, expression in enumerate(expressions)
                         if (match := expression.search(self._output, self._seen))]
                if found:
                    _, index, match = min(found, key=lambda item: item[:2])
                    self._seen = match.end()
                    return index, match
                left = end - time.monotonic()
                if self._console_over or left <= 0:
                    break
                self._arrived.wait(left)
        kind = Ended if self._console_over else Error
        raise kind(self._missing(f"no {' or '.join(map(repr, patterns))} on the console"))

    def wait_for(self, pattern, timeout=None):
        """expect() of one regular expression; gives the match."""
        return self.expect(pattern, timeout=timeout)[1]

    def skip_output(self):
        """What the console has shown until now is not found any more."""
        with self._arrived:
            self._seen = len(self._output)

    def _missing(self, what):
        if what == 'QMP is closed' or self._console_over:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        why = self._ended() if self.process.poll() is not None else 'in time'
        return f'{what}: {why}\n{self.said()}the last of the console:\n{self.last_output()}'

    def write(self, text):
        """Types on the console, that is: the serial line."""
        self._console.sendall(text.encode())

    # QMP.

    @property
    def events(self):
        """That have come, and that nobody has waited for yet."""
        return self.qmp.events

    def command(self, name, /, **arguments):
        """A QMP command; '_' in the names of arguments stands for '-'. Gives its result."""
        return self.qmp.command(name, **arguments)

    def wait_event(self, name, timeout=None):
        """Until the event has come; takes it, and leaves others in 'events'."""
        return self.qmp.wait_event(name, timeout)

    def hmp(self, line):
        """A line for the monitor for people; gives what it prints."""
        return self.qmp.hmp(line)

    def _hmp_silent(self, line):
        answer = self.hmp(line).strip()
        if answer:
            raise Error(f'{line}: {answer}')

    # Screen and keyboard.

    def screen(self):
        """The text on the screen; in a graphics mode an error, which names the mode."""
        text = self.hmp('screendump')
        if text.startswith('Error: '):
            raise Error(text.strip())
        return text

    def wait_for_screen(self, pattern, timeout=None):
        """Until the text screen shows the regular expression; gives the match."""
        end = self._until(timeout)
        while True:
            try:
                text = self.screen()
            except QmpError:
                raise
            except Error as error:
                if self.process.poll() is not None:
                    raise
                text = str(error)
            match = re.search(pattern, text, re.M)
            if match:
                return match
            if time.monotonic() > end:
                raise Error(f'no {pattern!r} on the screen, which shows\n{text}')
            time.sleep(0.05)

    def press(self, *combinations):
        """Presses and releases each: 'ret', 'ctrl-alt-f1' (the names of QMP's keys)."""
        for keys in combinations:
            self.command('send-key', keys=[{'type': 'qcode', 'data': key}
                                           for key in keys.split('-')])

    def type(self, text):
        """Types on the keyboard, as on a US one."""
        for char in text:
            if char not in _COMBINATIONS:
                raise ValueError(f'{char!r} is not on a US keyboard')
            self.press('-'.join(_COMBINATIONS[char]))

    # The machine.

    def savevm(self, name):
        """Saves the running machine in its disks; Vm(..., '-loadvm', name) goes on from there."""
        self._hmp_silent(f'savevm {name}')

    def loadvm(self, name):
        """Goes back to what was saved. What the console showed stays in output()."""
        self._hmp_silent(f'loadvm {name}')

    def powerdown(self):
        """Presses the power button."""
        self.command('system_powerdown')

    def wait(self, timeout=None):
        """Until the program has ended; gives its exit status."""
        try:
            return self.process.wait(self.patience if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            raise Error(self._missing('the machine has not ended')) from None

    def close(self):
        """Ends it, in order if that does not take long. Gives the exit status."""
        status = None
        if hasattr(self, 'process'):
            if self.process.poll() is None:
                self.process.terminate()
            try:
                status = self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                status = self.process.wait()
        if self._reader:
            self._reader.join(10)  # to the console's end, which comes with the program's
            if self._reader.is_alive():  # another process holds the console
                self._console.shutdown(socket.SHUT_RDWR)
                self._reader.join()
        for connection in (self.qmp, self._console):
            if connection:
                connection.close()
        self._said.close()
        self._folder.cleanup()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
