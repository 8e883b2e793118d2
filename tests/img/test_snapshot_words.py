#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-img snapshot beside qemu-img's: what they say, the tables that they write, and one image that
both of them change in turn. Called with the path of vmm-img; TAP on stdout."""
import os
import random
import shutil
import struct

from imgtest import QEMU, VMM, main, normal, run, same, test

QEMU_IO = QEMU and os.path.join(os.path.dirname(QEMU), 'qemu-io')


def images():
    for name in os.listdir('.'):
        os.unlink(name)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '1M'], True)
    run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1M'], True)


def three():
    """An image with snapshots, the same each time."""
    if not os.path.exists('kept'):
        images()
        for name in 'one', 'two', 'two', '1':
            run(QEMU, ['snapshot', '-c', name, 'q'], True)
        shutil.copy('q', 'kept')
    shutil.copy('kept', 'q')


ALIKE = '''
snapshot
snapshot q
snapshot -q q
snapshot q q
snapshot -l
snapshot -l q
snapshot -l r
snapshot -l nofile
snapshot -c
snapshot -c x
snapshot -c x q q
snapshot -c x nofile
snapshot -c x q
snapshot -q -c x q
snapshot -c two q
snapshot -l -c x q
snapshot -c x -c y q
snapshot -a one -d one q
snapshot -Z q
snapshot -U -l q
snapshot -U -c x q
snapshot -a nope q
snapshot -a one q
snapshot -a 1 q
snapshot -a 3 q
snapshot -d nope q
snapshot -d 3 q
snapshot -d 1 q
snapshot -d two q
snapshot --image-opts -l driver=qcow2,file.filename=q
snapshot --image-opts -c x driver=qcow2,file.filename=q
snapshot --image-opts -c x driver=qcow2,file.driver=file,file.filename=nofile
'''


def listed(image):
    """The snapshots, without their dates."""
    lines = run(QEMU, ['snapshot', '-l', image], True).stdout.splitlines()[2:]
    return [line[:34] + line[55:] for line in lines]


@test('the same words, and the same snapshots afterwards')
def _():
    wrong = []
    for line in ALIKE.strip().splitlines():
        after = []
        for tool in QEMU, VMM:
            three()
            p = run(tool, line.split())
            after.append((p.returncode, normal(p.stdout)[:200], normal(p.stderr), listed('q')))
            # Dates differ, and the lists that show them are compared by other tests.
            if ' -l' in line and p.returncode == 0:
                after[-1] = after[-1][:1] + (len(p.stdout),) + after[-1][2:]
            run(QEMU, ['check', 'q'], True)
        if after[0] != after[1]:
            wrong.append(f'{line}:\n{after[0]}\n--- vs\n{after[1]}')
    assert not wrong, '\n'.join(wrong)


@test('the same words where other commands read a snapshot')
def _():
    three()
    wrong = []
    for param in ('one', '2', 'nope', 'snapshot.id=1', 'snapshot.name=two', '', 'snapshot.foo=1',
                  'snapshot.id=1,snapshot.name=two', 'snapshot.id=1,x=2'):
        for args in (['convert', '-l', param, 'q', 'out'], ['convert', '-l', param, 'q', 'q', 'out'],
                     ['convert', '-f', 'raw', '-l', param, 'r', 'out'],
                     ['measure', '-O', 'qcow2', '-l', param, 'q'], ['measure', '-l', param]):
            # The ids of one of several sources alone would be loaded, and the others' disks read.
            if len(args) == 6 and param.startswith('snapshot.') and args[3:5] == ['q', 'q']:
                continue
            try:
                same(args)
            except AssertionError as e:
                wrong.append(str(e))
    p = run(VMM, ['convert', '-l', 'snapshot.id=1', 'q', 'q', 'out'])
    assert p.returncode == 1 and 'multiple snapshot' in p.stderr, p
    assert not wrong, '\n'.join(wrong)


@test('what has no snapshots says so')
def _():
    images()
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=d', 'x', '1M'], True)
    for image, why in ('r', "'raw' does not support internal snapshots"), ('x', 'data file'):
        before = open(image, 'rb').read()
        for option, word in ('-c', 'create'), ('-a', 'apply'), ('-d', 'delete'):
            p = run(VMM, ['snapshot', option, 's', image])
            q = run(QEMU, ['snapshot', option, 's', image])
            assert p.returncode == q.returncode == 1, (p, q)
            assert f"Could not {word} snapshot 's': " in p.stderr, p
            assert why in p.stderr or option == '-d', p
        # The end of the file may have been rounded up to a sector.
        assert open(image, 'rb').read().rstrip(b'\0') == before.rstrip(b'\0')


def table(image):
    """The snapshot table's entries: fixed fields but the date, extra data, id, name."""
    with open(image, 'rb') as f:
        d = f.read()
    count, at = struct.unpack_from('>IQ', d, 60)
    entries = []
    for _ in range(count):
        l1, size, id_len, name_len = struct.unpack_from('>QIHH', d, at)
        rest = struct.unpack_from('>QII', d, at + 24)
        end = at + 40 + rest[2] + id_len + name_len
        assert l1 % 65536 == 0 and l1 + 8 * size <= len(d)
        entries.append((size, id_len, name_len) + rest + (d[at + 40:end],))
        at = (end + 7) // 8 * 8
    return entries


@test('the snapshot table is as qemu-img writes it')
def _():
    for compat in '1.1', '0.10':
        for size in '1M', '0', '3000320':
            tables = []
            for tool in QEMU, VMM:
                images()
                run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', f'compat={compat}', 'x', size],
                    True)
                for args in ('-c', 'eins'), ('-c', 'zwei'), ('-c', 'dr\u00e9i'), ('-d', 'zwei'), \
                        ('-c', 'vier'):
                    run(tool, ['snapshot'] + list(args) + ['x'], True)
                run(QEMU, ['check', 'x'], True)
                tables.append(table('x'))
            assert tables[0] == tables[1], tables


@test('a long name is refused, and an empty one is not')
def _():
    images()
    p = run(VMM, ['snapshot', '-c', 'x' * 256, 'q'])
    assert p.returncode == 1 and '255 bytes' in p.stderr and not table('q'), p
    run(VMM, ['snapshot', '-c', 'x' * 255, 'q'], True)
    run(VMM, ['snapshot', '-c', '', 'q'], True)
    run(VMM, ['snapshot', '-d', '', 'q'], True)
    assert len(table('q')) == 1


@test('what only a deleted snapshot used goes back to the host')
def _():
    used = []
    for tool in QEMU, VMM:
        images()
        run(QEMU_IO, ['-c', 'write -P 1 0 1M', 'q'], True)
        run(tool, ['snapshot', '-c', 'one', 'q'], True)
        run(QEMU_IO, ['-c', 'write -P 2 0 1M', 'q'], True)
        before = os.stat('q').st_blocks
        run(tool, ['snapshot', '-d', 'one', 'q'], True)
        used.append(os.stat('q').st_blocks)
        assert before - used[-1] >= 2048, (before, used)
        # Applying a snapshot does the same with what the disk has had.
        run(tool, ['snapshot', '-c', 'two', 'q'], True)
        run(QEMU_IO, ['-c', 'write -P 3 0 1M', 'q'], True)
        before = os.stat('q').st_blocks
        run(tool, ['snapshot', '-a', 'two', 'q'], True)
        assert before - os.stat('q').st_blocks >= 2048, before
    assert used[1] <= used[0] + 128, used


class Image:
    """An image, what is in it, and what is in its snapshots."""

    def __init__(self, options, seed):
        self.rnd = random.Random(seed)
        self.v2 = '0.10' in options
        self.disk = bytearray(1 << 20)
        self.snapshots = {}
        self.count = 0
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', options, 'i', str(len(self.disk))], True)

    def write(self):
        commands = []
        for _ in range(self.rnd.randrange(1, 5)):
            at = self.rnd.randrange(len(self.disk) // 512) * 512
            length = min(self.rnd.choice([512, 4096, 69632]), len(self.disk) - at)
            pattern = self.rnd.randrange(1, 255)
            how = f'-P {pattern}'
            if self.rnd.random() < 0.25 and not self.v2:
                how, pattern = '-z -u', 0
            commands += ['-c', f'write {how} {at} {length}']
            self.disk[at:at + length] = bytes([pattern]) * length
        run(QEMU_IO, ['-f', 'qcow2'] + commands + ['i'], True)

    def resize(self, tool):
        size = self.rnd.choice([1 << 20, (1 << 20) + 1536, 700 * 1024])
        run(tool, ['resize', '-q', '--shrink', '-f', 'qcow2', 'i', str(size)], True)
        self.disk = bytearray(bytes(self.disk[:size]).ljust(size, b'\0'))

    def step(self, tool):
        what = self.rnd.random()
        if what < 0.4 or (what >= 0.6 and not self.snapshots):
            self.write()
        elif what < 0.6:
            name = f's{self.count}'
            self.count += 1
            run(tool, ['snapshot', '-c', name, 'i'], True)
            self.snapshots[name] = bytes(self.disk)
        elif what < 0.8:
            name = self.rnd.choice(list(self.snapshots))
            run(tool, ['snapshot', '-a', name, 'i'], True)
            self.disk = bytearray(self.snapshots[name])
        elif what < 0.93:
            name = self.rnd.choice(list(self.snapshots))
            run(tool, ['snapshot', '-d', name, 'i'], True)
            del self.snapshots[name]
        elif not self.v2:
            self.resize(tool)

    def verify(self):
        for tool in QEMU, VMM:
            run(tool, ['check', 'i'], True)
        run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', 'i', 'raw'], True)
        with open('raw', 'rb') as f:
            assert f.read() == self.disk, 'the disk has other content'
        same(['snapshot', '-l', 'i'])

    def verify_snapshots(self):
        for name, want in self.snapshots.items():
            run(VMM, ['convert', '-l', name, '-O', 'raw', 'i', 'raw'], True)
            with open('raw', 'rb') as f:
                assert f.read() == want, f'{name} has other content'
        for name, want in self.snapshots.items():
            run(VMM, ['snapshot', '-a', name, 'i'], True)
            self.disk = want
            self.verify()


@test('both tools change one image in turn')
def _():
    shapes = ['cluster_size=64k', 'cluster_size=512', 'cluster_size=4k,compat=0.10',
              'cluster_size=16k,extended_l2=on', 'cluster_size=4k,lazy_refcounts=on']
    for seed, options in enumerate(shapes):
        image = Image(options, seed)
        for step in range(14):
            tool = image.rnd.choice([QEMU, VMM])
            try:
                image.step(tool)
                image.verify()
            except AssertionError as e:
                raise AssertionError(f'{options}, step {step}, {tool}: {e}') from e
        image.verify_snapshots()
        os.unlink('i')


main()
