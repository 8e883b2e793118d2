#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-display curses on a pseudo-terminal. Called with the path of vmm; TAP on stdout."""
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

VMM = os.path.abspath(sys.argv[1])
PATIENCE = 30
LEAVE = b'\x1b[?1049l'  # xterm's way back to the screen that was there before
count = failed = 0


class Machine:
    """vmm on a terminal of 80 x 25, and its qtest socket."""

    def __init__(self, *args, bare=('-nodefaults',), env=()):
        self.work = tempfile.TemporaryDirectory(prefix='curses-')
        path = os.path.join(self.work.name, 'qtest')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(PATIENCE)
        self.terminal, self.side = pty.openpty()
        termios.tcsetwinsize(self.side, (25, 80))
        self.found = termios.tcgetattr(self.side)
        self.process = subprocess.Popen(
            [VMM, '-machine', 'pc', '-accel', 'qtest', *bare, '-m', '64', '-qtest',
             f'unix:{path}', '-display', 'curses', *args], stdin=self.side, stdout=self.side,
            stderr=self.side, start_new_session=True,
            env={**os.environ, 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8', **dict(env)})
        self.output = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        os.close(self.side)
        self.listener.close()
        self.work.cleanup()

    def read(self, until):
        """All output up to a pattern, which is then forgotten."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(until, self.output)):
            if not select.select([self.terminal], [], [], deadline - time.monotonic())[0]:
                raise AssertionError(f'{until} did not come, but {self.output[-1000:]}')
            self.output += os.read(self.terminal, 65536)
        self.output = self.output[match.end():]

    def type(self, keys):
        os.write(self.terminal, keys)

    def qtest(self):
        connection = self.listener.accept()[0]
        connection.settimeout(PATIENCE)
        return connection.makefile('rw')

    def check_given_back(self, status):
        """The program has ended, and the terminal is as it was."""
        assert self.process.wait(timeout=PATIENCE) == status, self.process.returncode
        self.read(re.escape(LEAVE))
        now = termios.tcgetattr(self.side)
        assert now == self.found, f'{now} is not {self.found}'


def test(name):
    def wrap(fn):
        global count, failed
        count += 1
        try:
            fn()
            print(f'ok {count} - {name}', flush=True)
        except (AssertionError, subprocess.SubprocessError, OSError) as e:
            failed += 1
            print(f'not ok {count} - {name}')
            print('\n'.join('# ' + line for line in str(e).splitlines()), flush=True)
    return wrap


@test('a monitor on a text console')
def _():
    with Machine('-monitor', 'vc', '-chardev', 'vc,id=two', '-serial', 'chardev:two') as m:
        m.read(rb'\x1b\[\?1049h')
        m.type(b'\x1b2')
        m.type(b'info mice\r')
        # Monitors come before the other screens of the program.
        m.type(b'\x1b1')
        m.type(b'info mice\r')
        m.read(rb'QEMU PS/2 Mouse')
        m.type(b'help q\x7fquit\r')
        m.read(rb'quit\|q')
        m.type(b'quit\r')
        m.check_given_back(0)


@test('the monitor of a machine that is told nothing more')
def _():
    with Machine('-net', 'none', bare=()) as m:
        m.read(b'the screen')
        m.type(b'\x1b2')
        m.read(b'monitor - type')
        m.type(b'info vnc\r')
        m.read(b'Server: disabled|disabled|[Nn]one')
        m.type(b'quit\r')
        m.check_given_back(0)


@test('keys of the guest')
def _():
    def call(line):
        qtest.write(line + '\n')
        qtest.flush()
        return qtest.readline().split()

    def codes(want):
        got, deadline = [], time.monotonic() + PATIENCE
        while len(got) < len(want):
            if int(call('inb 0x64')[1], 0) & 1:
                got.append(int(call('inb 0x60')[1], 0))
            call('clock_step 1000000')
            assert time.monotonic() < deadline, f'{got} came of {want}'
        assert got == want, f'{got} is not {want}'

    with Machine('-vga', 'std') as m:
        qtest = m.qtest()
        m.read(rb'\x1b\[\?1049h')
        m.read(b'the screen')  # is blank: no BIOS has set a mode
        call('outb 0x64 0x60')
        call('outb 0x60 0x41')
        for keys, want in ((b'a', [0x1e, 0x9e]),
                           (b'A', [0x2a, 0x1e, 0x9e, 0xaa]),
                           (b'\x03', [0x1d, 0x2e, 0xae, 0x9d]),
                           (b'\r', [0x1c, 0x9c]),
                           (b'\x7f', [0x0e, 0x8e]),
                           (b'\x1bOA', [0xe0, 0x48, 0xe0, 0xc8]),
                           (b'\x1bOP', [0x3b, 0xbb]),
                           (b'\x1bx', [0x38, 0x2d, 0xad, 0xb8]),
                           (b'\x1b', [0x01, 0x81])):
            m.type(keys)
            codes(want)


@test('the terminal is given back')
def _():
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGABRT, -6)):
        with Machine('-vga', 'std') as m:
            m.read(b'the screen')
            os.kill(m.process.pid, number)
            m.check_given_back(status)


@test('the terminal is given back after a guest\'s panic')
def _():
    with Machine('-vga', 'std', '-device', 'pvpanic') as m:
        qtest = m.qtest()
        m.read(b'the screen')
        qtest.write('outb 0x505 1\n')
        qtest.flush()
        m.check_given_back(4)  # of a panic


@test('a terminal of another size, and after a suspension')
def _():
    with Machine('-vga', 'std') as m:
        m.read(b'the screen')
        termios.tcsetwinsize(m.side, (10, 40))
        os.kill(m.process.pid, signal.SIGWINCH)
        m.read(b'the screen')
        os.kill(m.process.pid, signal.SIGTSTP)
        m.read(re.escape(LEAVE))
        # Before it has stopped, it would not be woken.
        os.waitid(os.P_PID, m.process.pid, os.WSTOPPED)
        os.kill(m.process.pid, signal.SIGCONT)
        m.read(rb'\x1b\[\?1049h')
        m.read(b'the screen')


@test('one terminal has one user')
def _():
    for args, why in ((['-vga', 'std', '-serial', 'stdio'],
                       b'-display curses: a character device uses the terminal'),
                      (['-vga', 'std', '-monitor', 'stdio'],
                       b'-display curses: a character device uses the terminal'),
                      ([], b'-display curses: there is no screen to show: use -vga std too')):
        with Machine(*args) as m:
            m.read(re.escape(why))
            assert m.process.wait(timeout=PATIENCE) == 2
            assert termios.tcgetattr(m.side) == m.found
    # ncurses keeps memory of a terminal that it does not know: that is no leak of the program's.
    with Machine('-vga', 'std', env=[('TERM', 'no-such-terminal'),
                                     ('ASAN_OPTIONS', 'detect_leaks=0')]) as m:
        m.read(b"ncurses does not know the terminal 'no-such-terminal'")
        assert m.process.wait(timeout=PATIENCE) == 2
        assert termios.tcgetattr(m.side) == m.found
    p = subprocess.run([VMM, '-machine', 'pc', '-accel', 'qtest', '-nodefaults', '-vga', 'std',
                        '-display', 'curses'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert p.returncode == 2 and 'are no terminal' in p.stderr, p.stderr


print(f'1..{count}')
sys.exit(failed > 0)
