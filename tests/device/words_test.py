#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that are taken, and errors that clients compare: as QEMU's. Called with the path of vmm;
TAP on stdout."""
import fcntl
import struct
import subprocess

from qmp_client import VMM, finish, test, vm

BOARD = ['-machine', 'pc', '-nodefaults']
NULL = {'type': 'null', 'data': {}}


def desc(v, command, arguments):
    return v.raw(command, arguments)['error']['desc']


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line})


@test('names of nodes: 31 characters')
def _():
    with vm(BOARD) as v:
        v.call('blockdev-add', {'driver': 'null-co', 'node-name': 'x' * 31})
        got = desc(v, 'blockdev-add', {'driver': 'null-co', 'node-name': 'y' * 32})
        assert got == 'Node name too long', got
        got = desc(v, 'blockdev-add', {'driver': 'null-co', 'node-name': '1' * 32})
        assert got == f"Invalid node-name: '{'1' * 32}'", got


@test('ids of character devices: any over QMP, identifiers elsewhere')
def _():
    with vm(BOARD) as v:
        for name in ['1x', 'a b', 'n']:
            v.call('chardev-add', {'id': name, 'backend': NULL})
            got = desc(v, 'chardev-add', {'id': name, 'backend': NULL})
            assert got == f"Chardev with id '{name}' already exists", got
            v.call('chardev-remove', {'id': name})
        assert "expects an identifier" in hmp(v, 'chardev-add null,id=1x')
        assert 'no id specified' in hmp(v, 'chardev-add null')
        assert '1x' not in [c['label'] for c in v.call('query-chardev')]
    done = subprocess.run([VMM, *BOARD, '-accel', 'qtest', '-chardev', 'null,id=1x'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and 'expects an identifier' in done.stderr, done


@test('ids of drives are identifiers')
def _():
    with vm(BOARD) as v:
        for name in ['1d', 'a/b', '']:
            got = hmp(v, f'drive_add 0 if=none,driver=null-co,id={name}')
            assert "Parameter 'id' expects an identifier" in got, got
        assert hmp(v, 'drive_add 0 if=none,driver=null-co,id=d1.-_') == 'OK\r\n'
    done = subprocess.run([VMM, *BOARD, '-accel', 'qtest', '-drive',
                           'if=none,driver=null-co,id=a b'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and 'expects an identifier' in done.stderr, done


@test('advice is for people: the error of a lock is one line over QMP')
def _():
    with vm(BOARD) as v, open(f'{v.dir}/d', 'wb+') as f:
        f.truncate(512)
        # F_OFD_SETLK of byte 201, which says that the holder of the lock lets nobody write.
        fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 201, 1, 0))
        v.call('blockdev-add', {'driver': 'file', 'node-name': 'n', 'filename': 'd'})
        got = desc(v, 'device_add', {'driver': 'virtio-blk-pci', 'drive': 'n'})
        assert got == 'Failed to get "write" lock', got
        got = hmp(v, 'drive_add 0 if=none,file=d,format=raw,id=d')
        assert 'Is another process using the image [d]?' in got, got


finish()
