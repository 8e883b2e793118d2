#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX images: as qemu-img makes, reads and describes them; the log.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import os
import random
import shutil
import struct
import sys

VMM_IO = os.path.abspath(sys.argv.pop(2))
QEMU_IO = shutil.which('qemu-io')

from imgtest import QEMU, VMM, data_file, main, normal, run, same, test  # noqa: E402

HEADERS, REGIONS, LOG, BAT, METADATA = (0x10000, 0x20000), (0x30000, 0x40000), 1 << 20, 2 << 20, 3 << 20
ITEMS = METADATA + 0x10000


def read(name):
    with open(name, 'rb') as f:
        return f.read()


def crc_table():
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
        yield c


TABLE = list(crc_table())


def put_crc(image, at, length):
    image[at + 4:at + 8] = bytes(4)
    c = 0xffffffff
    for byte in image[at:at + length]:
        c = TABLE[(c ^ byte) & 255] ^ c >> 8
    struct.pack_into('<I', image, at + 4, c ^ 0xffffffff)


def spoiled(name, out, *patches, length=None, sums=True):
    """Writes the image with some bytes changed, and the checksums right or wrong."""
    image = bytearray(read(name))
    for at, data in patches:
        image[at:at + len(data)] = data
    for places, size in (HEADERS, 4096), (REGIONS, 65536):
        for at in places:
            if sums and any(at <= p[0] < at + size for p in patches):
                put_crc(image, at, size)
    with open(out, 'wb') as f:
        f.write(image[:length])


@test('new images are described as those of qemu-img')
def _():
    for option in ('subformat=dynamic', 'subformat=fixed', 'block_size=1M', 'block_size=1000000',
                   'block_size=512M', 'log_size=5000000', 'block_state_zero=off', 'log_size=1000'):
        same(['create', '-f', 'vhdx', '-o', option, 'x', '10M'])
        same(['info', 'x'])
        same(['info', '--output=json', '-f', 'vhdx', 'x'], stdout=False)
        same(['check', 'x'])
        run(QEMU, ['check', 'x'], check=True)
    for size in '512', '513', '1G', '1025M', '101G', '33T', '64T':
        same(['create', '-q', '-f', 'vhdx', 'x', size])
        same(['info', 'x'])
    for option in 'block_size=3M', 'log_size=0', 'log_size=5G':
        same(['create', '-q', '-f', 'vhdx', '-o', option, 'x', '10M'])
    same(['create', '-q', '-f', 'vhdx', 'x', '65T'])


@test('what the format cannot do')
def _():
    same(['create', '-q', '-f', 'vhdx', '-b', 'y', 'x', '1M'])
    run(VMM, ['create', '-q', '-f', 'vhdx', 'x', '20M'], check=True)
    same(['resize', 'x', '30M'])
    same(['measure', '-O', 'vhdx', '--size', '10M'])
    same(['convert', '-c', '-O', 'vhdx', 'x', 'y'])
    same(['rebase', '-u', '-b', 'y', '-F', 'raw', 'x'])


@test('data that one program writes is read by the other')
def _():
    data_file('raw', 7 << 20)
    tool = shutil.which('vhdiinfo')
    for option in 'subformat=dynamic,block_size=1M', 'subformat=fixed', 'block_state_zero=off':
        for writer, reader in (VMM, QEMU), (QEMU, VMM):
            run(writer, ['convert', '-f', 'raw', '-O', 'vhdx', '-o', option, 'raw', 'x'],
                check=True)
            run(reader, ['convert', '-f', 'vhdx', '-O', 'raw', 'x', 'back'], check=True)
            assert read('back') == read('raw'), (option, writer)
            same(['check', 'x'])
            if tool and writer == VMM:  # libvhdi
                text = run(tool, ['x'], check=True).stdout
                assert 'VHDX (version 2)' in text and '(7340032 bytes)' in text, text
            os.remove('x')


@test('both write to one image in turn')
def _():
    if not QEMU_IO:
        return 'no qemu-io'
    rnd = random.Random(3)
    size = 12 << 20
    run(VMM, ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'x', '12M'], check=True)
    model = bytearray(size)
    for turn in range(4):
        commands = []
        for _ in range(8):
            at, n = rnd.randrange(size // 512 - 300) * 512, rnd.randrange(1, 300) * 512
            value = rnd.randrange(256)
            zero = rnd.random() < 0.2
            commands += ['-c', f'write -z {at} {n}' if zero else f'write -P {value} {at} {n}']
            model[at:at + n] = bytes([0 if zero else value]) * n
        run([QEMU_IO, VMM_IO][turn % 2], ['-f', 'vhdx'] + commands + ['x'], check=True)
        for tool in QEMU, VMM:
            run(tool, ['check', 'x'], check=True)
            run(tool, ['convert', '-f', 'vhdx', '-O', 'raw', 'x', 'out'], check=True)
            assert read('out') == model, (turn, tool)


@test('a table of many sectors, chunks among them, with few and many in one entry of the log')
def _():
    blocks = list(range(0, 9000, 450)) + list(range(4090, 4102))
    run(VMM, ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'x', '9000M'], check=True)
    commands = []
    for i, block in enumerate(blocks):
        commands += ['-c', f'write -P {i + 1} {block << 20} 512']
        commands += ['-c', 'flush'] if i % 7 == 0 else []
    run(VMM_IO, ['-f', 'vhdx'] + commands + ['x'], check=True)
    commands = []
    for i, block in enumerate(blocks):
        commands += ['-c', f'read -P {i + 1} {block << 20} 512']
        commands += ['-c', f'read -P 0 {(block << 20) + 512} 512']
    for tool in QEMU_IO, VMM_IO:
        if tool:
            p = run(tool, ['-f', 'vhdx', '-r'] + commands + ['x'], check=True)
            assert 'verification failed' not in p.stdout, p.stdout
    run(QEMU, ['check', 'x'], check=True)


def crashed():
    """An image whose last blocks are in the log alone."""
    run(VMM, ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'x', '6M'], check=True)
    run(VMM_IO, ['-f', 'vhdx', '-c', 'write -P 1 0 64k', '-c', 'flush', '-c',
                 'write -P 2 3M 64k', '-c', 'flush', '-c', 'abort', 'x'])
    with open('x', 'r+b') as f:
        f.seek(BAT)
        f.write((struct.pack('<Q', 2) * 6))


def holds_all(name='x'):
    run(QEMU, ['convert', '-f', 'vhdx', '-O', 'raw', name, 'out'], check=True)
    want = bytearray(6 << 20)
    want[:65536] = b'\1' * 65536
    want[3 << 20:(3 << 20) + 65536] = b'\2' * 65536
    return read('out') == want


@test('a log is replayed by who opens the image to write, and by nobody else')
def _():
    crashed()
    before = read('x')
    for args in ['info', 'x'], ['check', 'x'], ['map', 'x'], ['convert', '-O', 'raw', 'x', 'y']:
        p = run(VMM, args)
        q = run(QEMU, args)
        want = normal(q.stderr).strip().replace('. To replay the log, run:\n', '; to replay the '
                                                'log, run: ').replace("qemu-img check", 'X')
        assert p.returncode == q.returncode == 1, (args, p.returncode, q.returncode)
        words = "VHDX image file 'x' opened read-only, but contains a log that needs to be replayed"
        assert words in p.stderr and words in q.stderr, (p.stderr, want)
        assert "check -r all 'x'" in p.stderr
        assert read('x') == before
    shutil.copy('x', 'copy')
    run(QEMU, ['check', '-r', 'all', 'copy'], check=True)
    assert holds_all('copy')
    same(['check', '-r', 'all', 'x'], prepare=crashed)
    assert holds_all()
    crashed()
    run(VMM_IO, ['-f', 'vhdx', '-c', 'read 0 512', 'x'], check=True)
    assert holds_all()
    same(['check', 'x'])


@test('a spoiled log is not replayed')
def _():
    crashed()
    image = read('x')
    first = image.index(b'loge', LOG)
    last = image.rindex(b'loge', LOG, BAT)
    assert first < last
    for at in last + 100, last + 4096 + 50:  # the last entry: what came before it is whole
        spoiled('x', 'y', (at, bytes([image[at] ^ 1])))
        run(VMM, ['check', '-r', 'all', 'y'], check=True)
        run(QEMU, ['check', 'y'], check=True)
    # A file that is shorter than when the log was written.
    shutil.copy('x', 'y')
    os.truncate('y', os.path.getsize('x') - (1 << 20))
    p = run(VMM, ['check', '-r', 'all', 'y'])
    assert p.returncode == 1 and 'has been truncated' in p.stderr, p.stderr


@test('a spoiled image is refused, and where qemu-img says why, in its words')
def _():
    run(VMM, ['create', '-q', '-f', 'vhdx', 'good', '10M'], check=True)
    os.truncate('good', 8 << 20)
    le = struct.pack
    for patches, words in (
            ([(HEADERS[0], b'x'), (HEADERS[1], b'x')], 'No valid VHDX header found'),
            ([(HEADERS[0] + 66, b'\2'), (HEADERS[1] + 66, b'\2')], 'No valid VHDX header found'),
            ([(HEADERS[1] + 64, b'\2')], 'Unsupported version 2 of the VHDX log'),
            ([(HEADERS[1] + 72, b'\1')], 'Invalid place of the VHDX log'),
            ([(REGIONS[0], b'x'), (REGIONS[1], b'x')], 'No valid VHDX region table'),
            ([(REGIONS[0] + 8, le('<I', 2048)), (REGIONS[1], b'x')], 'No valid VHDX region table'),
            ([(REGIONS[0] + 8, b'\1')], 'no metadata region'),
            ([(REGIONS[0] + 16 + 32 + 16, le('<Q', 2 << 20))],
             'VHDX region 2097152-3145728 overlaps with region 2097152-3145728'),
            ([(REGIONS[0] + 16 + 32 + 16, le('<Q', 1 << 20))],
             'VHDX region 1048576-2097152 overlaps with region 1048576-2097152'),
            ([(REGIONS[0] + 8, b'\3'), (REGIONS[0] + 80, b'x' * 16 + le('<QII', 5 << 20, 1 << 20, 1))],
             'must be known'),
            ([(METADATA, b'x')], 'metadata table is not valid'),
            ([(METADATA + 10, b'\4')], 'lacks metadata'),
            ([(ITEMS + 4, b'\2')], 'is a differencing VHDX image, which is not supported'),
            ([(ITEMS, le('<I', 3 << 20))], 'Invalid VHDX block size'),
            ([(ITEMS + 8, le('<Q', 1001))], 'Invalid VHDX disk size'),
            ([(ITEMS + 8, le('<Q', 66 << 40))], 'Invalid VHDX disk size'),
            ([(ITEMS + 8, le('<Q', 60 << 40))], 'too small'),
            ([(ITEMS + 32, le('<I', 1024))], 'Invalid VHDX logical sector size'),
            ([(BAT, le('<Q', 100 << 20 | 6))], 'VHDX BAT entry 0 start offset 104857600 points '
             'after end of file (8388608). Image has probably been truncated.'),
            ([(BAT, le('<Q', 7 << 20 | 6))], 'VHDX BAT entry 0 end offset 15728639 points after '
             'end of file (8388608). Image has probably been truncated.')):
        spoiled('good', 'x', *patches)
        p, q = run(VMM, ['info', 'x']), run(QEMU, ['info', 'x'])
        assert p.returncode == 1 and words in p.stderr, (words, p.stderr)
        said = q.stderr.splitlines()[0] if q.stderr else ''
        if said and 'Could not open' not in said:
            assert words in said, (words, said)
    spoiled('good', 'x', (BAT, le('<Q', 100 << 20 | 6)))
    same(['check', 'x'])
    spoiled('good', 'x', (HEADERS[0], b'x'), sums=False)
    same(['info', 'x'])
    spoiled('good', 'x', (REGIONS[0], b'x'), sums=False)
    run(VMM, ['info', 'x'], check=True)  # by the second copy
    spoiled('good', 'x', (ITEMS + 32, le('<I', 4096)))
    run(VMM, ['info', 'x'], check=True)
    spoiled('good', 'x', (BAT, le('<Q', 7)))
    p = run(VMM, ['convert', '-O', 'raw', 'x', 'y'])
    assert p.returncode == 1 and 'Input/output error' in p.stderr, p.stderr


main()
