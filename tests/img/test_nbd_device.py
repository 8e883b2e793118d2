#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-nbd -c and -d with a client of the kernel's that a preloaded library is (fake_nbd.c). Called
with the paths of vmm-img and vmm-nbd; TAP on stdout."""
import os
import signal
import subprocess
import sys
import time

from imgtest import main, run, test

VMM_NBD = os.path.abspath(sys.argv.pop())
# A sanitizer wants to be the first library.
FAKE = {**os.environ, 'LD_PRELOAD': os.environ['FAKE_NBD'],
        'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'}
MIB = 1 << 20


def log():
    try:
        with open('dev.log', encoding='ascii') as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def until(line):
    for _ in range(3000):
        if line in log():
            return
        time.sleep(0.01)
    raise AssertionError(log())


def begin():
    for name in 'dev', 'dev.log', 'dev.refuse', 'pid':
        if os.path.exists(name):
            os.unlink(name)
    with open('dev', 'wb'):
        pass
    with open('r', 'wb') as f:
        f.write(bytes(range(256)) * (MIB // 256))


SET = ['socket 0', 'block-size 512', 'blocks 2048']


@test('a device shows the image until it is disconnected')
def _():
    for options, read_only in (['-r'], 1), (['-x', 'name'], 0):
        begin()
        server = subprocess.Popen([VMM_NBD, '-v', '-f', 'raw', '-c', 'dev'] + options + ['r'],
                                  env=FAKE, stdout=subprocess.PIPE, text=True)
        until('read 512')
        assert server.stdout.readline() == 'NBD device dev is now connected to r\n'
        assert log()[:3] == SET and log()[4] == f'read-only {read_only}', log()
        flags = int(log()[3].split()[1])
        assert flags & 1 and flags >> 1 & 1 == read_only, flags
        with open('dev', 'rb') as f:
            assert f.read() == bytes(range(256)) * 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0 and log()[-1] == 'disconnect 0', log()
        server.stdout.close()


@test('in the background; the end of the connection is the end of the server')
def _():
    begin()
    p = run(VMM_NBD, ['-f', 'raw', '-c', 'dev', '--pid-file', 'pid', 'r'], env=FAKE)
    assert p.returncode == 0, p
    until('read 512')
    with open('pid', encoding='ascii') as f:
        os.kill(int(f.read()), signal.SIGTERM)
    until('disconnect 0')
    p = run(VMM_NBD, ['-d', 'dev'], env=FAKE)
    assert (p.returncode, p.stdout) == (0, 'dev disconnected\n'), p


@test('what cannot be connected')
def _():
    begin()
    p = run(VMM_NBD, ['-f', 'raw', '-c', '/nonexistent/nbd0', 'r'])
    assert p.returncode == 1 and 'Cannot open /nonexistent/nbd0: No such file or directory; the ' \
        "kernel's module nbd makes such devices" in p.stderr, p
    p = run(VMM_NBD, ['-d', '/nonexistent/nbd0'])
    assert p.returncode == 1 and 'Cannot open /nonexistent/nbd0: No such' in p.stderr, p
    p = run(VMM_NBD, ['-f', 'raw', '-c', 'dev', 'r'])
    assert p.returncode == 1 and "Failed to set the socket of 'dev'" in p.stderr, p
    with open('dev.refuse', 'wb'):
        pass
    p = run(VMM_NBD, ['-f', 'raw', '-c', 'dev', 'r'], env=FAKE)
    assert p.returncode == 1 and 'Device or resource busy' in p.stderr, p
    for options in (['-p', '1234'], ['-b', '::'], ['--tls-creds', 'x']):
        p = run(VMM_NBD, ['-f', 'raw', '-c', 'dev'] + options + ['r'])
        assert p.returncode == 1 and log() == [], p


main()
