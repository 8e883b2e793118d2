#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""measure, dd and bench beside qemu-img's. Called with the path of vmm-img; TAP on stdout."""
import fcntl
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

from imgtest import QEMU, VMM, data_file, main, run, same, test

MIB = 1 << 20


def content(name):
    with open(name, 'rb') as f:
        return f.read()


@test('measure: of an empty disk')
def _():
    for size in '0', '1', '1000', '1M', '123456789', '1G', '100G', '2T':
        same(['measure', '--size', size])
        for o in ('', 'cluster_size=512', 'cluster_size=2M', 'refcount_bits=1', 'refcount_bits=64',
                  'compat=0.10', 'extended_l2=on', 'preallocation=metadata', 'preallocation=falloc',
                  'preallocation=full', 'cluster_size=4k,refcount_bits=64'):
            if size == '2T' and o == 'cluster_size=512':
                continue  # a longer L1 table than images may have
            same(['measure', '-O', 'qcow2', '--size', size] + (['-o', o] if o else []))
            same(['measure', '-O', 'qcow2', '--output=json', '--size', size, '-o',
                  o + ',size=3M' if o else 'size=3M'])


@test('measure: of an image')
def _():
    data_file('r')
    with open('odd', 'wb') as f:
        f.write(os.urandom(70001))
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'r', 'q'], True)
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=0.10', 'r', 'old'], True)
    run(QEMU, ['convert', '-c', '-f', 'raw', '-O', 'qcow2', 'r', 'packed'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'q', '-F', 'qcow2', 'top', '9M'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'marked', '3G'], True)
    for name, granularity in ('a', '64k'), ('a longer name', '512'), ('c', '2M'):
        run(QEMU, ['bitmap', '--add', '-g', granularity, 'marked', name], True)
    for name in 'r', 'odd', 'q', 'old', 'packed', 'top', 'marked':
        for target in (['-O', 'raw'], ['-O', 'qcow2'], ['-O', 'qcow2', '-o', 'cluster_size=512'],
                       ['-O', 'qcow2', '-o', 'cluster_size=2M'],
                       ['-O', 'qcow2', '-o', 'compat=0.10'],
                       ['-O', 'qcow2', '-o', 'preallocation=full'],
                       ['-O', 'qcow2', '-o', 'backing_file=x,backing_fmt=raw']):
            same(['measure', *target, name])
            same(['measure', '--output=json', *target, name])
        same(['measure', '-f', 'raw', '-O', 'qcow2', name])
        same(['measure', '-U', name])
    same(['measure', '--image-opts', 'driver=qcow2,file.filename=q'])


@test('measure: an image that was measured fits')
def _():
    data_file('r')
    for o in 'cluster_size=64k', 'cluster_size=512', 'refcount_bits=64', 'extended_l2=on':
        said = run(VMM, ['measure', '-O', 'qcow2', '-o', o, '-f', 'raw', 'r'], True).stdout
        run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', o, 'r', 'q'], True)
        assert int(said.split()[2]) >= os.path.getsize('q'), (o, said, os.path.getsize('q'))


@test('measure: what is refused')
def _():
    data_file('r', MIB)
    for args in ([], ['r', 'r'], ['--size', '1G', 'r'], ['--size', '-1'], ['--size', 'x'],
                 ['--size', '9E'], ['-O', 'foo', '--size', '1G'],
                 ['-O', 'qcow2', '-o', 'xx=1', 'r'], ['--output=foo', 'r'],
                 ['--size', '1G', '-f', 'raw'], ['--size', '1G', '--image-opts'], ['nonex'],
                 ['--image-opts', '-f', 'raw', 'r'],
                 ['-O', 'qcow2', '-o', 'cluster_size=3', '--size', '1G']):
        same(['measure'] + args)
    p = run(VMM, ['measure', '-O', 'rbd', '--size', '1G'])
    assert p.returncode == 1 and "'rbd' is not in this program yet" in p.stderr, p


@test('dd: ranges')
def _():
    data_file('r', 3 * MIB // 4)
    with open('odd', 'wb') as f:
        f.write(os.urandom(70001))
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'r', 'q'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'q', '-F', 'qcow2', 'top', '1M'], True)
    for name in 'r', 'odd', 'q', 'top':
        for operands in ([], ['bs=256k', 'count=2'], ['bs=256k', 'skip=1'], ['bs=64k', 'skip=3', 'count=9'],
                         ['bs=1000', 'count=3', 'skip=1'], ['bs=777', 'skip=5'], ['count=0'],
                         ['bs=256k', 'skip=100000'], ['bs=256k', 'skip=3'], ['bs=70001', 'skip=1'],
                         ['bs=2147483647'], ['bs=512', 'count=7E'],
                         ['bs=4k', 'bs=1k', 'count=5']):
            for form in ([['-O', 'qcow2']] if len(operands) == 2 and name != 'r' else [[]]):
                for tool in QEMU, VMM:
                    with open('o', 'wb') as f:
                        f.write(b'\xa5' * MIB)
                    how = run(tool, ['dd', *form, f'if={name}', 'of=o', *operands])
                    assert how.returncode == 0, (name, operands, how)
                    if tool == QEMU:
                        said = how.stderr.replace('qemu-img', 'vmm-img')
                        os.rename('o', 'want')
                assert how.stderr == said, (operands, how.stderr, said)
                run(QEMU, ['compare', '-q', 'want', 'o'], True)
                size = [run(QEMU, ['info', '--output=json', n], True).stdout for n in ('want', 'o')]
                size = [next(x for x in s.splitlines() if 'virtual-size' in x) for s in size]
                assert size[0] == size[1], (operands, size)
    run(VMM, ['dd', '--image-opts', 'if=driver=raw,file.filename=r,offset=256k,size=256k', 'of=o'], True)
    assert content('o') == content('r')[MIB // 4:MIB // 2]


@test('dd: what is refused')
def _():
    data_file('r', MIB)
    for args in ([], ['if=r'], ['of=x'], ['if=r', 'of=x', '-x'], ['if=r', 'of=x', 'foo=1'],
                 ['if=r', 'of=x', 'bs=0'], ['if=r', 'of=x', 'bs=x'], ['if=r', 'of=x', 'bs=4G'],
                 ['if=r', 'of=x', 'count=-1'], ['if=r', 'of=x', 'seek=1'], ['if=r', 'of=x', 'junk'],
                 ['-O', 'foo', 'if=r', 'of=x'], ['-f', 'qcow2', 'if=r', 'of=x'],
                 ['if=nonex', 'of=x'], ['if=r', 'of=nonex/x'], ['if=r', 'of=x', '-n'],
                 ['--image-opts', '-f', 'raw', 'if=r', 'of=x']):
        same(['dd'] + args)
        assert not os.path.exists('x'), args


@test('dd: the target is none of the files that are read')
def _():
    data_file('r', MIB)
    want = content('r')
    os.symlink('r', 'link')
    os.link('r', 'hard')
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 'top'], True)
    top = content('top')
    for source, target in (('r', 'r'), ('r', 'link'), ('link', 'hard'), ('top', 'r'), ('top', 'top'),
                           ('top', 'file:hard')):
        for more in [], ['-U']:
            p = run(VMM, ['dd', *more, f'if={source}', f'of={target}'])
            assert p.returncode == 1 and 'the file that is read' in p.stderr, (source, target, p)
    assert content('r') == want and content('top') == top


@test('nothing half-made is left under a new name')
def _():
    with open('r', 'wb') as f:
        f.write(os.urandom(24 * MIB))

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))
    for command in (['dd', 'if=r', 'of=o'], ['dd', '-O', 'qcow2', 'if=r', 'of=o'],
                    ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'o']):
        p = run(VMM, command, preexec_fn=limited)
        assert p.returncode == 1 and 'File too large' in p.stderr, p
        assert not os.path.exists('o'), command
        with open('o', 'wb') as f:
            f.write(b'old')
        p = run(VMM, command, preexec_fn=limited)
        assert p.returncode == 1 and os.path.exists('o'), command
        os.unlink('o')
    # Under nohup the programs would ignore it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # The pipe for its progress is full soon, so the program cannot end before the signal.
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        for there in False, True:
            if there:
                with open('o', 'wb') as f:
                    f.write(b'old')
            out, into = os.pipe()
            size = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
            os.write(into, bytes(size - 200))
            p = subprocess.Popen([VMM, 'convert', '-p', '-f', 'raw', '-O', 'qcow2', 'r', 'o'],
                                 stdout=into)
            while not os.path.exists('o') or os.path.getsize('o') < MIB:
                time.sleep(0.001)
            p.send_signal(number)
            assert p.wait(60) == -number
            os.close(out)
            os.close(into)
            assert os.path.exists('o') == there, (number, there)
            if there:
                os.unlink('o')
    # An image may have several files; one that was there before stays.
    for number, options, data, others in (
            (signal.SIGINT, ['-O', 'qcow2', '-o', 'data_file=o.data'], 'o.data', []),
            (signal.SIGTERM, ['-O', 'vmdk', '-o', 'subformat=monolithicFlat'], 'o-flat', []),
            (signal.SIGTERM, ['-O', 'vmdk', '-o', 'subformat=monolithicFlat'], 'o-flat', ['o'])):
        for name in others:
            with open(name, 'wb') as f:
                f.write(b'old')
        out, into = os.pipe()
        size = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
        os.write(into, bytes(size - 200))
        p = subprocess.Popen([VMM, 'convert', '-p', '-f', 'raw'] + options + ['r', 'o'],
                             stdout=into)
        while not os.path.exists(data) or os.stat(data).st_blocks < 2048:
            time.sleep(0.001)
        p.send_signal(number)
        assert p.wait(60) == -number
        os.close(out)
        os.close(into)
        assert [x for x in ('o', data) if os.path.exists(x)] == others, (options, others)
        for name in others:
            os.unlink(name)


@test('SIGUSR1 asks how far it is')
def _():
    with open('r', 'wb') as f:
        f.write(os.urandom(48 * MIB))
    p = subprocess.Popen([VMM, 'convert', '-f', 'raw', '-O', 'qcow2', 'r', 'o'],
                         stderr=subprocess.PIPE, text=True)
    while not os.path.exists('o'):
        time.sleep(0.001)
    while p.poll() is None:
        p.send_signal(signal.SIGUSR1)
        time.sleep(0.005)
    assert p.returncode == 0, p.returncode
    for line in p.stderr.read().splitlines():
        assert re.fullmatch(r'    \(\d+\.\d\d/100%\)', line), line


@test('convert -p on a terminal says how fast and how long')
def _():
    data_file('r', 8 * MIB)
    master, slave = pty.openpty()
    p = subprocess.Popen([VMM, 'convert', '-p', '-O', 'qcow2', 'r', 'o'], stdout=slave)
    assert p.wait(60) == 0
    os.close(slave)
    said = os.read(master, 65536).decode()
    assert re.search(r'\(100\.00/100%\)  [\d.]+ [KMG]iB/s  \d+\.\d s', said), repr(said)
    same(['convert', '-p', '-O', 'qcow2', 'r', 'o'])


@test('convert -c: as small as by qemu-img, whatever the number of workers')
def _():
    words = [bytes(random.choices(range(97, 123), k=random.randrange(3, 9))) for _ in range(999)]
    with open('r', 'wb') as f:
        for i in range(16):
            # Clusters that become a bit smaller, and such that do not.
            text = b' '.join(random.choices(words, k=MIB // 4))[:MIB // 2]
            f.write(os.urandom(MIB // 2) if i % 4 == 3 else text)
    for form in 'zlib', 'zstd':
        args = ['convert', '-c', '-O', 'qcow2', '-o', f'compression_type={form}', 'r']
        run(QEMU, [*args, 'q'], True)
        for workers in '1', '3', '16':
            run(VMM, [*args, '-m', workers, f'v{workers}'], True)
            run(QEMU, ['check', '-q', f'v{workers}'], True)
            run(QEMU, ['compare', '-q', 'r', f'v{workers}'], True)
            assert os.path.getsize(f'v{workers}') <= os.path.getsize('q') * 1.02, form
        assert content('v1') == content('v3') == content('v16'), form


@test('convert -r, -C, --salvage')
def _():
    data_file('r', 4 * MIB)
    run(QEMU, ['convert', '-O', 'qcow2', '-c', 'r', 'q'], True)
    for args in (['-C', '-c', '-O', 'qcow2', 'r', 'o'], ['-C', '-S', '4k', 'r', 'o'],
                 ['-C', '--salvage', 'r', 'o'], ['-r', '1x', 'r', 'o'], ['-r', '-1', 'r', 'o'],
                 ['-r', '1G', 'r', 'o'], ['-C', 'r', 'o'], ['-C', '-O', 'qcow2', 'q', 'o'],
                 ['-C', '-W', '-O', 'qcow2', 'r', 'o'], ['--salvage', '-O', 'qcow2', 'q', 'o']):
        same(['convert', *args])
        if os.path.exists('o'):
            run(QEMU, ['compare', '-q', 'r', 'o'], True)
            os.unlink('o')
    # A compressed cluster that cannot be read.
    data = bytearray(content('q'))
    l1 = struct.unpack_from('>Q', data, 40)[0]
    l2 = struct.unpack_from('>Q', data, l1)[0] & (1 << 56) - 512
    bad = next(i for i in range(64) if struct.unpack_from('>Q', data, l2 + 8 * i)[0] >> 62 & 1)
    at = struct.unpack_from('>Q', data, l2 + 8 * bad)[0] & (1 << 54) - 1
    data[at:at + 64] = b'\xff' * 64
    with open('q', 'wb') as f:
        f.write(data)
    for args in ([], ['--salvage'], ['-q', '--salvage'], ['-O', 'qcow2', '--salvage']):
        same(['convert', *args, 'q', 'o'])
    run(VMM, ['convert', '-q', '--salvage', 'q', 'o'], True)
    want = bytearray(content('r'))
    want[bad * 65536:(bad + 1) * 65536] = bytes(65536)
    assert content('o') == want


@test('convert: where the file system shares blocks nothing is copied')
def _():
    mkfs = shutil.which('mkfs.xfs')
    if os.geteuid() or not mkfs:
        return 'needs root, and mkfs.xfs (package xfsprogs)'
    with open('fs', 'wb') as f:
        f.truncate(400 * MIB)
    run(mkfs, ['-q', '-m', 'reflink=1', 'fs'], True)
    os.mkdir('m')
    p = run('mount', ['-o', 'loop', 'fs', 'm'])
    if p.returncode:
        return 'cannot mount a file as xfs: ' + p.stderr.strip()
    try:
        with open('m/r', 'wb') as f:
            f.write(os.urandom(48 * MIB + 4096 + 512))
            f.seek(52 * MIB + 8192)
            f.write(os.urandom(3 * MIB + 512))
        for source, form, target in (('r', 'raw', 'a'), ('r', 'qcow2', 'b'), ('b', 'raw', 'c'),
                                     ('b', 'qcow2', 'd')):
            os.sync()
            before = os.statvfs('m').f_bavail
            run(VMM, ['convert', '-O', form, f'm/{source}', f'm/{target}'], True)
            os.sync()
            used = (before - os.statvfs('m').f_bavail) * 4096
            assert used < 4 * MIB, (source, target, used)
            run(QEMU, ['compare', '-q', 'm/r', f'm/{target}'], True)
            if form == 'qcow2':
                run(QEMU, ['check', '-q', f'm/{target}'], True)
        with open('m/r', 'r+b') as f:
            f.write(bytes(MIB))
        run(QEMU, ['compare', '-q', 'm/a', 'm/d'], True)
    finally:
        run('umount', ['m'], True)


@test('bench: what it says')
def _():
    data_file('r', MIB)
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    for args in ([], ['q'], ['q', 'q'], ['nonex'], ['-c', '10', '-d', '2', '-f', 'qcow2', 'q'],
                 ['-c', '0', 'q'], ['-c', '-1', 'q'], ['-c', 'x', 'q'], ['-c', '10k', 'q'],
                 ['-d', 'x', 'q'], ['-s', '3000M', 'q'], ['-S', '3000M', 'q'], ['-o', 'x', 'q'],
                 ['-o', '-1', 'q'], ['-s', '1000', '-c', '3', 'q'], ['-S', '1000', '-c', '3', 'q'],
                 ['-s', '0', '-c', '3', 'q'], ['-o', '64k', '-s', '64k', '-c', '30', 'q'],
                 ['-S', '0', '-c', '3', 'q'], ['-o', '300M', '-c', '3', 'q'],
                 ['-q', '-c', '3', 'q'], ['-n', '-c', '3', 'q'],
                 ['-t', 'none', '-n', '-c', '3', 'q'], ['-i', 'foo', 'q'], ['-t', 'foo', 'q'],
                 ['-i', 'threads', '-c', '100', 'q'], ['-U', '-w', '-c', '3', 'q'],
                 ['-U', '-c', '3', 'q'], ['-c', '3', '--image-opts', 'driver=qcow2,file.filename=q'],
                 ['--flush-interval=1', 'q'], ['-w', '--flush-interval=10', 'q'],
                 ['-w', '--flush-interval=x', 'q'], ['-w', '--pattern=256', 'q'],
                 ['-w', '-c', '99', '-d', '4', '--flush-interval=5', 'q'],
                 ['-w', '-c', '99', '-d', '4', '--flush-interval=5', '--no-drain', 'q'],
                 ['-w', '-c', '99', '-d', '4', '--flush-interval=4', '-t', 'none', 'q'],
                 ['-w', '-c', '99', '-t', 'writethrough', 'q'], ['--foo', 'q']):
        same(['bench'] + args)
    run(QEMU, ['check', 'q'], True)
    assert run(VMM, ['bench', '-d', '0', 'q']).returncode == 1
    p = run(VMM, ['bench', '-n', '-c', '3', '--image-opts', 'driver=qcow2,file.filename=q'])
    assert p.returncode == 1 and 'cache.direct=on' in p.stderr, p


@test('bench: what it writes')
def _():
    for args, where in ((['-c', '16'], range(0, 65536)),
                        (['-c', '7', '-s', '1000', '-S', '3000', '-o', '512'],
                         [512 + 3000 * i + k for i in range(7) for k in range(1000)]),
                        (['-c', '300', '-d', '64', '--flush-interval=64'], range(0, 1 << 18)),
                        (['-c', '300', '-d', '1', '--flush-interval=1', '--no-drain'],
                         range(0, 1 << 18))):
        for form in 'raw', 'qcow2':
            run(VMM, ['create', '-q', '-f', form, 'i', '256k'], True)
            run(VMM, ['bench', '-w', '-f', form, '--pattern=90', *args, 'i'], True)
            run(VMM, ['convert', '-f', form, '-O', 'raw', 'i', 'back'], True)
            want = bytearray(1 << 18)
            for at in where:
                want[at] = 90
            assert content('back') == want, (form, args)


@test('convert: a backing file for a target that is there, or not')
def _():
    data_file('base', 1 << 20)
    data_file('src', 1 << 20, seed=2)
    for target in None, 'base':
        def prepare():
            run('rm', ['-f', 'out'], True)
            if target:
                run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', target, '-F', 'raw', 'out', '1M'],
                    True)
        for words in (['-B', 'base'], ['-B', 'base', '-F', 'raw'], ['-n', '-B', 'base'],
                      ['-n', '-B', 'base', '-F', 'raw'], ['-B', 'nope', '-F', 'raw'],
                      ['-n', '-B', 'base', '-o', 'backing_fmt=raw']):
            same(['convert', '-f', 'raw', '-O', 'qcow2'] + words + ['src', 'out'], prepare)
            if target and '-n' in words and '-o' not in words:
                run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'src', 'out'], True)


main()
