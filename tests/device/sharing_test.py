#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs on a file system that shares blocks (XFS in a file, mounted): what they copy takes no space,
and is right. Called with the paths of vmm and vmm-img; TAP on stdout."""
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile

from qmp_client import finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
MIB = 1 << 20
SIZE = 24 * MIB + 512
DATA = 16 * MIB  # in the disk's first part
FS_IOC_FIEMAP, FIEMAP_SYNC, FIEMAP_SHARED = 0xc020660b, 1, 0x2000


def run(*args):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def must(*args):
    p = run(*args)
    assert p.returncode == 0, (args, p.stdout)
    return p.stdout


def missing():
    """What this machine has not; None: nothing."""
    if os.geteuid() or not shutil.which('mkfs.xfs'):
        return 'needs root, and mkfs.xfs (package xfsprogs)'
    with tempfile.TemporaryDirectory() as work:
        try:
            with xfs(work):
                return None
        except AssertionError as e:
            return f'cannot mount a file as xfs: {e}'


@contextlib.contextmanager
def xfs(work):
    with open(f'{work}/fs', 'wb') as f:
        f.truncate(400 * MIB)
    must('mkfs.xfs', '-q', '-m', 'reflink=1', f'{work}/fs')
    os.mkdir(f'{work}/m')
    must('mount', '-o', 'loop', f'{work}/fs', f'{work}/m')
    try:
        yield f'{work}/m'
    finally:
        must('umount', f'{work}/m')


def write_data(path, size=SIZE):
    with open(path, 'wb') as f:
        f.write(os.urandom(DATA))
        f.truncate(size - 512)
        f.seek(size - 512)
        f.write(b'z' * 512)


@contextlib.contextmanager
def board(work, overlay=False):
    """A machine with a disk 'd', in a file with data; or with an overlay above that."""
    with xfs(work) as m:
        write_data(f'{m}/src')
        drive = f'file={m}/src,format=raw'
        if overlay:
            must(VMM_IMG, 'create', '-q', '-f', 'qcow2', '-b', f'{m}/src', '-F', 'raw', f'{m}/top')
            drive = f'file={m}/top,format=qcow2'
        with vm(['-S', '-machine', 'pc', '-m', '64', '-nodefaults', '-drive',
                 drive + ',if=none,id=d,node-name=n,cache=writeback', '-device',
                 'virtio-blk-pci,drive=d']) as v:
            yield m, v


def hmp(v, line):
    said = v.call('human-monitor-command', {'command-line': line})
    assert 'rror' not in said and 'denied' not in said, f'{line}: {said}'


def own_space(path):
    """Bytes of the file's blocks that no other file has; those behind its end are put by."""
    own = at = 0
    size = os.stat(path).st_size
    with open(path, 'rb') as f:
        while at < size:
            asked = struct.pack('=QQLLLL', at, size - at, FIEMAP_SYNC, 0, 1, 0) + bytes(56)
            got = fcntl.ioctl(f, FS_IOC_FIEMAP, asked)
            if not struct.unpack_from('=L', got, 20)[0]:
                break
            start, _, length = struct.unpack_from('=QQQ', got, 32)
            if not struct.unpack_from('=L', got, 72)[0] & FIEMAP_SHARED:
                own += min(start + length, size) - max(start, at)
            at = start + length
    return own


def ended(v, event='BLOCK_JOB_COMPLETED'):
    v.wait(event)
    end = [e['data'] for e in v.events if e['event'] == event]
    assert len(end) == 1 and 'error' not in end[0], end
    assert end[0]['offset'] == end[0]['len'], end
    v.events.clear()


def backup(v, m, name, form, **perf):
    args = {'job-id': 'j', 'device': 'd', 'target': f'{m}/{name}', 'format': form, 'sync': 'full'}
    if perf:
        args['x-perf'] = {k.replace('_', '-'): x for k, x in perf.items()}
    v.call('drive-backup', args)
    ended(v)


def mirror(v, m, name, form, complete=False, mode='absolute-paths', writes=()):
    v.call('drive-mirror', {'job-id': 'j', 'device': 'd', 'target': f'{m}/{name}', 'format': form,
                            'sync': 'full', 'mode': mode})
    for line in writes:
        hmp(v, line)
    v.wait('BLOCK_JOB_READY')
    v.events.clear()
    if complete:
        v.call('block-job-complete', {'device': 'j'})
    else:
        v.call('block-job-cancel', {'device': 'j'})
    ended(v)


def same(m, a, b, form='raw', a_form='raw'):
    must(VMM_IMG, 'compare', '-U', '-q', '-f', a_form, '-F', form, f'{m}/{a}', f'{m}/{b}')


SKIP = missing()
WRITES = ['qemu-io d "write -P 7 1M 64k"', 'qemu-io d "write -P 8 5M 4k"',
          'qemu-io d "write -z 7M 1M"', 'qemu-io d "write -P 9 20M 8k"']


@test('backup and mirror: nothing is copied', SKIP)
def _():
    with tempfile.TemporaryDirectory() as work, board(work) as (m, v):
        for form in 'raw', 'qcow2':
            backup(v, m, 'b.' + form, form)
            mirror(v, m, 'm.' + form, form)
            for name in 'b.' + form, 'm.' + form:
                assert own_space(f'{m}/{name}') < 2 * MIB, (name, own_space(f'{m}/{name}'))
            same(m, 'src', 'b.' + form, form)
            same(m, 'src', 'm.' + form, form)
        for i, line in enumerate(WRITES):
            hmp(v, line)
            shutil.copyfile(f'{m}/src', f'{m}/now')  # shared or not, it is what the disk has
            mirror(v, m, f'again{i}', 'raw')
            same(m, 'now', f'again{i}')
        same(m, 'b.raw', 'b.qcow2', 'qcow2')  # the guest has not changed these


@test('backup: use-copy-range=off copies, on does not', SKIP)
def _():
    with tempfile.TemporaryDirectory() as work, board(work) as (m, v):
        backup(v, m, 'off', 'raw', use_copy_range=False)
        assert own_space(f'{m}/off') >= DATA, own_space(f'{m}/off')
        same(m, 'src', 'off')
        backup(v, m, 'on', 'raw', use_copy_range=True)
        assert own_space(f'{m}/on') < 2 * MIB, own_space(f'{m}/on')
        same(m, 'src', 'on')


@test('mirror: the guest writes meanwhile, and goes on in the copy', SKIP)
def _():
    for form in 'raw', 'qcow2':
        with tempfile.TemporaryDirectory() as work, board(work) as (m, v):
            shutil.copyfile(f'{m}/src', f'{m}/was')
            mirror(v, m, 'to', form, complete=True, writes=WRITES)
            same(m, 'src', 'to', form)
            hmp(v, 'qemu-io d "write -P 5 0 2M"')
            hmp(v, 'qemu-io d "flush"')
            hmp(v, 'qemu-io d "read -P 5 0 2M"')
            hmp(v, 'qemu-io d "read -P 8 5M 4k"')
            with open(f'{m}/src', 'rb') as a, open(f'{m}/was', 'rb') as b:
                assert a.read(MIB) == b.read(MIB)  # the old disk


@test('mirror: a target that has its space keeps it', SKIP)
def _():
    with tempfile.TemporaryDirectory() as work, board(work) as (m, v):
        must('fallocate', '-l', str(SIZE), f'{m}/t')
        mirror(v, m, 't', 'raw', mode='existing')
        assert own_space(f'{m}/t') >= DATA, own_space(f'{m}/t')
        same(m, 'src', 't')


@test('stream: nothing is copied', SKIP)
def _():
    with tempfile.TemporaryDirectory() as work, board(work, overlay=True) as (m, v):
        shutil.copyfile(f'{m}/src', f'{m}/was')
        v.call('block-stream', {'job-id': 'j', 'device': 'd'})
        ended(v)
        assert own_space(f'{m}/top') < 2 * MIB, own_space(f'{m}/top')
        same(m, 'was', 'top', 'qcow2')
        must(VMM_IMG, 'check', '-U', '-q', f'{m}/top')


@test('commit: into the backing file, twice', SKIP)
def _():
    with tempfile.TemporaryDirectory() as work, board(work, overlay=True) as (m, v):
        for byte in 3, 4:
            hmp(v, f'qemu-io d "write -P {byte} 18M 4M"')
            hmp(v, f'qemu-io d "write -P {byte} 3M 100k"')
            hmp(v, 'commit d')
            hmp(v, f'qemu-io d "read -P {byte} 18M 4M"')
            hmp(v, f'qemu-io d "read -P {byte} 3M 100k"')
            with open(f'{m}/src', 'rb') as f:
                f.seek(18 * MIB)
                assert f.read(4 * MIB) == bytes([byte]) * 4 * MIB
                f.seek(3 * MIB)
                assert f.read(100 << 10) == bytes([byte]) * (100 << 10)


finish()
