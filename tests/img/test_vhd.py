#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD images (vpc): as qemu-img makes, reads and describes them.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import json
import os
import random
import re
import shutil
import struct
import sys

VMM_IO = os.path.abspath(sys.argv.pop(2))
QEMU_IO = shutil.which('qemu-io')

from imgtest import QEMU, VMM, data_file, main, run, same, test  # noqa: E402


def read(name):
    with open(name, 'rb') as f:
        return f.read()


def patch(name, at, data):
    with open(name, 'r+b') as f:
        f.seek(at)
        f.write(data)


def vpc_sum(name, at=0, length=512, field=64):
    """Puts the checksum of a footer or header right."""
    data = bytearray(read(name)[at:at + length])
    data[field:field + 4] = bytes(4)
    patch(name, at + field, struct.pack('>I', ~sum(data) & 0xffffffff))


def without_chance(image):
    """A VHD image without what differs each time: time stamp, UUID, checksum, in each footer."""
    image = bytearray(image)
    at = image.find(b'conectix')
    while at >= 0:
        image[at + 24:at + 28] = bytes(4)
        image[at + 64:at + 84] = bytes(20)
        at = image.find(b'conectix', at + 8)
    return bytes(image)


def extents(tool, name):
    """What 'map' says; holes of the file itself are not told apart."""
    out = []
    for e in json.loads(run(tool, ['map', '--output=json', '-f', 'vpc', name], check=True).stdout):
        at = e.get('offset')
        if out and at is not None and out[-1][2] is not None and \
                out[-1][2] + out[-1][1] == at and out[-1][0] + out[-1][1] == e['start']:
            out[-1][1] += e['length']
        else:
            out.append([e['start'], e['length'], at])
    return out


SIZES = ['512', '10M', '3G', '130G', '2040G']


@test('new images are those of qemu-img, to the byte')
def _():
    rnd = random.Random(7)
    sizes = SIZES + [str(rnd.randrange(1 << rnd.randrange(10, 38))) for _ in range(4)]
    for size in sizes:
        for option in 'subformat=dynamic', 'force_size=on', 'subformat=fixed':
            if option == 'subformat=fixed' and len(size) > 8:
                continue  # read() would be long
            if option == 'subformat=fixed' and size[-1] in 'GM' and size != '10M':
                continue
            same(['create', '-f', 'vpc', '-o', option, 'x', size])
            run(QEMU, ['create', '-f', 'vpc', '-o', option, 'q', size], check=True)
            assert without_chance(read('q')) == without_chance(read('x')), (size, option)
            same(['info', '--output=json', 'x'])
            same(['info', '-f', 'vpc', 'x'])
            os.remove('x')
            os.remove('q')
    for size in '2041G', '3T':
        for tool in QEMU, VMM:
            p = run(tool, ['create', '-q', '-f', 'vpc', 'x', size])
            assert p.returncode and "too large for file format 'vpc'" in p.stderr, p.stderr


@test('options, and what the format cannot do')
def _():
    text = run(VMM, ['create', '-f', 'vpc', '-o', 'help'], check=True).stdout
    for line in run(QEMU, ['create', '-f', 'vpc', '-o', 'help'], check=True).stdout.splitlines():
        name, _, what = line.strip().partition('=')
        assert not what or (f'  {name}=' in text and what.split(' - ')[1].strip() in text), line
    for tool in QEMU, VMM:
        assert run(tool, ['create', '-q', '-f', 'vpc', '-o', 'subformat=foo', 'x', '1M']).returncode
    same(['create', '-q', '-f', 'vpc', '-b', 'y', 'x', '1M'])
    run(VMM, ['create', '-q', '-f', 'vpc', 'x', '20M'], check=True)
    same(['check', 'x'])
    same(['check', '--output=json', 'x'])
    same(['resize', 'x', '30M'])
    same(['measure', '-O', 'vpc', '--size', '10M'])
    same(['snapshot', '-c', 'a', 'x'], stderr=False)
    same(['convert', '-c', '-O', 'vpc', 'x', 'y'])
    same(['rebase', '-u', '-b', 'y', '-F', 'raw', 'x'])


@test('data that one program writes is read by the other')
def _():
    data_file('raw', 7 << 20)
    for option in 'subformat=dynamic', 'force_size=on', 'subformat=fixed':
        for writer, reader in (VMM, QEMU), (QEMU, VMM), (VMM, VMM):
            run(writer, ['convert', '-f', 'raw', '-O', 'vpc', '-o', option, 'raw', 'x'], check=True)
            run(reader, ['convert', '-f', 'vpc', '-O', 'raw', 'x', 'back'], check=True)
            data = read('raw')
            assert read('back')[:len(data)] == data, (option, writer)
            assert not any(read('back')[len(data):]), (option, writer)
            assert extents(QEMU, 'x') == extents(VMM, 'x'), (option, writer)
            same(['compare', '-f', 'vpc', '-F', 'raw', 'x', 'raw'])
            os.remove('x')


@test('both write to one image in turn')
def _():
    if not QEMU_IO:
        return 'no qemu-io'
    rnd = random.Random(3)
    for option in 'subformat=dynamic', 'subformat=fixed':
        run(rnd.choice([QEMU, VMM]), ['create', '-q', '-f', 'vpc', '-o', option, 'x', '12M'],
            check=True)
        size = json.loads(run(QEMU, ['info', '--output=json', '-f', 'vpc', 'x']).stdout)['virtual-size']
        model = bytearray(size)
        for turn in range(4):
            commands = []
            for _ in range(10):
                at, n = rnd.randrange(size // 512 - 300) * 512, rnd.randrange(1, 300) * 512
                value = rnd.randrange(256)
                zero = rnd.random() < 0.2
                commands += ['-c', f'write -z {at} {n}' if zero else f'write -P {value} {at} {n}']
                model[at:at + n] = bytes([0 if zero else value]) * n
            run(rnd.choice([QEMU_IO, VMM_IO]), ['-f', 'vpc'] + commands + ['x'], check=True)
            for tool in QEMU, VMM:
                run(tool, ['convert', '-f', 'vpc', '-O', 'raw', 'x', 'out'], check=True)
                assert read('out') == model, (option, turn, tool)
        assert read('x')[-512:-504] == b'conectix'
        os.remove('x')


@test('which length a disk has is told by who made it')
def _():
    run(VMM, ['create', '-q', '-f', 'vpc', 'good', '10M'], check=True)
    patch('good', 48, struct.pack('>Q', 10 << 20))
    for creator in (b'vpc ', b'vs  ', b'qemu', b'qem2', b'win ', b'd2v ', b'tap\0', b'CTXS',
                    b'\0\0\0\0'):
        shutil.copy('good', 'x')
        patch('x', 28, creator)
        vpc_sum('x')
        same(['info', 'x'])
        for calc in 'chs', 'current_size':
            how = ['info', '--image-opts', f'driver=vpc,force_size_calc={calc},file.filename=x']
            sizes = [re.search(r'virtual size: .*', run(t, how).stdout)[0] for t in (QEMU, VMM)]
            assert sizes[0] == sizes[1], (creator, calc)
    patch('x', 56, struct.pack('>HBB', 65535, 16, 255))  # the geometry of what has none
    vpc_sum('x')
    same(['info', 'x'])


@test('a spoiled image is refused in the words of qemu-img')
def _():
    run(VMM, ['create', '-q', '-f', 'vpc', 'good', '10M'], check=True)
    for at, data in ((100, b'x'), (60, struct.pack('>I', 3) + b'\1'), (512, b'y'),
                     (512 + 32, struct.pack('>I', 1000)), (512 + 32, struct.pack('>I', 256)),
                     (512 + 28, struct.pack('>I', 2)), (1536, struct.pack('>I', 4)),
                     (1536, struct.pack('>I', 100000))):
        shutil.copy('good', 'x')
        patch('x', at, data)
        same(['info', 'x'])
    for size in (0,):
        with open('x', 'wb') as f:
            f.write(read('good')[:size])
        same(['info', '-f', 'vpc', 'x'])


@test('differencing, truncated and overlapping images are refused, and left alone')
def _():
    run(VMM, ['convert', '-f', 'raw', '-O', 'vpc', VMM, 'good'], check=True)
    shutil.copy('good', 'x')
    patch('x', 60, struct.pack('>I', 4))
    vpc_sum('x')
    p = run(VMM, ['info', 'x'])
    assert p.returncode == 1 and 'differencing VHD image, which is not supported' in p.stderr
    table = struct.unpack('>2I', read('good')[1536:1544])
    for first in table[1] + 1, 2, 0, 3:
        shutil.copy('good', 'x')
        patch('x', 1536, struct.pack('>I', first))
        run(VMM, ['info', 'x'], check=True)
        before = read('x')
        p = run(VMM_IO, ['-f', 'vpc', '-c', 'write 0 512', 'x'])
        assert p.returncode and 'cannot be opened read/write' in p.stderr, p.stderr
        assert read('x') == before
    run(VMM, ['create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', 'good', '1M'], check=True)
    with open('x', 'wb') as f:
        f.write(read('good')[600:])
    p = run(VMM, ['info', '-f', 'vpc', 'x'])
    assert p.returncode == 1 and 'has been truncated' in p.stderr, p.stderr


@test('libvhdi reads what is made here')
def _():
    tool = shutil.which('vhdiinfo')
    if not tool:
        return 'no vhdiinfo (package libvhdi-utils)'
    data_file('raw', 7 << 20)
    for option, kind in ('subformat=dynamic', 'Dynamic'), ('subformat=fixed', 'Fixed'):
        run(VMM, ['convert', '-f', 'raw', '-O', 'vpc', '-o', option, 'raw', 'x'], check=True)
        p = run(tool, ['x'], check=True)
        assert f'Disk type\t\t: {kind}' in p.stdout and '(7346176 bytes)' in p.stdout, p.stdout


main()
