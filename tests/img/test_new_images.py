#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What vmm-img makes: a new image holds what it should and nothing else, whatever was in the file
or the device before. An image that cannot be made leaves all files as they were. Called with the
path of vmm-img; TAP on stdout."""
import json
import os
import resource
import shutil
import subprocess

from imgtest import QEMU, VMM, data_file, main, run, same, test

MIB = 1 << 20
QEMU_IO = shutil.which('qemu-io')


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def garbage(name, size):
    with open(name, 'wb') as f:
        f.write(b'\xa5' * size)


class Loop:
    """A block device full of garbage, or None where the host has none to give."""

    def __init__(self, size):
        garbage('device', size)
        self.name = None

    def __enter__(self):
        try:
            p = subprocess.run(['losetup', '-f', '--show', 'device'], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            return None
        self.name = p.stdout.strip() if p.returncode == 0 else None
        return self.name

    def __exit__(self, *_):
        if self.name:
            subprocess.run(['losetup', '-d', self.name], check=True)


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@test('a target that was there before is replaced')
def _():
    data_file('r', 3 * MIB)
    want = content('r')
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    for source in ['-f', 'raw', 'r'], ['-f', 'qcow2', 'q']:
        for options in [], ['-W'], ['-S', '64k'], ['-S', '0'], ['-t', 'none'], ['-m', '1']:
            for size in MIB, 3 * MIB, 5 * MIB:
                garbage('t', size)
                run(VMM, ['convert', *options, '-O', 'raw', *source, 't'], True)
                assert content('t') == want, (source, options, size)
    for shape in '', 'preallocation=metadata', 'preallocation=falloc', 'compat=0.10':
        garbage('t', 4 * MIB)
        run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', shape, 'r', 't'], True)
        run(QEMU, ['check', 't'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 't'], True)


@test('a new image is empty, whatever the file held')
def _():
    for size in MIB // 2, 2 * MIB:
        for options in [], ['-o', 'preallocation=falloc'], ['-o', 'preallocation=full']:
            garbage('t', size)
            run(VMM, ['create', '-q', '-f', 'raw', *options, 't', '1M'], True)
            assert content('t') == bytes(MIB), (size, options)
    for shape in ('', 'preallocation=metadata', 'preallocation=falloc', 'preallocation=full',
                  'compat=0.10,preallocation=metadata', 'cluster_size=512,preallocation=metadata'):
        garbage('t', 4 * MIB)
        run(VMM, ['create', '-q', '-f', 'qcow2', '-o', shape, 't', '1M'], True)
        run(VMM, ['convert', '-f', 'qcow2', '-O', 'raw', 't', 'back'], True)
        assert content('back') == bytes(MIB), shape


@test('a file that is overwritten keeps its name, mode and other links')
def _():
    garbage('t', MIB)
    os.chmod('t', 0o600)
    os.link('t', 'other')
    os.symlink('t', 'soft')
    run(VMM, ['create', '-q', '-f', 'raw', 'soft', '1k'], True)
    assert content('other') == bytes(1024)
    assert os.lstat('soft').st_size == 1 and os.stat('t').st_mode & 0o777 == 0o600


@test('devices show old bytes, and are not believed to be empty')
def _():
    data_file('r', 2 * MIB)
    want = content('r')
    with Loop(4 * MIB) as device:
        if not device:
            return 'no loop devices'
        for options in [], ['-W'], ['-t', 'none']:
            garbage(device, 4 * MIB)
            run(VMM, ['convert', *options, '-f', 'raw', '-O', 'raw', 'r', device], True)
            assert content(device) == want + b'\xa5' * 2 * MIB, options
        for shape in ('', 'preallocation=metadata', 'preallocation=full', 'cluster_size=512',
                      'compat=0.10,preallocation=metadata', 'compat=0.10'):
            garbage(device, 4 * MIB)
            run(VMM, ['create', '-q', '-f', 'qcow2', '-o', shape, device, '1M'], True)
            run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', device, 'back'], True)
            assert content('back') == bytes(MIB), shape
            garbage(device, 4 * MIB)
            run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', shape, 'r', device], True)
            run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', device], True)
        garbage(device, 4 * MIB)
        for arguments in ['create', '-f', 'raw', device, '5M'], [
                'create', '-f', 'qcow2', '-o', 'preallocation=full', device, '4M']:
            assert run(VMM, arguments).returncode == 1
            assert content(device) == b'\xa5' * 4 * MIB, arguments
        for tool in VMM, QEMU:
            p = run(tool, ['resize', '-q', '-f', 'raw', '--shrink', device, '2M'])
            assert p.returncode == 1 and 'Cannot resize device files' in p.stderr, (tool, p.stderr)
        # A raw image on a device that held another format is not taken for that.
        run(VMM, ['create', '-q', '-f', 'qcow2', device, '1M'], True)
        run(VMM, ['create', '-q', '-f', 'raw', device, '1M'], True)
        assert 'file format: raw' in run(VMM, ['info', device], True).stdout


@test('what cannot be made leaves what was there')
def _():
    garbage('base', MIB)
    old = content('base')
    bad = (['create', '-f', 'qcow2', '-o', 'encryption=on', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'encrypt.format=luks', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'cluster_size=3', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'cluster_size=4k,extended_l2=on', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'compat=0.10,lazy_refcounts=on', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'refcount_bits=7', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'data_file=none/x', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'data_file_raw=on', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'data_file=x,compat=0.10', 't', '10M'],
           ['create', '-f', 'qcow2', '-o', 'data_file=x,data_file_raw=on', '-b', 'base', '-F', 'raw', 't'],
           ['create', '-f', 'qcow2', '-o', 'preallocation=some', 't', '10M'],
           ['create', '-f', 'qcow2', '-u', '-b', 'b' * 600, '-F', 'raw', '-o', 'cluster_size=512',
            't', '10M'],
           ['create', '-f', 'qcow2', 't', '7E'],
           ['create', '-f', 'qcow2', '-b', 'none', '-F', 'raw', 't'],
           ['create', '-f', 'raw', '-o', 'preallocation=some', 't', '10M'],
           ['create', '-f', 'raw', 't', '7E'],
           ['convert', '-O', 'qcow2', '-o', 'cluster_size=3', '-f', 'raw', 'base', 't'],
           ['convert', '-O', 'qcow2', '-t', 'bad', '-f', 'raw', 'base', 't'])
    for arguments in bad:
        assert run(VMM, arguments).returncode == 1, arguments
        assert not os.path.exists('t'), arguments
        garbage('t', 1000)
        assert run(VMM, arguments).returncode == 1, arguments
        assert content('t') == b'\xa5' * 1000, arguments
        os.unlink('t')
    # Past the limit of file sizes: that shows only while the image is made.
    for arguments in (['create', '-f', 'raw', 't', '10M'],
                      ['create', '-f', 'qcow2', '-o', 'preallocation=metadata', 't', '10M'],
                      ['create', '-f', 'qcow2', '-o', 'preallocation=full', 't', '10M']):
        assert run(VMM, arguments, preexec_fn=limited(MIB)).returncode == 1, arguments
        assert not os.path.exists('t'), arguments
        garbage('t', 1000)
        assert run(VMM, arguments, preexec_fn=limited(MIB)).returncode == 1, arguments
        assert content('t') == b'\xa5' * 1000, arguments
        os.unlink('t')
    assert content('base') == old


@test('a target that is the source is refused')
def _():
    garbage('r', 100 << 10)
    os.link('r', 'again')
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 'top'], True)
    for arguments in (['-f', 'raw', '-O', 'raw', 'r', 'r'], ['-f', 'raw', '-O', 'qcow2', 'r', 'r'],
                      ['-U', '-f', 'raw', '-O', 'raw', 'r', 'again'],
                      ['-U', '-O', 'raw', 'top', 'r'], ['-U', '-O', 'raw', 'top', './top']):
        assert run(VMM, ['convert', *arguments]).returncode == 1, arguments
        assert content('r') == b'\xa5' * (100 << 10), arguments
    run(QEMU, ['check', 'top'], True)


@test('external data files are made with their images')
def _():
    data_file('r', 3 * MIB)
    for options in ('data_file=d', 'data_file=d,data_file_raw=on', 'data_file=d,preallocation=full',
                    'data_file=d,extended_l2=on', 'data_file=d,data_file_raw=on,cluster_size=4k'):
        garbage('d', 5 * MIB)
        same(['create', '-f', 'qcow2', '-o', options, 't', '3M'])
        run(VMM, ['create', '-q', '-f', 'qcow2', '-o', options, 't', '3M'], True)
        run(QEMU, ['check', '-q', 't'], True)
        assert content('d') == bytes(3 * MIB), options
        run(VMM, ['convert', '-n', '-O', 'qcow2', 'r', 't'], True)
        run(QEMU, ['compare', '-q', 'r', 't'], True)
        if 'raw' in options:
            assert content('d') == content('r'), options
        os.unlink('t')
        os.unlink('d')
        run(VMM, ['convert', '-O', 'qcow2', '-o', options, 'r', 't'], True)
        run(QEMU, ['compare', '-q', 'r', 't'], True)
        os.unlink('t')
    # What fails later leaves no data file either.
    os.unlink('d')
    p = run(VMM, ['create', '-f', 'qcow2', '-o', 'data_file=d,preallocation=full', 't', '10M'],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB)))
    assert p.returncode == 1 and not os.path.exists('d') and not os.path.exists('t'), p


@test('resize --preallocation')
def _():
    for form, options in (('raw', ''), ('qcow2', 'cluster_size=64k'), ('qcow2', 'extended_l2=on'),
                          ('qcow2', 'compat=0.10'), ('qcow2', 'data_file=d'),
                          ('qcow2', 'data_file=d,data_file_raw=on'), ('qcow2', 'refcount_bits=1')):
        for mode in 'metadata', 'falloc', 'full', 'off', 'foo':
            def prepare():
                run(QEMU, ['create', '-q', '-f', form, *(['-o', options] if options else []), 'x',
                           '1M'], True)
                run(QEMU_IO, ['-f', form, '-c', 'write -P 9 0 1M', 'x'], True)
            for size in '9M', '+512', '1M', '512k':
                same(['resize', f'--preallocation={mode}', '-f', form, 'x', size], prepare)
            prepare()
            p = run(VMM, ['resize', '-q', f'--preallocation={mode}', '-f', form, 'x', '9M'])
            if p.returncode:
                continue
            run(QEMU_IO, ['-f', form, '-c', 'read -P 9 0 1M', '-c', 'read -P 0 1M 8M', 'x'], True)
            if form == 'qcow2':
                run(QEMU, ['check', '-q', 'x'], True)
            entries = json.loads(run(QEMU, ['map', '-f', form, '--output=json', 'x'], True).stdout)
            assert (entries[-1]['data'] or form == 'raw') == (mode != 'off' or form == 'raw'), entries
            used = sum(os.stat(f).st_blocks for f in ('x', 'd') if os.path.exists(f)) * 512
            assert (used >= 9 * MIB) == (mode in ('falloc', 'full')), (form, options, mode, used)
        if os.path.exists('d'):
            os.unlink('d')
    # Clusters that were in use before have old bytes.
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'x', '4M'], True)
    run(QEMU_IO, ['-c', 'write -P 9 0 4M', '-c', 'flush', 'x'], True)
    run(QEMU_IO, ['-d', 'unmap', '-c', 'discard 0 4M', 'x'], True)
    with open('x', 'r+b') as f:
        f.seek(5 * 65536)
        f.write(b'old' * MIB)
    for mode in 'metadata', 'falloc', 'full':
        shutil.copy('x', 'y')
        run(VMM, ['resize', '-q', f'--preallocation={mode}', 'y', '8M'], True)
        run(QEMU_IO, ['-c', 'read -P 0 4M 4M', 'y'], True)


@test('a raw image has whole sectors')
def _():
    for size in '1', '511', '512', '513', '1000', '1M':
        for tool in QEMU, VMM:
            run(tool, ['create', '-q', '-f', 'raw', tool[-8:], size], True)
        assert os.stat(QEMU[-8:]).st_size == os.stat(VMM[-8:]).st_size, size
    for size in 1, 1000, 70001:
        garbage('r', size)
        run(VMM, ['convert', '-f', 'raw', '-O', 'raw', 'r', 't'], True)
        assert content('t') == b'\xa5' * size + bytes(-size % 512), size
        for tool in QEMU, VMM:
            run(tool, ['compare', '-f', 'raw', '-F', 'raw', 'r', 't'], True)


@test('a version 2 image stays empty where the source is zero')
def _():
    data_file('r', 3 * MIB)
    sizes = []
    for tool in QEMU, VMM:
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'q', '3M'], True)
        run(tool, ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
        sizes.append(os.stat('q').st_size)
    assert sizes[1] <= sizes[0], sizes
    # With -n, data of the target goes where the source is zero.
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'q', '3M'], True)
    garbage('full', 3 * MIB)
    run(VMM, ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'full', 'q'], True)
    run(VMM, ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)


@test('an error that was printed is an exit status')
def _():
    data_file('r', MIB)
    for limit in range(4096, 2 * MIB, 61440):
        for options in [], ['-t', 'writeback'], ['-c']:
            run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'q', '1M'], True)
            p = run(VMM, ['convert', '-n', *options, '-f', 'raw', '-O', 'qcow2', 'r', 'q'],
                    preexec_fn=limited(limit))
            assert bool(p.stderr) == (p.returncode != 0), (limit, options, p)
            if p.returncode == 0:
                run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
    run(VMM, ['convert', '-c', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    for arguments in (['map', 'q'], ['map', '--output=json', 'q'], ['info', 'q'], ['--help'],
                      ['check', 'q'], ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'],
                      ['create', '-f', 'raw', 'n', '1M'], ['convert', '-p', '-O', 'raw', 'q', 'n'],
                      ['resize', '-f', 'raw', 'n', '2M']):
        with open('/dev/full', 'w') as full:
            p = subprocess.run([VMM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
        assert p.returncode != 0 and p.stderr, (arguments, p)


@test('where data ends is asked for once')
def _():
    strace = shutil.which('strace')
    if not strace:
        return 'strace is not installed'
    garbage('dense', 32 * MIB)
    with open('sparse', 'wb') as f:
        f.truncate(64 << 30)
        for i in range(16):
            f.seek(i << 32)
            f.write(b'x' * 65536)
    # A file with 16 extents takes 32 calls, and compare reads two; the others are for lengths.
    for name, most in ('dense', 20), ('sparse', 100):
        for arguments in (['map', '-f', 'raw', '--output=json', name],
                          ['compare', '-f', 'raw', '-F', 'raw', name, name],
                          ['convert', '-f', 'raw', '-O', 'raw', name, 't'],
                          ['convert', '-f', 'raw', '-O', 'qcow2', '-c', name, 't']):
            p = run(strace, ['-o', 'trace', '-f', '-e', 'trace=lseek', VMM, *arguments],
                    env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
            if 'attach' in p.stderr or 'ptrace' in p.stderr:
                return 'strace may not trace'
            assert p.returncode == 0, (arguments, p)
            calls = content('trace').count(b'lseek')
            assert calls < most, (arguments, calls)


@test('buffers of direct I/O are aligned: none is mapped for a transfer')
def _():
    strace = shutil.which('strace')
    if not strace:
        return 'strace is not installed'
    calls = []
    for size in 8, 64:
        garbage('r', size * MIB)
        p = run(strace, ['-o', 'trace', '-f', '-e', 'trace=mmap', VMM, 'convert', '-t', 'none',
                         '-T', 'none', '-f', 'raw', '-O', 'raw', 'r', 't'],
                env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
        if 'attach' in p.stderr or 'ptrace' in p.stderr:
            return 'strace may not trace'
        if p.returncode and 'O_DIRECT' in p.stderr:
            return 'no direct I/O in this folder'
        assert p.returncode == 0, p
        calls.append(content('trace').count(b'mmap('))
    assert calls[1] < calls[0] + 20, calls


@test('a target that cannot be closed is an exit status')
def _():
    strace = shutil.which('strace')
    if not strace:
        return 'strace is not installed'
    run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1M'], True)
    garbage('full', MIB)
    # Refcounts of freed clusters are written while the image is closed.
    for first in 1, 2, 3:
        run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'full', 'q'], True)
        p = run(strace, ['-o', 'trace', '-e', f'inject=fdatasync:error=EIO:when={first}+',
                         VMM, 'convert', '-n', '-t', 'writeback', '-f', 'raw', '-O', 'qcow2', 'r',
                         'q'], env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
        if 'attach' in p.stderr or 'ptrace' in p.stderr:
            return 'strace may not trace'
        assert bool(p.stderr) == (p.returncode != 0), (first, p)


@test('libqcow reads what is made here')
def _():
    tool = shutil.which('qcowinfo')
    if not tool:
        return 'no qcowinfo (package libqcow-utils)'
    data_file('raw', 7 << 20)
    for options, version in ('compat=0.10', 2), ('compat=1.1', 3), ('cluster_size=4k', 3):
        run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', options, 'raw', 'x'], check=True)
        p = run(tool, ['x'], check=True)
        assert f'version\t\t: {version}' in p.stdout and '(7340032 bytes)' in p.stdout, p.stdout
    run(VMM, ['snapshot', '-c', 'a', 'x'], check=True)
    p = run(tool, ['x'], check=True)
    assert 'Number of snapshots\t: 1' in p.stdout, p.stdout


main()
