#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2's options for caches, guards and discards beside QEMU's: what is refused, in which words,
and what becomes of the image. Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import os
import random
import shutil
import sys

from imgtest import FEWER, QEMU, VMM, main, run, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')
CLUSTER = 65536
COPIED = 1 << 63


def read_at(path, offset, count=8):
    with open(path, 'rb') as f:
        f.seek(offset)
        return int.from_bytes(f.read(count), 'big')


def write_at(path, offset, value):
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(value.to_bytes(8, 'big'))


def is_hole(path, offset):
    with open(path, 'rb') as f:
        try:
            return os.lseek(f.fileno(), offset, os.SEEK_DATA) > offset
        except OSError:
            return True


def options(name, extra):
    return ','.join(['driver=qcow2', f'file.filename={name}'] + ([extra] if extra else []))


def io(tool, name, extra, *lines):
    args = ['--image-opts', options(name, extra)]
    for line in lines:
        args += ['-c', line]
    return run(tool, args)


def create(name, size='64M', opts=''):
    run(QEMU, ['create', '-q', '-f', 'qcow2'] + (['-o', opts] if opts else []) + [name, size], True)


REFUSED = '''
cache-size=1M,l2-cache-size=512k,refcount-cache-size=512k
cache-size=1M,l2-cache-size=2M
cache-size=1M,refcount-cache-size=2M
l2-cache-entry-size=1000
l2-cache-entry-size=256
l2-cache-entry-size=128k
'''


@test('sizes that make no sense are refused in the same words')
def _():
    create('a')
    for extra in REFUSED.split():
        said = []
        for tool in (VMM_IO,) if FEWER else (QEMU_IO, VMM_IO):
            p = io(tool, 'a', extra, 'read 0 512')
            assert p.returncode == 1, f'{tool} {extra}: {p.returncode} {p.stdout}'
            said.append(p.stderr.rsplit(': ', 1)[1])
        assert len(set(said)) == 1, f'{extra}: {said}'


@test('wrong values are refused, and named')
def _():
    create('a')
    for extra, part in (('cache-clean-interval=x', 'cache-clean-interval'),
                        ('overlap-check=some', 'some'),
                        ('overlap-check.template=some', 'some'),
                        ('overlap-check.main=on', 'main'),
                        ('overlap-check.active-l1=2', 'active-l1'),
                        ('overlap-check.main-header=2', 'main-header'),
                        ('pass-discard-other=2', 'pass-discard-other')):
        p = io(VMM_IO, 'a', extra, 'read 0 512')
        assert p.returncode == 1 and part in p.stderr, f'{extra}: {p.returncode} {p.stderr}'


@test('caches of each size and shape read and write the same')
def _():
    for opts in '', 'cluster_size=512', 'cluster_size=2M', 'extended_l2=on':
        for extra in ('cache-size=1', 'cache-size=40M', 'cache-size=1M,l2-cache-size=1M',
                      'cache-size=1M,refcount-cache-size=512', 'l2-cache-entry-size=512',
                      'l2-cache-entry-size=512,l2-cache-size=4k', 'cache-clean-interval=0',
                      'cache-clean-interval=1'):
            create('a', '64M', opts)
            writes = [f'write -P {i + 1} {i * 7}M 100k' for i in range(9)]
            p = io(VMM_IO, 'a', extra, *writes, *[w.replace('write', 'read') for w in writes])
            assert p.returncode == 0, f'{opts} {extra}: {p.stdout} {p.stderr}'
            p = io(QEMU_IO, 'a', '', *[w.replace('write', 'read') for w in writes])
            assert p.returncode == 0 and 'failed' not in p.stdout, f'{opts} {extra}: {p.stdout}'
            run(QEMU, ['check', '-q', 'a'], True)


def guarded_places(name):
    """An image in which each kind of metadata is, and where."""
    create(name)
    io(QEMU_IO, name, '', 'write 0 64k', 'write 1M 64k')
    run(QEMU, ['snapshot', '-c', 's0', name], True)
    io(QEMU_IO, name, '', 'write 0 64k', 'write 1M 64k')
    run(QEMU, ['bitmap', '--add', name, 'b0'], True)
    l1, table, snapshots = read_at(name, 40), read_at(name, 48), read_at(name, 64)
    mask = 0x00fffffffffffe00
    old_l1 = read_at(name, snapshots)
    at = 104 if read_at(name, 100, 4) <= 104 else read_at(name, 100, 4)
    while read_at(name, at, 4) != 0x23852875:
        at += 8 + (read_at(name, at + 4, 4) + 7) // 8 * 8
    return {'active-l1': l1, 'active-l2': read_at(name, l1) & mask,
            'refcount-table': table, 'refcount-block': read_at(name, table) & mask,
            'snapshot-table': snapshots, 'inactive-l1': old_l1,
            'inactive-l2': read_at(name, old_l1) & mask,
            'bitmap-directory': read_at(name, at + 8 + 16)}


@test('overlap-check says what a write may not hit')
def _():
    places = guarded_places('image')
    l2 = places['active-l2']
    for guard, place in places.items():
        for extra, same in (('overlap-check=none', True), ('overlap-check=constant', True),
                            ('overlap-check=cached', guard != 'inactive-l2'),
                            ('overlap-check=all', True), ('', guard != 'inactive-l2'),
                            (f'overlap-check.template=none,overlap-check.{guard}=on', True),
                            (f'overlap-check.template=all,overlap-check.{guard}=off', True),
                            (f'overlap-check.{guard}=on', True),
                            (f'overlap-check.{guard}=off', True)):
            ended = []
            for tool in (VMM_IO,) if FEWER else (QEMU_IO, VMM_IO):
                shutil.copy('image', 'a')
                # The guest's second MiB is where this metadata is.
                write_at('a', l2 + 16 * 8, place | COPIED)
                p = io(tool, 'a', extra, 'write -P 5 1M 64k')
                ended.append(p.returncode)
            assert not same or len(set(ended)) == 1, f'{guard} {extra}: {ended}'
            if extra.endswith('=off') or extra.endswith('=none'):
                assert ended[-1] == 0, f'{guard} {extra}: {ended}'
            elif not extra or extra.endswith(('=on', '=all', '=cached')):
                assert ended[-1] == 1, f'{guard} {extra}: {ended}'


@test("the guest's discards go down as pass-discard-request says")
def _():
    for discard in 'ignore', 'unmap':
        for extra, goes in (('', discard == 'unmap'), ('pass-discard-request=on', None),
                            ('pass-discard-request=off', False)):
            holes = []
            for tool in QEMU_IO, VMM_IO:
                create('a')
                io(tool, 'a', '', 'write 0 64k')
                host = read_at('a', read_at('a', read_at('a', 40)) & ~COPIED) & ~COPIED
                assert not is_hole('a', host)
                p = io(tool, 'a', ','.join(filter(None, [f'discard={discard}', extra])),
                       'discard 0 64k', 'flush', 'flush')
                assert p.returncode == 0, p.stderr
                holes.append(is_hole('a', host))
                run(QEMU, ['check', '-q', 'a'], True)
            assert holes[0] == holes[1], f'{discard} {extra}: {holes}'
            assert goes is None or holes[1] == goes, f'{discard} {extra}: {holes}'


@test('zeroes and discards of a disk whose data is in a file of its own')
def _():
    rnd = random.Random(11)
    for shape in 'cluster_size=64k', 'cluster_size=4k', 'extended_l2=on', 'data_file_raw=on':
        raw = shape == 'data_file_raw=on'
        backing = [] if raw else ['-b', 'base', '-F', 'raw']
        with open('base', 'wb') as f:
            f.write(b'\x09' * (2 << 20))
        lines = []
        for _ in range(40):
            at = rnd.randrange(0, 2 << 11) * 512
            n = min(rnd.choice([512, 4096, 136 * 512, 300 << 10]), (2 << 20) - at)
            lines.append(rnd.choice([f'write -P {rnd.randrange(1, 200)} {at} {n}',
                                     f'write -z {at} {n}', f'write -zu {at} {n}',
                                     f'discard {at} {n}']))
        seen = []
        for io in filter(None, (QEMU_IO, VMM_IO)):
            run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', f'{shape},data_file=d', *backing, 'i',
                       '2M'], True)
            p = run(io, ['-d', 'unmap', '-f', 'qcow2', *(w for line in lines for w in ('-c', line)),
                         'i'], True)
            assert 'failed' not in p.stdout + p.stderr, p
            run(QEMU, ['check', '-q', 'i'], True)
            run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', 'i', 'out'], True)
            with open('out', 'rb') as f:
                seen.append(f.read())
            if raw:  # the file shows the disk by itself
                with open('d', 'rb') as f:
                    assert f.read() == seen[-1], (io, lines)
            if io == VMM_IO:
                run(VMM_IO, ['-d', 'unmap', '-f', 'qcow2', '-c', 'discard 0 2M', 'i'], True)
                assert is_hole('d', 0), shape
                run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', 'i', 'out'], True)
                with open('out', 'rb') as f:
                    assert not any(f.read()), shape
        assert seen[0] == seen[-1], (shape, lines)


@test('zeroes hide the backing file of a raw data file, which only other programs make')
def _():
    with open('base', 'wb') as f:
        f.write(b'\x09' * (2 << 20))
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=d', '-b', 'base', '-F', 'raw', 'i',
               '2M'], True)
    write_at('i', 88, 2)  # the autoclear feature that says that the data file is raw
    p = run(VMM_IO, ['-f', 'qcow2', '-c', 'write -P 5 0 64k', '-c', 'write -z 32k 200k',
                     '-c', 'write -zu 1M 64k', 'i'], True)
    assert 'failed' not in p.stdout + p.stderr, p
    for tool in filter(None, (QEMU_IO, VMM_IO)):
        p = run(tool, ['-r', '-f', 'qcow2', '-c', 'read -P 5 0 32k', '-c', 'read -P 0 32k 200k',
                       '-c', 'read -P 9 300k 100k', '-c', 'read -P 0 1M 64k', 'i'], True)
        assert 'failed' not in p.stdout + p.stderr, (tool, p)


@test("a deleted snapshot's space goes down as pass-discard-snapshot says")
def _():
    for extra, goes in (('', True), ('pass-discard-snapshot=on', True),
                        ('pass-discard-snapshot=off', False),
                        ('discard=unmap,pass-discard-snapshot=off', False)):
        holes = []
        for tool, writer in (QEMU, QEMU_IO), (VMM, VMM_IO):
            create('a')
            io(writer, 'a', '', 'write 0 64k')
            host = read_at('a', read_at('a', read_at('a', 40)) & ~COPIED) & ~COPIED
            run(QEMU, ['snapshot', '-c', 's0', 'a'], True)
            io(writer, 'a', '', 'write 0 64k')
            run(tool, ['snapshot', '--image-opts', '-d', 's0', options('a', extra)], True)
            holes.append(is_hole('a', host))
            run(QEMU, ['check', '-q', 'a'], True)
        assert holes == [goes, goes], f'{extra}: {holes}'


@test("an old table's space goes down as pass-discard-other says")
def _():
    for extra, goes in (('', False), ('pass-discard-other=on', True),
                        ('pass-discard-other=off', False)):
        holes = []
        for tool in QEMU, VMM:
            create('a', '1G', 'cluster_size=4k')
            old = read_at('a', 40)
            write_at('a', old, 0)  # an L1 table that was never written may be a hole already
            assert not is_hole('a', old)
            run(tool, ['resize', '--image-opts', options('a', extra), '3G'], True)
            assert read_at('a', 40) != old
            holes.append(is_hole('a', old))
            run(QEMU, ['check', '-q', 'a'], True)
        assert holes == [goes, goes], f'{extra}: {holes}'


main()
