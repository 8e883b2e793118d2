#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK: what qemu-img does not make, images over others, descriptors that name files. Called with
the path of vmm-img, beside which vmm-io lies; TAP on stdout."""
import os
import random
import re
import shutil
import struct
import zlib

from imgtest import QEMU, VMM, main, run, same, test

VMM_IO = os.path.join(os.path.dirname(VMM), 'vmm-io')
QEMU_IO = shutil.which('qemu-io')
GRAIN = 65536
rnd = random.Random(7)


def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def descriptor(kind, lines, cid='12345678', parent='ffffffff', more=''):
    return (f'# Disk DescriptorFile\nversion=1\nCID={cid}\nparentCID={parent}\n'
            f'createType="{kind}"\n{more}\n# Extent description\n{lines}\n\n'
            'ddb.adapterType = "ide"\n').encode()


def read_as(tool, name, want=None, status=0):
    p = run(tool, ['convert', '-f', 'vmdk', '-O', 'raw', name, 'out'])
    assert p.returncode == status, f'{tool} {name}: {p.returncode} {p.stderr}'
    if want is not None:
        assert content('out') == want, f'{tool} {name}: other data'
    return p


def both(name, want):
    for tool in QEMU, VMM:
        read_as(tool, name, want)


def refused(name, text, args=('info',)):
    p = run(VMM, [*args, name])
    assert p.returncode == 1 and text in p.stderr, f'{name}: {p.returncode} {p.stderr}'


def pad(data, unit=512):
    return data + bytes(-len(data) % unit)


def sparse_header(capacity, gd, overhead, flags=1, compress=0, version=1, rgd=0, desc=(0, 0)):
    return pad(struct.pack('<4sIIQQQQIQQQB4sH', b'KDMV', version, flags, capacity, 128, *desc, 512,
                           rgd, gd, overhead, 0, b'\n \r\n', compress))


def stream(disk, cut=0):
    """A stream as VMware's tools write it: markers, grains as they come, tables and directory
    behind them, the header again as a footer. No table where there is no grain."""
    capacity = len(disk) // 512
    text = descriptor('streamOptimized', f'RW {capacity} SPARSE "x"')
    flags = 1 | 1 << 16 | 1 << 17
    out = bytearray(sparse_header(capacity, (1 << 64) - 1, 128, flags, 1, 3, 0, (1, 20)))
    out += text
    out = bytearray(pad(bytes(out), GRAIN))
    directory = []

    def marker(sectors, kind):
        out.extend(pad(struct.pack('<QII', sectors, 0, kind)))
    for first in range(0, len(disk), GRAIN * 512):
        table = []
        for at in range(first, min(first + GRAIN * 512, len(disk)), GRAIN):
            grain = disk[at:at + GRAIN].ljust(GRAIN, b'\0')
            table.append(len(out) // 512 if any(grain) else 0)
            if any(grain):
                packed = zlib.compress(grain)
                out.extend(pad(struct.pack('<QI', at // 512, len(packed)) + packed))
        if any(table):
            marker(4, 1)
            directory.append(len(out) // 512)
            out.extend(struct.pack('<512I', *table, *[0] * (512 - len(table))))
        else:
            directory.append(0)
    marker(1, 2)
    gd = len(out) // 512
    out.extend(pad(struct.pack(f'<{len(directory)}I', *directory)))
    marker(1, 3)
    out.extend(sparse_header(capacity, gd, 128, flags, 1, 3, 0, (1, 20)))
    marker(0, 0)
    return bytes(out[:len(out) - cut])


def some_disk(size):
    disk = bytearray(size)
    for _ in range(12):
        at = rnd.randrange(0, size // 512 - 8) * 512
        disk[at:at + 4096] = rnd.randbytes(4096)
    return bytes(disk)


@test('a stream with its directory at the end')
def _():
    for size in 3 << 20, 40 << 20, (1 << 20) + 1536:
        disk = some_disk(size)
        write('x', stream(disk))
        both('x', disk)
        run(VMM, ['check', 'x'], True)
        for args in ['info'], ['info', '--output=json'], ['map', '--output=json']:
            same([*args, 'x'])
    p = run(VMM_IO, ['-f', 'vmdk', '-c', 'write 0 64k', 'x'])
    assert 'must be read only' in p.stdout + p.stderr, p
    write('x', stream(disk, 512))
    refused('x', 'it was cut off, or is damaged')
    write('x', b'KDMV' + stream(disk)[4:1000])
    refused('x', 'truncated')


@test('a sparse extent without some of its tables gets them as it is written to')
def _():
    for rgd in 0, 22:
        capacity = 100 << 11  # 4 tables, none there
        flags = 3 if rgd else 1
        image = sparse_header(capacity, 21, 128, flags, rgd=rgd, desc=(1, 20))
        image = pad(image + descriptor('monolithicSparse', 'RW 204800 SPARSE "x"'), GRAIN)
        write('x', image)
        disk = bytearray(100 << 20)
        both('x', bytes(disk))
        run(VMM_IO, ['-f', 'vmdk', '-c', 'write -P 5 40M 100k', '-c', 'write -P 6 1000 5k', 'x'],
            True)
        disk[40 << 20:(40 << 20) + 102400] = b'\5' * 102400
        disk[1000:1000 + 5120] = b'\6' * 5120
        both('x', bytes(disk))
        for t in QEMU, VMM:
            run(t, ['check', 'x'], True)
        if rgd:
            tables = [struct.unpack_from('<4I', content('x'), at) for at in (21 * 512, 22 * 512)]
            assert [bool(t) for t in tables[0]] == [bool(t) for t in tables[1]] == \
                [True, True, False, False], tables


def cowd(disk):
    """A sparse extent of VMFS."""
    capacity = len(disk) // 512
    grains = -(-capacity // 128)
    header = struct.pack('<4sIIIIIII', b'COWD', 1, 3, capacity, 128, 4, -(-grains // 4096), 0)
    tables = 8
    out = bytearray(pad(header, 4 * 512) + pad(struct.pack('<I', tables)))
    out = bytearray(pad(bytes(out), tables * 512) + bytes(4096 * 4))
    for i in range(grains):
        grain = disk[i * GRAIN:(i + 1) * GRAIN].ljust(GRAIN, b'\0')
        if any(grain):
            struct.pack_into('<I', out, tables * 512 + i * 4, len(out) // 512)
            out += grain
    return bytes(out)


def sesparse(disk):
    """A space-efficient extent: grains of 4 KiB."""
    capacity, table = len(disk) // 512, 64
    grains = capacity // 8
    tables = -(-grains // 4096)
    gd, gts = 8, 16
    first = gts + tables * table
    header = struct.pack('<QQQQQQ32xQQQQQQQQQQQQQQQQ', 0xcafebabe, 0x200000001, capacity, 8, table, 0,
                         1, 1, 2, 1, 3, 1, gd, 1, gts, tables * table, 7, 1, 7, 1, first,
                         grains * 8)
    out = bytearray(pad(header) + pad(struct.pack('<QQQQ', 0xcafecafe, 0, 0, 0)))
    out = bytearray(pad(bytes(out), gd * 512))
    out += pad(b''.join(struct.pack('<Q', 1 << 60 | i) for i in range(tables)), (gts - gd) * 512)
    out += bytes(tables * table * 512)
    at = 0
    for i in range(grains):
        grain = disk[i * 4096:(i + 1) * 4096]
        entry = 0
        if any(grain):
            entry = 3 << 60 | (at & 0xfff) << 48 | at >> 12
            out += grain
            at += 1
        elif i % 3 == 0:
            entry = (1 + i % 2) << 60
        struct.pack_into('<Q', out, gts * 512 + i * 8, entry)
    return bytes(out)


@test("ESXi's sparse extents are read, and not written")
def _():
    for make, kind, extent in (cowd, 'vmfsSparse', 'VMFSSPARSE'), (sesparse, 'seSparse', 'SESPARSE'):
        disk = some_disk(6 << 20)
        write('x-1', make(disk))
        write('x', descriptor(kind, f'RW {len(disk) // 512} {extent} "x-1"'))
        both('x', disk)
        for args in ['info'], ['info', '--output=json'], ['map', '--output=json']:
            same([*args, 'x'])
        p = run(VMM_IO, ['-f', 'vmdk', '-c', 'write 0 64k', 'x'])
        assert 'can only be read' in p.stdout + p.stderr, p
    write('x', cowd(disk))
    read_as(VMM, 'x', disk)
    image = bytearray(sesparse(disk))
    image[512 + 24] = 1
    write('x-1', image)
    write('x', descriptor('seSparse', f'RW {len(disk) // 512} SESPARSE "x-1"'))
    refused('x', 'Replaying journal not supported')


@test('images made here, as libvmdk describes them')
def _():
    info = shutil.which('vmdkinfo')
    if not info:
        return 'no vmdkinfo (package libvmdk-utils)'
    write('r', some_disk(2 << 20))
    for kind in ('monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat',
                 'streamOptimized'):
        texts = []
        for tool in QEMU, VMM:
            run(tool, ['convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=' + kind, 'r', 'v.vmdk'],
                True)
            texts.append(re.sub('Content identifier:.*', '', run(info, ['v.vmdk'], True).stdout))
        assert texts[0] == texts[1] and 'Media size' in texts[1], texts


@test('commit into an image of several files')
def _():
    for kind in 'monolithicFlat', 'twoGbMaxExtentFlat', 'twoGbMaxExtentSparse':
        run(VMM, ['create', '-q', '-f', 'vmdk', '-o', f'subformat={kind}', 'b', '4M'], True)
        run(VMM, ['create', '-q', '-f', 'qcow2', '-b', 'b', '-F', 'vmdk', 'o'], True)
        run(VMM_IO, ['-c', 'write -P 1 1M 1M', 'o'], True)
        run(VMM, ['commit', '-q', 'o'], True)
        both('b', bytes(1 << 20) + b'\1' * (1 << 20) + bytes(2 << 20))


@test('several extents of several kinds')
def _():
    a, b = some_disk(2 << 20), some_disk(3 << 20)
    write('f', bytes(1024) + a + bytes(512))
    write('b', b)
    run(QEMU, ['convert', '-O', 'vmdk', '-f', 'raw', 'b', 's'], True)
    lines = f'RW {len(a) // 512} FLAT "f" 2\nRW {len(b) // 512} SPARSE "s"'
    write('x', descriptor('twoGbMaxExtentSparse', lines))
    both('x', a + b)
    same(['info', 'x'])
    want = bytearray(a + b)
    for io, n in ((VMM_IO, 1), (QEMU_IO, 2), (VMM_IO, 3)):
        at = len(a) - 70000 * n
        run(io, ['-f', 'vmdk', '-c', f'write -P {n} {at} 300000', 'x'], True)
        want[at:at + 300000] = bytes([n]) * 300000
        both('x', bytes(want))
    write('x', descriptor('twoGbMaxExtentSparse', lines + '\nRW 2048 ZERO'))
    read_as(VMM, 'x', bytes(want) + bytes(1 << 20))


@test('which texts are descriptors')
def _():
    for text, is_one in ((b'# Disk DescriptorFile\nversion=1\nCID=1\n', True),
                         (b'# x\r\n  \r\nversion=3\r\n', True),
                         (b'# Disk\n   \nversion=2\n'.ljust(4096, b'\0'), True),
                         (b'KDMV\1\0\0\0'.ljust(4096, b'\0'), True),
                         (b'# Disk DescriptorFile\nversion=4\n', False),
                         (b'# x\n\nversion=1\n', False)):
        write('x', text)
        for tool in VMM, QEMU:
            p = run(tool, ['info', 'x'])
            assert (p.returncode == 1) == is_one, (tool, text, p)


@test('descriptors that are refused')
def _():
    write('f', bytes(1 << 20))
    flat = 'RW 2048 FLAT "f" 0'
    for text, why in (
            (descriptor('monolithicFlat', 'RW 2048 FLAT "f"'), 'Invalid extent line: RW 2048 FLAT "f"'),
            (descriptor('monolithicFlat', 'RW 2048 SPARSE "f" 0'), 'Invalid extent line'),
            (descriptor('monolithicFlat', 'RW x FLAT "f" 0'), 'Invalid extent line'),
            (descriptor('monolithicFlat', 'RW 2048 FLAT "f'), 'Invalid extent line'),
            (descriptor('fullDevice', flat), "Unsupported image type 'fullDevice'"),
            (descriptor('monolithicFlat', 'RW 2048 FOO "f"'), "Unsupported extent type 'FOO'"),
            (descriptor('monolithicFlat', ''), 'describes no extents'),
            (descriptor('monolithicFlat', 'NOACCESS 2048 FLAT "f" 0'), 'NOACCESS'),
            (descriptor('monolithicFlat', 'RW 2048 FLAT "nonex" 0'), "Could not open the extent 'nonex'"),
            (descriptor('vmfsSparse', 'RW 2048 VMFSSPARSE "f"'), 'Image not in VMDK format'),
            (descriptor('monolithicFlat', 'RW 99999999999999999 FLAT "f" 0'), 'Invalid extent line'),
            (descriptor('monolithicFlat', '\n'.join(['RW 16000000000000000 FLAT "f" 0'] * 2)),
             'Image is too big'),
            (b'# Disk DescriptorFile\nversion=1\n', 'invalid VMDK image descriptor')):
        write('x', text)
        refused('x', why)
    write('x', descriptor('monolithicFlat', flat.replace('RW', 'RDONLY')))
    read_as(VMM, 'x', bytes(1 << 20))
    p = run(VMM_IO, ['-f', 'vmdk', '-c', 'write 0 512', 'x'])
    assert 'RDONLY' in p.stdout + p.stderr, p


@test('an extent is a path, and extents= forbids those that an image names')
def _():
    os.mkdir('d')
    disk = some_disk(1 << 20)
    for name in 'd/f', 'd/json:{}', 'd/nbd:x':
        write(name, disk)
        write('d/x', descriptor('monolithicFlat', f'RW 2048 FLAT "{name[2:]}" 0'))
        read_as(VMM, 'd/x', disk)
        os.chdir('d')
        read_as(VMM, 'x', disk)
        os.chdir('..')
    options = 'driver=vmdk,file.filename=d/x,extents='
    p = run(VMM, ['info', '--image-opts', options])
    assert p.returncode == 1 and "'extents' does not give" in p.stderr, p
    write('other', bytes(1 << 20))
    run(VMM, ['convert', '--image-opts', '-O', 'raw',
              'driver=vmdk,file.filename=d/x,extents.0.driver=file,extents.0.filename=other', 'out'],
        True)
    assert content('out') == bytes(1 << 20)


@test('an image over another one that has changed is not opened')
def _():
    run(VMM, ['create', '-q', '-f', 'vmdk', 'base', '1M'], True)
    for io in VMM_IO, QEMU_IO:
        for tool in VMM, QEMU:
            run(tool, ['create', '-q', '-f', 'vmdk', '-b', 'base', '-F', 'vmdk', 'top'], True)
            run(io, ['-f', 'vmdk', '-c', 'write -P 3 64k 1k', 'top'], True)
            disk = bytes(1 << 20)
            run(io, ['-f', 'vmdk', '-c', 'read -P 3 64k 1k', '-c', 'read 0 64k', 'top'], True)
            both('top', content('out') if os.path.exists('out') else None)
            run(io, ['-f', 'vmdk', '-c', f'write -P {rnd.randrange(1, 255)} 0 512', 'base'], True)
            p = read_as(VMM, 'top', status=1)
            assert "'base' has changed since the image was made over it" in p.stderr, p.stderr
            assert run(QEMU, ['convert', '-O', 'raw', 'top', 'o']).returncode == 1
            same(['info', 'top'])
            os.unlink('out')


@test('a CID of fewer digits stays in its place')
def _():
    write('f', bytes(1 << 20))
    for cid in 'a', '1234', 'fffffffe':
        write('x', descriptor('monolithicFlat', 'RW 2048 FLAT "f" 0', cid))
        before = content('x')
        run(VMM_IO, ['-f', 'vmdk', '-c', 'write 0 512', 'x'], True)
        after = content('x')
        found = re.search(rb'^CID=([0-9a-f]+)$', after, re.M).group(1)
        assert len(after) == len(before) and len(found) == len(cid) and found != cid.encode(), after
        assert after.replace(b'CID=' + found, b'CID=' + cid.encode(), 1) == before
        before = content('x')
        run(VMM_IO, ['-f', 'vmdk', '-r', '-c', 'read 0 512', 'x'], True)
        run(VMM_IO, ['-f', 'vmdk', '-c', 'read 0 512', '-c', 'flush', 'x'], True)
        assert content('x') == before


@test('a compressed grain is written once')
def _():
    run(VMM, ['create', '-q', '-f', 'vmdk', '-o', 'subformat=streamOptimized', 'x', '200k'], True)
    for io in VMM_IO, QEMU_IO:
        for command in 'write 0 64k', 'write 0 4k', 'write 192k 8k':
            p = run(io, ['-f', 'vmdk', '-c', command, 'x'])
            good = command != 'write 0 4k' and io == VMM_IO
            assert good == ('failed' not in p.stdout + p.stderr), (io, command, p)
    for tool in QEMU, VMM:
        run(tool, ['check', 'x'], True)


@test('what create refuses')
def _():
    run(VMM, ['create', '-q', '-f', 'vmdk', 'b', '1M'], True)
    run(VMM, ['create', '-q', '-f', 'raw', 'r', '1M'], True)
    for o in (['-o', 'adapter_type=foo'], ['-o', 'subformat=foo'], ['-o', 'compat6=on,hwversion=3'],
              ['-o', 'subformat=monolithicFlat,zeroed_grain=on'],
              ['-o', 'subformat=monolithicFlat', '-b', 'b', '-F', 'vmdk'],
              ['-b', 'r', '-F', 'raw'], ['-b', 'nonex', '-F', 'vmdk']):
        same(['create', '-f', 'vmdk', *o, 'x', '1M'], stdout=False)
    p = run(VMM, ['create', '-f', 'vmdk', 'x', '3T'])
    assert p.returncode == 1 and 'cannot be that large' in p.stderr, p
    run(VMM, ['create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'x.vmdk', '5G'],
        True)
    assert {'x-s001.vmdk', 'x-s002.vmdk', 'x-s003.vmdk'} <= set(os.listdir('.'))
    os.mkdir('ro')
    os.mkdir('ro/x-flat.vmdk')
    p = run(VMM, ['create', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'ro/x.vmdk', '1M'])
    assert p.returncode == 1 and os.listdir('ro') == ['x-flat.vmdk'], (p, os.listdir('ro'))


main()
