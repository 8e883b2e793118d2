#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent dirty bitmaps: beside qemu-img, against a model, and read by a parser of its own.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

from imgtest import QEMU, VMM, data_file, main, run, same, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')
MIB = 1 << 20
SIZE = 40 * MIB + 512


def stored(name):
    """The bitmaps of an image: name -> (granularity, flags, the set of dirty granules)."""
    with open(name, 'rb') as f:
        data = f.read()
    cluster = 1 << struct.unpack_from('>I', data, 20)[0]
    size, = struct.unpack_from('>Q', data, 24)
    autoclear, = struct.unpack_from('>Q', data, 88)
    at, = struct.unpack_from('>I', data, 100)
    place = None
    while True:
        kind, length = struct.unpack_from('>II', data, at)
        if not kind:
            break
        if kind == 0x23852875:
            place = struct.unpack_from('>IIQQ', data, at + 8)
        at += 8 + (length + 7 & ~7)
    if not place:
        assert not autoclear & 1, 'the bit of the bitmaps is set without their extension'
        return {}
    assert autoclear & 1, 'an extension without its bit'
    count, _, dir_size, at = place
    end = at + dir_size
    found = {}
    for _ in range(count):
        offset, entries, flags, kind, bits, length, extra = struct.unpack_from('>QIIBBHI', data, at)
        title = data[at + 24 + extra:at + 24 + extra + length].decode()
        at += 24 + extra + length + 7 & ~7
        granules = -(-size // (1 << bits))
        assert kind == 1 and entries == -(-(-(-granules // 8)) // cluster)
        dirty = set()
        for i in range(entries):
            entry, = struct.unpack_from('>Q', data, offset + 8 * i)
            first = i * cluster * 8
            if entry & ~511:
                chunk = data[entry & ~511:(entry & ~511) + cluster]
                dirty |= {first + 8 * k + b for k, byte in enumerate(chunk) if byte
                          for b in range(8) if byte >> b & 1}
            elif entry & 1:
                dirty |= set(range(first, min(first + cluster * 8, granules)))
        assert all(g < granules for g in dirty)
        found[title] = (1 << bits, flags, dirty)
    assert at == end
    return found


@test('words are those of qemu-img')
def _():
    def prepare(*names):
        run(QEMU, ['create', '-q', '-f', 'qcow2', 'c', '10M'], True)
        run(QEMU, ['create', '-q', '-f', 'qcow2', 'other', '11M'], True)
        for image, name in (('c', 'b0'), ('c', 'b1'), ('other', 'o')):
            run(QEMU, ['bitmap', '--add', image, name], True)
        with open('r', 'wb') as f:
            f.truncate(MIB)
    for line in ('', 'c', 'c b0', '--add c b0', '--remove c no', '--add -g 100 c x',
                 '--add -g 1k c', '--merge no c b0', '--merge b1 c b0', '--merge b0 c no',
                 '--merge o -b other c b0', '--merge o -b other -F raw c b0', '--clear c b0',
                 '--merge o -b nonex c b0', '--enable c b1', '-g 4k --clear c b0',
                 '--disable --enable c b0', '-F qcow2 --clear c b0',
                 '-b other --clear c b0', '--add --disable c x', '--add --enable c x',
                 '--remove --add c b0', '--add --clear --remove c x', '--add nonex x',
                 '--add -g 2G c x', '--add -g 0 c x', '--add -g x c x', '--foo c b0'):
        same(['bitmap', *line.split()], prepare)
    prepare()
    same(['info', 'c'])
    same(['info', '--output=json', 'c'])
    for args in (['--bitmaps', 'r', 'o'], ['--bitmaps', '-O', 'raw', 'c', 'o'],
                 ['--skip-broken-bitmaps', 'c', 'o'], ['--bitmaps', '-O', 'qcow2', 'c', 'c', 'o'],
                 ['--bitmaps', '-O', 'qcow2', 'c', 'o']):
        same(['convert', *args])
    p = run(VMM, ['bitmap', '--add', '-f', 'raw', 'r', 'x'])
    assert p.returncode == 1 and "Can't store persistent bitmaps to" in p.stderr, p
    for bad in (['--add', '-g', '4G', 'c', 'x'], ['--add', 'c', 'x' * 1024]):
        p = run(VMM, ['bitmap', *bad])
        assert p.returncode == 1 and "Can't make bitmap" in p.stderr, p
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'c', '10M'], True)
    p = run(VMM, ['bitmap', '--add', 'c', 'x'])
    assert p.returncode == 1 and 'qcow2 v2 files' in p.stderr, p


class Model:
    """What an image's bitmaps should be."""

    def __init__(self, size):
        self.size = size
        self.maps = {}

    def write(self, at, length):
        for granularity, flags, dirty in self.maps.values():
            if flags & 2:
                dirty |= set(range(at // granularity, -(-(at + length) // granularity)))

    def change(self, name):
        """Picks a change of a bitmap: the arguments of 'bitmap'."""
        kind = random.choice(('add', 'add', 'remove', 'clear', 'enable', 'disable', 'merge'))
        there = name in self.maps
        if kind == 'add' and not there:
            granularity = random.choice((512, 4096, 65536, 1 << 20, 1 << 31))
            disabled = random.random() < .3
            self.maps[name] = (granularity, 0 if disabled else 2, set())
            return ['--add', '-g', str(granularity)] + ['--disable'] * disabled
        if not there or kind == 'add':
            return None
        granularity, flags, dirty = self.maps[name]
        if kind == 'remove':
            del self.maps[name]
        elif kind == 'clear':
            dirty.clear()
        elif kind in ('enable', 'disable'):
            self.maps[name] = (granularity, 2 if kind == 'enable' else 0, dirty)
        else:
            source = random.choice(list(self.maps))
            from_granularity, _, bits = self.maps[source]
            for g in list(bits):
                first = g * from_granularity
                last = min(first + from_granularity, self.size) - 1
                dirty |= set(range(first // granularity, last // granularity + 1))
            return ['--merge', source]
        return ['--' + kind]


@test('against a model, by both programs in turn')
def _():
    for options in 'cluster_size=64k', 'cluster_size=512', 'cluster_size=2M,lazy_refcounts=on', \
            'extended_l2=on,refcount_bits=1':
        random.seed(options)
        run(VMM, ['create', '-q', '-f', 'qcow2', '-o', options, 'i', str(SIZE)], True)
        model = Model(SIZE)
        for _ in range(24):
            if random.random() < .6:
                name = random.choice('abc')
                change = model.change(name)
                if change:
                    run(random.choice((QEMU, VMM, VMM)), ['bitmap', *change, 'i', name], True)
            elif random.random() < .9:
                commands = []
                for _ in range(random.randrange(1, 4)):
                    at, length = (random.randrange(SIZE // 512) * 512 for _ in range(2))
                    length = min(length % (256 * 1024) + 512, SIZE - at)
                    commands += ['-c', f'{random.choice(("write", "write -z", "discard"))} '
                                 f'{at} {length}']
                    model.write(at, length)
                run(random.choice((QEMU_IO, VMM_IO, VMM_IO)), ['-d', 'unmap', '-f', 'qcow2', *commands,
                                                              'i'], True)
            got = stored('i')
            assert got == model.maps, (options, got, model.maps)
            run(QEMU, ['check', '-q', 'i'], True)


@test('resized with the disk, and copied by convert')
def _():
    run(VMM, ['create', '-q', '-f', 'qcow2', 'i', '3M'], True)
    for name, granularity in ('a', '4k'), ('b', '1M'):
        run(VMM, ['bitmap', '--add', '-g', granularity, 'i', name], True)
    run(VMM_IO, ['-c', 'write 1M 8k', '-c', 'write 2M 64k', 'i'], True)
    run(VMM, ['resize', '-q', '--shrink', 'i', '2M'], True)
    assert stored('i') == {'a': (4096, 2, {256, 257}), 'b': (MIB, 2, {1})}
    run(VMM, ['resize', '-q', 'i', '2101248'], True)
    assert stored('i') == {'a': (4096, 2, {256, 257, 512}), 'b': (MIB, 2, {1, 2})}
    for tool in QEMU, VMM:
        run(tool, ['convert', '--bitmaps', '-O', 'qcow2', 'i', 'o'], True)
        assert stored('o') == stored('i'), tool
        assert list(stored('o')) == list(stored('i')), tool
    same(['measure', '-O', 'qcow2', '--output=json', 'i'])


@test('a process that died makes its bitmaps inconsistent')
def _():
    run(VMM, ['create', '-q', '-f', 'qcow2', 'i', '3M'], True)
    run(VMM, ['bitmap', '--add', 'i', 'a'], True)
    p = subprocess.Popen([VMM_IO, 'i'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdin.write('write 0 64k\nflush\n')
    p.stdin.flush()
    p.stdout.readline()
    while stored('i')['a'][1] != 3:
        time.sleep(0.001)
    p.send_signal(signal.SIGKILL)
    p.wait()
    # The kernel closes the files of a ring, with their locks, some time after the process is gone.
    while 'lock' in run(VMM, ['check', '-q', '-r', 'leaks', 'i']).stderr:
        time.sleep(0.01)
    run(VMM, ['check', '-q', '-r', 'leaks', 'i'], True)
    same(['info', 'i'])
    run(VMM_IO, ['-c', 'write 1M 64k', 'i'], True)  # it stays so
    assert stored('i')['a'][1] == 3
    for args in (['bitmap', '--clear', 'i', 'a'], ['bitmap', '--enable', 'i', 'a'],
                 ['convert', '--bitmaps', '-O', 'qcow2', 'i', 'o'], ['resize', 'i', '4M']):
        p = run(VMM, args)
        assert p.returncode == 1 and 'inconsistent' in p.stderr, (args, p)
    same(['convert', '--bitmaps', '--skip-broken-bitmaps', '-O', 'qcow2', 'i', 'o'])
    run(QEMU, ['check', '-q', 'i'], True)
    run(VMM, ['bitmap', '--remove', 'i', 'a'], True)
    assert stored('i') == {}
    assert 'leaked' not in run(QEMU, ['check', 'i'], True).stdout


@test('hostile directories are refused')
def _():
    run(VMM, ['create', '-q', '-f', 'qcow2', 'i', '3M'], True)
    for name in 'ab':
        run(VMM, ['bitmap', '--add', '-g', '512', 'i', name], True)
    run(VMM_IO, ['-c', 'write 0 3M', 'i'], True)
    with open('i', 'rb') as f:
        data = f.read()
    ext = data.index(struct.pack('>II', 0x23852875, 24))
    directory, = struct.unpack_from('>Q', data, ext + 24)
    table, = struct.unpack_from('>Q', data, directory)
    for at, form, value in (
            (ext + 8, '>I', 0), (ext + 8, '>I', 1), (ext + 8, '>I', 1 << 31), (ext + 16, '>Q', 8),
            (ext + 16, '>Q', 1 << 62), (ext + 24, '>Q', 513), (ext + 24, '>Q', 1 << 60),
            (directory, '>Q', 1 << 61), (directory, '>Q', 1), (directory, '>Q', 0),
            (directory + 8, '>I', 1 << 30), (directory + 8, '>I', 7), (directory + 12, '>I', 8),
            (directory + 16, '>B', 2), (directory + 17, '>B', 64), (directory + 17, '>B', 8),
            (directory + 18, '>H', 0), (directory + 18, '>H', 65535), (directory + 20, '>I', 8),
            (directory + 20, '>I', 0xffffffff), (directory + 32 + 24, '>B', ord('a')),
            (table, '>Q', 1 << 60), (table, '>Q', 2), (table, '>Q', 1 << 40)):
        broken = bytearray(data)
        struct.pack_into(form, broken, at, value)
        with open('x', 'wb') as f:
            f.write(broken)
        for args in ['info', 'x'], ['bitmap', '--add', 'x', 'c'], ['check', 'x']:
            p = run(VMM, args)
            assert p.returncode >= 0, (at, form, value, args, p)
            assert p.returncode in ((2, 1) if args[0] == 'check' else (1,)), (at, form, value, p)


main()
