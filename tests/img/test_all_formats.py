#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Image formats other than raw and qcow2, beside qemu-img and qemu-io: what one program writes the
other reads. Each format is a line of SHAPES. Called with the path of vmm-img, beside which vmm-io
lies; TAP on stdout."""
import glob
import json
import os
import random
import re
import shutil
import struct

from imgtest import QEMU, VMM, data_file, main, normal, run, same, share, test

VMM_IO = os.path.join(os.path.dirname(VMM), 'vmm-io')
QEMU_IO = shutil.which('qemu-io')
MIB = 1 << 20


class Shape:
    """A format with options of 'create'. write: requests in place, by both programs; compressed:
    only 'convert' fills an image, and its clusters stay; read: only qemu-img makes images;
    backing: an image can lie over another one."""
    def __init__(self, fmt, options='', write=True, compressed=False, read=False, backing=False,
                 check=True):
        self.fmt, self.options, self.write, self.compressed = fmt, options, write, compressed
        self.read, self.backing, self.check = read, backing, check
        self.o = ['-o', options] if options else []

    def __str__(self):
        return f'{self.fmt} {self.options}'.strip()


SHAPES = [
    Shape('vdi'),
    Shape('vdi', 'static=on'),
    Shape('vmdk', backing=True),
    Shape('vmdk', 'zeroed_grain=on', backing=True),
    Shape('vmdk', 'subformat=monolithicFlat'),
    Shape('vmdk', 'subformat=twoGbMaxExtentSparse', backing=True),
    Shape('vmdk', 'subformat=twoGbMaxExtentFlat'),
    Shape('vmdk', 'subformat=streamOptimized', write=False),
    Shape('vmdk', 'adapter_type=lsilogic,hwversion=17,toolsversion=5'),
    Shape('vmdk', 'compat6=on,adapter_type=buslogic'),
    Shape('qed', write=False, read=True, backing=True),
    Shape('qed', 'cluster_size=4096,table_size=2', write=False, read=True, backing=True),
    Shape('qcow', write=False, read=True, backing=True, check=False),
    Shape('vpc', 'force_size=on', check=False),
    Shape('vpc', 'force_size=on,subformat=fixed', check=False),
    Shape('vhdx', 'block_size=1M'),
    Shape('vhdx', 'subformat=fixed'),
]
SHAPES = share(SHAPES, (0, 2, 5, 7, 10, 12, 13, 15))


def clean():
    for name in glob.glob('x*'):
        os.unlink(name)


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def read_image(tool, shape, name='x'):
    """The disk, as the tool reads it."""
    run(tool, ['convert', '-f', shape.fmt, '-O', 'raw', name, 'out'], True)
    return content('out')


def check(tool, shape, name='x'):
    if shape.check:
        p = run(tool, ['check', '-f', shape.fmt, name])
        assert p.returncode == 0, f'{tool} check: {p.returncode}\n{p.stdout}{p.stderr}'


class Model:
    """What a disk has to hold, and random requests to it."""
    def __init__(self, disk, seed):
        self.disk, self.rnd, self.loose = bytearray(disk), random.Random(seed), []

    def command(self):
        size = len(self.disk)
        length = self.rnd.choice([512, 4096, 65536, 100 * 512, 3 * 512, 300000 // 512 * 512])
        at = self.rnd.randrange(0, (size - length) // 512) * 512
        if self.rnd.random() < 0.2:
            at = size - length
        kind = self.rnd.random()
        if kind < 0.6:
            byte = self.rnd.randrange(1, 256)
            self.disk[at:at + length] = bytes([byte]) * length
            return f'write -P {byte} {at} {length}'
        if kind < 0.7:
            return 'flush'
        old = bytes(self.disk[at:at + length])
        self.disk[at:at + length] = bytes(length)
        if kind < 0.9:
            return f'write -z{" -u" if kind < 0.8 else ""} {at} {length}'
        self.loose.append((at, old))  # old data, or zeroes
        return f'discard {at} {length}'

    def compare(self, got, who):
        assert len(got) == len(self.disk), f'{who}: {len(got)} bytes, want {len(self.disk)}'
        for at, old in self.loose:
            for i in range(at, at + len(old), 512):
                now = got[i:i + 512]
                if now == old[i - at:i - at + 512]:
                    self.disk[i:i + 512] = now
        self.loose = []
        if got != self.disk:
            bad = next(i for i in range(0, len(got), 512) if got[i:i + 512] != self.disk[i:i + 512])
            raise AssertionError(f'{who}: byte {bad} is {got[bad]}, want {self.disk[bad]}')


def sessions(shape, model, seed, image='x'):
    """Both programs in turn write to the image; after each, both read it."""
    for i in range(4):
        io = (VMM_IO, QEMU_IO)[(seed + i) % 2]
        script = '\n'.join(model.command() for _ in range(25)) + '\n'
        p = run(io, ['-f', shape.fmt, '-d', 'unmap', image], input=script)
        assert p.returncode == 0 and 'failed' not in p.stdout + p.stderr, f'{io}: {p.stdout}{p.stderr}'
        for tool in VMM, QEMU:
            model.compare(read_image(tool, shape, image), f'{tool} after {io}, session {i}')
            check(tool, shape, image)


@test('random requests by both programs, and what both read')
def _():
    for n, shape in enumerate(s for s in SHAPES if s.write):
        for maker in VMM, QEMU:
            clean()
            run(maker, ['create', '-q', '-f', shape.fmt, *shape.o, 'x', '4M'], True)
            size = len(read_image(QEMU, shape))
            try:
                sessions(shape, Model(bytes(size), n), n)
            except AssertionError as e:
                raise AssertionError(f'{shape} made by {maker}: {e}')


@test('random requests over a backing file')
def _():
    for n, shape in enumerate(s for s in SHAPES if s.write and s.backing):
        for maker in VMM, QEMU:
            clean()
            data_file('r', 3 * MIB)
            run(maker, ['convert', '-f', 'raw', '-O', shape.fmt, 'r', 'xback'], True)
            run(maker, ['create', '-q', '-f', shape.fmt, *shape.o, '-b', 'xback', '-F', shape.fmt,
                        'x', '4M'], True)
            disk = read_image(QEMU, shape)
            assert disk[:3 * MIB] == content('r') and len(disk) >= 4 * MIB
            try:
                sessions(shape, Model(disk, n), n)
            except AssertionError as e:
                raise AssertionError(f'{shape} made by {maker}: {e}')
            assert read_image(QEMU, Shape(shape.fmt), 'xback')[:3 * MIB] == content('r')


@test('convert into and from each format')
def _():
    data_file('r', 7 * MIB)
    with open('odd', 'wb') as f:
        f.write(random.Random(1).randbytes(2 * MIB + 70000 // 512 * 512))
    for shape in SHAPES:
        for source in 'r', 'odd':
            for maker in (QEMU,) if shape.read else (VMM, QEMU):
                clean()
                run(maker, ['convert', '-f', 'raw', '-O', shape.fmt, *shape.o, source, 'x'], True)
                want = content(source)
                for tool in VMM, QEMU:
                    got = read_image(tool, shape)
                    assert got[:len(want)] == want and not any(got[len(want):]), \
                        f'{shape} {source}: {maker}, read by {tool}'
                    check(tool, shape)
                for args in (['info'], ['info', '--output=json'], ['map', '--output=json'],
                             ['check'] if shape.check else ['info', '-U']):
                    same_json(args, shape)
                run(VMM, ['compare', '-f', 'raw', '-F', shape.fmt, source, 'x'], True)


def same_json(args, shape):
    """As same(), but for the space on the host's disk."""
    texts = []
    for tool in QEMU, VMM:
        p = run(tool, [*args, '-f', shape.fmt, 'x'])
        texts.append((p.returncode, re.sub(r'"actual-size": \d+', '', normal(p.stdout)),
                      normal(p.stderr)))
    if args[0] == 'map':
        texts = [merged(t[1]) for t in texts]
    assert texts[0] == texts[1], f'{shape} {args}:\n{texts[0]}\n--- vs\n{texts[1]}'


def merged(text):
    """The extents of 'map', those that are alike in one: holes of the file do not count."""
    out = []
    for e in json.loads(text):
        e = {k: e[k] for k in e if k not in ('zero', 'offset') or not e['data']}
        if out and {**out[-1], 'start': 0, 'length': 0} == {**e, 'start': 0, 'length': 0}:
            out[-1]['length'] += e['length']
        else:
            out.append(e)
    return out


@test('formats that are only read: over a backing file, compressed, and no write')
def _():
    data_file('r', 3 * MIB)
    for n, shape in enumerate(s for s in SHAPES if s.read):
        clean()
        run(QEMU, ['create', '-q', '-f', shape.fmt, *shape.o, '-b', 'r', '-F', 'raw', 'x', '4M'], True)
        model = Model(content('r') + bytes(MIB), n)
        for i in range(3):
            script = '\n'.join(model.command() for _ in range(25)) + '\n'
            run(QEMU_IO, ['-f', shape.fmt, '-d', 'unmap', 'x'], True, input=script)
            model.compare(read_image(QEMU, shape), f'{shape}')
            model.compare(read_image(VMM, shape), f'{shape}, session {i}')
            check(VMM, shape)
            for args in ['info'], ['map', '--output=json']:
                same_json(args, shape)
        if shape.fmt == 'qcow':
            with open('t', 'wb') as f:
                f.write(b''.join(b'%07d\n' % (i // 3) for i in range(50000)) + bytes(68 * 512))
            os.truncate('t', 430080)
            run(QEMU, ['convert', '-c', '-f', 'raw', '-O', 'qcow', 't', 'x'])  # status 1, always
            assert os.path.getsize('x') < 200000
            for tool in QEMU, VMM:
                assert read_image(tool, shape) == content('t')
            same_json(['map', '--output=json'], shape)
        for p in (run(VMM_IO, ['-f', shape.fmt, '-c', 'write 0 512', 'x']),
                  run(VMM, ['resize', '-f', shape.fmt, 'x', '8M'])):
            assert 'can only be read here' in p.stdout + p.stderr and p.returncode, p
        p = run(VMM, ['create', '-f', shape.fmt, 'y', '1M'])
        assert p.returncode and 'does not support image creation' in p.stderr, p


@test('QED: what a check finds')
def _():
    def image(at, data, extra=0):
        clean()
        run(QEMU, ['create', '-q', '-f', 'qed', '-o', 'cluster_size=4096,table_size=2', 'x', '4M'],
            True)
        run(QEMU_IO, ['-f', 'qed', '-c', 'write 0 64k', '-c', 'write 2M 64k', 'x'], True)
        with open('x', 'r+b') as f:
            f.seek(at)
            f.write(data)
        os.truncate('x', os.path.getsize('x') + extra)
    image(0, b'')
    l1 = struct.unpack_from('<Q', content('x'), 40)[0]
    l2 = struct.unpack_from('<Q', content('x'), l1)[0]
    first = struct.unpack_from('<Q', content('x'), l2)[0]
    for args in ((0, b''), (0, b'', 8192), (l2, b'\2'), (l2, struct.pack('<Q', 1 << 40)),
                 (l2 + 8, struct.pack('<Q', first)), (l1, b'\2'), (l2, b'\1' + bytes(7)),
                 (16, b'\2')):
        same(['check', '-f', 'qed', 'x'], lambda: image(*args))
    assert 'cleanly shut down: no' in run(VMM, ['info', 'x'], True).stdout  # qemu-img does not say
    for at, data in ((4, b'\1'), (8, b'\3'), (16, b'\x10'), (40, b'\1'), (48, b'\1'), (0, b'X')):
        same(['info', '-f', 'qed', 'x'], lambda: image(at, data))
    image(l1, struct.pack('<Q', 1 << 40))
    assert run(VMM, ['convert', '-f', 'qed', '-O', 'raw', 'x', 'out']).returncode == 1


@test('qcow: headers that are refused, in the words of qemu-img')
def _():
    def image(at, data):
        clean()
        run(QEMU, ['create', '-q', '-f', 'qcow', 'x', '4M'], True)
        with open('x', 'r+b') as f:
            f.seek(at)
            f.write(data)
    for at, data in ((24, bytes(8)), (24, b'\x7f'), (32, b'\x08'), (32, b'\x20'), (33, b'\1'),
                     (39, b'\5'), (0, b'X')):
        same(['info', '-f', 'qcow', 'x'], lambda: image(at, data))
    for args in ['info'], ['info', '--output=json']:
        same([*args, 'x'], lambda: image(39, b'\1'))
    same(['map', 'x'], lambda: image(39, b'\1'))
    image(40, b'\0\1')
    p = run(VMM, ['info', 'x'])
    assert p.returncode == 1 and 'truncated' in p.stderr, p


@test('qcow: AES')
def _():
    secret = ['--object', 'secret,id=s,data=a password of 24 bytes']
    data_file('r', 3 * MIB)
    run(QEMU, ['convert', *secret, '-f', 'raw', '-O', 'qcow', '-o',
               'encrypt.format=aes,encrypt.key-secret=s', 'r', 'x'], True)
    options = 'driver=qcow,file.filename=x,encrypt.key-secret='
    run(VMM, ['convert', *secret, '--image-opts', '-O', 'raw', options + 's', 'out'], True)
    assert content('out') == content('r')
    run(VMM_IO, [*secret, '-r', '--image-opts', '-c', 'read 100 3000', options + 's'], True)
    run(VMM, ['convert', '--object', 'secret,id=s,data=another', '--image-opts', '-O', 'raw',
              options + 's', 'out'], True)
    assert content('out') != content('r')
    for args in (['convert', '-O', 'raw', 'x', 'out'], ['map', 'x'], ['info', 'x']):
        same(args)
    p = run(VMM, ['convert', *secret, '--image-opts', '-O', 'raw', options + 'none', 'out'])
    assert p.returncode == 1 and "'none'" in p.stderr, p


@test('what create says, and the lists of options')
def _():
    for shape in SHAPES:
        if not shape.read:
            same(['create', '-f', shape.fmt, *shape.o, 'x', '10M'], clean)
            same(['create', '-f', shape.fmt, 'x'], clean)
            have = run(VMM, ['create', '-f', shape.fmt, '-o', 'help'], True).stdout
            want = run(QEMU, ['create', '-f', shape.fmt, '-o', 'help'], True).stdout
            names = [set(re.findall(r'^  (\S+?)=', text, re.M)) for text in (want, have)]
            # What QEMU passes on to the file.
            assert names[0] - names[1] <= {'extent_size_hint', 'nocow', 'preallocation'}, names


@test('VDI: what a check finds')
def _():
    def image(at, data):
        clean()
        run(VMM, ['create', '-q', '-f', 'vdi', 'x', '4M'], True)
        run(VMM_IO, ['-f', 'vdi', '-c', 'write 0 3M', 'x'], True)
        with open('x', 'r+b') as f:
            f.seek(at)
            f.write(data)
    for at, data in ((512, b'\1\0\0\0'), (512, b'\1\1\1\1'), (388, b'\1')):
        same(['check', '-f', 'vdi', 'x'], lambda: image(at, data))
    image(388, b'\4')  # more blocks than there are: room is lost
    assert run(VMM, ['check', 'x']).returncode == 3
    for bad in b'\1', b'\4':
        image(388, bad)
        run(VMM, ['check', '-r', 'all', 'x'], True)
        run(QEMU, ['check', 'x'], True)
        assert len(read_image(QEMU, Shape('vdi'))) == 4 * MIB


@test('VDI: headers that are refused, in the words of qemu-img')
def _():
    def image(at, data):
        clean()
        run(VMM, ['create', '-q', '-f', 'vdi', 'x', '4M'], True)
        with open('x', 'r+b') as f:
            f.seek(at)
            f.write(data)
    for at, data in ((68, b'\2'), (340, b'\1'), (344, b'\1'), (360, b'\1'), (376, b'\1'),
                     (368, b'\0\0\0\0\1'), (424, b'\1'), (440, b'\1'), (64, b'\1')):
        same(['info', '-f', 'vdi', 'x'], lambda: image(at, data))
    image(344, b'\0\2\0\0')
    p = run(VMM, ['info', 'x'])
    assert p.returncode == 1 and 'its data begins within its block map' in p.stderr, p
    image(0, b'')
    os.truncate('x', 513)
    p = run(VMM, ['info', 'x'])
    assert p.returncode == 1 and 'it ends within its block map' in p.stderr, p
    same(['create', '-f', 'vdi', 'x', '600P'], clean, stdout=False)


main(shared=True)
