#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How runs end from outside of the guest, and by what its consoles say: -deadline, signals, -expect.
Called with the path of vmm; TAP on stdout."""
import os
import re
import signal
import socket
import subprocess
import time

from qmp_client import VMM, finish, test, vm

BOARD = ['-machine', 'pc', '-m', '64', '-nodefaults']
HERE = os.path.dirname(os.path.realpath(__file__))
PORTS = {'serial0': 0x3f8, 'serial1': 0x2f8, 'debugcon': 0xe9}


def say(v, text, console='serial0'):
    """The guest writes it. The program may end before it answers: not by a file, which would try to
    write what is left again."""
    for byte in text.encode('latin-1'):
        try:
            v.sockets[1].sendall(b'outb %#x %#x\n' % (PORTS[console], byte))
            if not v.files[1].readline():
                return
        except OSError:
            return


def ends(v, status):
    assert v.process.wait(30) == status, f'{v.process.returncode}, {v.said()}'


def power_off(v):
    """By the power management's registers, which a BIOS would have set up."""
    for line in ('outl 0xcf8 0x80000b40', 'outl 0xcfc 0x601', 'outl 0xcf8 0x80000b80',
                 'outl 0xcfc 0x1'):
        v.qtest(line)
    v.sockets[1].sendall(b'outw 0x604 0x2000\n')


def refused(words, why):
    p = subprocess.run([VMM, *BOARD, '-accel', 'qtest', '-display', 'none', *words],
                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                       timeout=30, text=True, check=False)
    assert p.returncode == 2 and why in p.stderr, f'{words}: {p.returncode}, {p.stderr}'


@test('-deadline, paused or not')
def _():
    for more in ([], ['-S']):
        with vm([*BOARD, '-deadline', '0.2', *more]) as v:
            ends(v, 10)
            assert '-deadline 0.2: the run has not come to its end' in v.said()


@test('-deadline while the program starts')
def _():
    p = subprocess.run([VMM, *BOARD, '-accel', 'qtest', '-display', 'none', '-deadline', '0.2',
                        '-chardev', 'socket,id=c,host=127.0.0.1,port=0,server=on,wait=on'],
                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                       timeout=30, text=True, check=False)
    assert p.returncode == 10 and 'ended at once' in p.stderr, p


@test('-deadline is a number of seconds')
def _():
    for text in ('0', '-1', '1x', 'inf', '1e3', '', '.', '2000000000', '0x10'):
        refused(['-deadline', text], f'-deadline {text}: expected a number of seconds')


@test('SIGTERM ends the run, or presses the power button')
def _():
    with vm(BOARD) as v:
        v.process.send_signal(signal.SIGTERM)
        ends(v, 0)
    with vm([*BOARD, '-action', 'sigterm=powerdown']) as v:
        v.process.send_signal(signal.SIGTERM)
        v.wait('POWERDOWN')
        power_off(v)
        ends(v, 0)
    with vm([*BOARD, '-action', 'sigterm=powerdown']) as v:
        v.process.send_signal(signal.SIGTERM)
        v.wait('POWERDOWN')
        v.process.send_signal(signal.SIGTERM)
        ends(v, 0)
    with vm([*BOARD, '-action', 'sigterm=powerdown']) as v:
        v.process.send_signal(signal.SIGINT)
        ends(v, 0)


@test('a guest that does not obey the power button is ended')
def _():
    with vm([*BOARD, '-action', 'sigterm=powerdown,grace=0']) as v:
        v.process.send_signal(signal.SIGTERM)
        ends(v, 18)
        assert 'the guest has not powered off' in v.said()
    # One that has, and is kept by shutdown=pause, has obeyed.
    with vm([*BOARD, '-action', 'sigterm=powerdown,grace=1,shutdown=pause']) as v:
        v.process.send_signal(signal.SIGTERM)
        v.wait('POWERDOWN')
        power_off(v)
        ends(v, 0)


@test('-expect, whatever the character device')
def _():
    for device in ('null', 'file:out', 'unix:nobody,server=on,wait=off', 'vc', 'pty', 'stdio'):
        with vm([*BOARD, '-serial', device, '-expect', 'lo+gin: ']) as v:
            say(v, 'host loogin: ')
            ends(v, 0)
    with vm([*BOARD, '-debugcon', 'null', '-expect', 'lo+gin: ,exit=4']) as v:
        say(v, 'host loogin: ', 'debugcon')
        ends(v, 4)
        assert 'the last that the guest wrote to debugcon:\n    host loogin:\n' in v.said()
    with vm([*BOARD, '-device', 'isa-serial', '-expect', 'up']) as v:  # without any device
        say(v, 'up')
        ends(v, 0)


@test('-expect: consoles are texts of their own, and the first match counts')
def _():
    with vm([*BOARD, '-serial', 'null', '-serial', 'null', '-expect', 'ab', '-expect', '^yb$,exit=6',
             '-expect', 'yb\nz,exit=8']) as v:
        say(v, 'a')
        say(v, 'b\r\n', 'serial1')
        say(v, 'yb\r\n', 'serial1')
        ends(v, 6)


@test('-expect with commas and equals signs in the expression')
def _():
    with vm([*BOARD, '-serial', 'null', '-expect', r'a{1,2}b, c=d, e[=]f,exit=6']) as v:
        say(v, 'aab, c=d, e=f')
        ends(v, 6)


@test('-expect: what has not come when the run ends')
def _():
    with vm([*BOARD, '-serial', 'null', '-expect', 'done', '-expect', 'fail,exit=4']) as v:
        say(v, 'don')
        v.process.send_signal(signal.SIGTERM)
        ends(v, 16)
        assert 'before what -expect waits for' in v.said()
    # The end of the run is the end of the text.
    with vm([*BOARD, '-serial', 'null', '-expect', 'done$']) as v:
        say(v, 'done')
        power_off(v)
        ends(v, 0)
    # Only bad news is waited for: it is good that it has not come.
    with vm([*BOARD, '-serial', 'null', '-expect', 'fail,exit=4', '-expect', 'up,ready=1']) as v:
        power_off(v)
        ends(v, 0)


@test('-expect: a deadline stays one')
def _():
    with vm([*BOARD, '-serial', 'null', '-expect', 'done$', '-deadline', '0.5']) as v:
        say(v, 'done')
        ends(v, 10)


@test('-expect ready=: nobody who reads holds up the guest')
def _():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    os.set_inheritable(writing, True)
    p = subprocess.Popen([VMM, *BOARD, '-accel', 'qtest', '-display', 'none', '-qtest', 'stdio',
                          '-serial', 'null', '-expect', f'up,ready={writing}', '-expect', 'end'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         pass_fds=[writing])
    os.close(writing)
    out, err = p.communicate(b''.join(b'outb 0x3f8 %#x\n' % byte for byte in b'up end'), 30)
    assert p.returncode == 0 and b'cannot be told: nobody reads it' in err, (p.returncode, out, err)
    os.close(reading)


@test('-expect: what is refused')
def _():
    for words, why in ((['a,exti=3'], "there is no 'exti=', only exit=, screen= and ready="),
                       (['a,exit=3'], 'odd statuses are those of isa-debug-exit'),
                       (['a,exit=128'], 'a number from 0 to 126'),
                       (['a,exit=2,exit=4'], "'exit=' is given twice"),
                       (['a,ready=77'], 'no open descriptor that can be written to'),
                       (['a,ready=-1'], 'no open descriptor that can be written to'),
                       (['a,screen=on'], 'the machine has no screen'),
                       (['a(b'], 'missing closing parenthesis, at offset 3'), (['(a)\\1'], 'back references'),
                       ([''], 'an empty text matches it'),
                       (['a'] + ['-expect', 'a'] * 64, 'there are 64 at most')):
        refused(['-expect', *words], why)


@test('the tail of a console is text that harms no terminal')
def _():
    with vm([*BOARD, '-serial', 'null', '-expect', 'never']) as v:
        say(v, ''.join(f'line {i}\r\n' for i in range(40)) + '\033[2J\033]0;title\007a\tb\0\177c\xe4 ')
        power_off(v)
        ends(v, 16)
        said = v.said()
        assert 'line 15\n' not in said and '    line 16\n' in said, said
        assert said.endswith('    line 39\n    a bc\ufffd\n'), said


@test('standard descriptors that are closed')
def _():
    server = socket.socket(socket.AF_UNIX)
    server.bind('\0vmm-ending-test-%d' % os.getpid())
    p = subprocess.Popen(['/bin/sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh', VMM, *BOARD, '-accel',
                          'qtest', '-display', 'none', '-serial', 'stdio', '-monitor', 'none'])
    end = time.monotonic() + 30
    while 'vmm' not in os.readlink(f'/proc/{p.pid}/exe') and time.monotonic() < end:
        time.sleep(0.01)
    links = []
    while len(links) < 8 and time.monotonic() < end:  # it has more of them when it runs
        links = os.listdir(f'/proc/{p.pid}/fd')
    assert [os.readlink(f'/proc/{p.pid}/fd/{fd}') for fd in range(3)] == ['/dev/null'] * 3
    p.terminate()
    assert p.wait(30) == 0
    server.close()


@test('docs/harness.md has the statuses that -help has')
def _():
    text = subprocess.run([VMM, '-help'], stdout=subprocess.PIPE, text=True, check=True).stdout
    listed = re.findall(r'^(\d+) +(.*)$', text.split('Exit status:\n')[1], re.M)
    with open(os.path.join(HERE, '../../docs/harness.md'), encoding='utf-8') as file:
        written = re.findall(r'^\| (\d+) \| (.*?) \|$', file.read(), re.M)
    assert listed and listed == written, f'{listed}\n{written}'


@test('QEMU\'s names have QEMU\'s status of a start that failed')
def _():
    for name, status in (('qemu-system-x86_64', 1), ('kvm', 1), ('vmm', 2)):
        p = subprocess.run([name, '-no-such-option'], executable=VMM, stderr=subprocess.DEVNULL,
                           check=False)
        assert p.returncode == status, (name, p.returncode)


finish()
