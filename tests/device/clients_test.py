#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP's clients that come and go, and that do not read: others, and the guest, do not notice. Called
with the path of vmm; TAP on stdout."""
import json
import os
import select
import socket

from qmp_client import finish, test, vm

BOARD = ['-machine', 'pc', '-m', '16', '-nodefaults', '-chardev',
         'socket,path=other,id=o,server=on,wait=off', '-mon', 'chardev=o,mode=control']
CAPABILITIES = b'{"execute":"qmp_capabilities"}\n'
# A client may ask for so much before it reads; what is then kept for it is bounded.
HUNGRY = b'{"execute":"query-qmp-schema"}\n' * 3000
MEMORY_MAX = 64 << 20
# AddressSanitizer keeps what was freed, and tells of leaks itself.
GROWTH_MAX = (256 if 'ASAN_OPTIONS' in os.environ else 8) << 20


def connect(v):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(f'{v.dir}/other')
    return s


def resident(v):
    with open(f'/proc/{v.process.pid}/statm', encoding='ascii') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGESIZE')


def descriptors(v):
    return len(os.listdir(f'/proc/{v.process.pid}/fd'))


def unhindered(v):
    """The other monitor answers, and the guest's accesses are done."""
    assert v.call('query-status')['status'] in ('running', 'prelaunch')
    v.qtest('outl 0xcf8 0x80000000')
    assert v.qtest('inl 0xcfc') == '0x12378086'


@test('1,000 connections, dropped at any point')
def _():
    ends = [b'', b'\n', CAPABILITIES, CAPABILITIES[:9], b'{' * 2000, CAPABILITIES + b'{"execute":"query-',
            CAPABILITIES + b'{"execute":"query-qmp-schema"}\n' * 3,
            CAPABILITIES + b'{"execute":"query-kvm"}\n{"execute":"no"}\n', b'\xff\x00"' * 100]
    with vm(BOARD) as v:
        unhindered(v)
        before = None
        for number in range(1000):
            s = connect(v)
            if number % 3:
                s.recv(10)  # as it reads none, some or all of the greeting
            s.sendall(ends[number % len(ends)])
            if number % 2:
                s.shutdown(socket.SHUT_WR)
            s.close()
            if number % 50 == 0:
                unhindered(v)
            if number == 200:
                before = resident(v), descriptors(v)
        s = connect(v)  # behind all of them: the last one has been dropped
        s.sendall(CAPABILITIES)
        while b'return' not in s.recv(4096):
            pass
        s.close()
        unhindered(v)
        assert resident(v) < before[0] + GROWTH_MAX, (before, resident(v))
        assert descriptors(v) <= before[1] + 1, (before, descriptors(v))


@test('a client that asks, and does not read')
def _():
    with vm(BOARD) as v:
        s = connect(v)
        s.sendall(CAPABILITIES)
        s.setblocking(False)
        before, sent = resident(v), 0
        for _ in range(200):
            unhindered(v)
            if sent < len(HUNGRY) and select.select([], [s], [], 0)[1]:
                sent += s.send(HUNGRY[sent:])
        # Without a limit it would be 3,000 answers of 100 KiB.
        assert resident(v) < before + MEMORY_MAX, (before, resident(v))
        s.setblocking(True)
        reader, answers = s.makefile('rb'), 0
        while answers < 20:  # once it reads, it is answered: nothing was lost
            answers += 'return' in json.loads(reader.readline())
        unhindered(v)
        s.close()
        unhindered(v)


finish()
