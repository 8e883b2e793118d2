#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats that are only read: parallels (images by qemu-img), dmg (images by this script).
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import base64
import bz2
import os
import random
import shutil
import struct
import sys
import zlib

VMM_IO = os.path.abspath(sys.argv.pop(2))

from imgtest import QEMU, VMM, data_file, main, run, same, test  # noqa: E402


def read(name):
    with open(name, 'rb') as f:
        return f.read()


def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)


def patched(name, out, *patches, length=None, more=b''):
    image = bytearray(read(name))
    for at, data in patches:
        image[at:at + len(data)] = data
    write(out, bytes(image[:length]) + more)


def refused_to_write(name):
    before = read(name)
    p = run(VMM_IO, ['-c', 'write 0 512', name])
    assert p.returncode and 'can only be read (read-only=on)' in p.stderr, p.stderr
    p = run(VMM, ['create', '-f', name.split('.')[-1], 'new', '1M'])
    assert p.returncode and 'does not support image creation' in p.stderr, p.stderr
    assert read(name) == before and not os.path.exists('new')


# --- parallels ---

@test('parallels: what qemu-img has made is read, and described in its words')
def _():
    data_file('raw', 7 << 20)
    for option in [], ['-o', 'cluster_size=64k'], ['-o', 'cluster_size=4k']:
        run(QEMU, ['convert', '-f', 'raw', '-O', 'parallels'] + option + ['raw', 'x.parallels'],
            check=True)
        run(VMM, ['convert', '-O', 'raw', 'x.parallels', 'back'], check=True)
        assert read('back') == read('raw'), option
        same(['info', 'x.parallels'])
        same(['check', 'x.parallels'])
        same(['compare', 'x.parallels', 'raw'])
    run(QEMU, ['create', '-q', '-f', 'parallels', 'x.parallels', '7M'], check=True)
    same(['check', 'x.parallels'])
    same(['map', '--output=json', 'x.parallels'])
    refused_to_write('x.parallels')


@test('parallels: the older magic counts sectors, and clusters need not be a power of two')
def _():
    data_file('raw', 63 * 512 * 20)
    data = read('raw')
    clusters = [data[i:i + 63 * 512] for i in range(0, len(data), 63 * 512)]
    header = struct.pack('<16sIIIIIQIIIQ', b'WithoutFreeSpace', 2, 16, 40, 63, len(clusters),
                         len(data) // 512 | 7 << 32, 0, 0, 0, 0)
    table, body, at = [], b'', 1
    for c in reversed(clusters):
        table.insert(0, at if any(c) else 0)
        if any(c):
            body += c
            at += 63
    write('x', (header + struct.pack(f'<{len(table)}I', *table)).ljust(512, b'\0') + body)
    for tool in QEMU, VMM:
        run(tool, ['convert', '-O', 'raw', 'x', 'back'], check=True)
        assert read('back') == data, tool


@test('parallels: spoiled images')
def _():
    write('raw', os.urandom(1 << 20) * 10)
    run(QEMU, ['convert', '-f', 'raw', '-O', 'parallels', 'raw', 'good'], check=True)
    le = struct.pack
    for patch in ((0, b'x'), (16, b'\3'), (28, le('<I', 0)), (28, le('<I', 0x7fffffff)),
                  (32, le('<I', 0x7fffffff))):
        patched('good', 'x', patch)
        same(['info', '-f', 'parallels', 'x'])
    for patches, more in (([(44, le('<I', 0x746f6e59))], b''), ([(64, le('<I', 100))], b''),
                          ([(68, read('good')[64:68])], b''), ([(64, le('<I', 0))], b''),
                          ([(28, le('<I', 63))], b''), ([(32, le('<I', 4))], b''),
                          ([], bytes(3 << 20))):
        patched('good', 'x', *patches, more=more)
        same(['check', 'x'])
    patched('good', 'x', length=9 << 20)
    for tool in QEMU, VMM:
        p = run(tool, ['check', 'x'])
        assert p.returncode == 2 and 'ERROR cluster 9 is outside image' in p.stderr, p.stderr
    p = run(VMM, ['convert', '-O', 'raw', 'x', 'back'])  # not zeroes
    assert p.returncode == 1 and 'Input/output error' in p.stderr, p.stderr
    patched('good', 'x', (32, le('<I', 3000000)))
    assert 'truncated' in run(VMM, ['info', 'x']).stderr


# --- dmg ---

ZERO, RAW, IGNORE, ADC, ZLIB, BZIP2, LZFSE, LZMA = 0, 1, 2, *range(0x80000004, 0x80000009)
END, COMMENT = 0xffffffff, 0x7ffffffe


def adc(data):
    """Runs of new bytes, and of old ones in both forms, where they are near."""
    out, i = b'', 0
    while i < len(data):
        back = next((d for d in (1, 5, 1500) if i >= d and data[i - d:i - d + 8] == data[i:i + 8]
                     and len(data) - i >= 8), None)
        if back:
            n = 8
            while n < 67 and i + n < len(data) and data[i + n] == data[i + n - back]:
                n += 1
            if n <= 18 and back <= 1024:
                out += bytes([(n - 3) << 2 | (back - 1) >> 8, (back - 1) & 255])
            else:
                out += bytes([0x40 | n - 4]) + struct.pack('>H', back - 1)
            i += n
        else:
            n = min(100, len(data) - i)
            for k in range(1, n):
                if any(i + k >= d and data[i + k - d:i + k - d + 8] == data[i + k:i + k + 8]
                       for d in (1, 5, 1500)):
                    n = k
                    break
            out += bytes([0x80 | n - 1]) + data[i:i + n]
            i += n
    return out


PACK = {ZERO: lambda d: b'', IGNORE: lambda d: b'', RAW: bytes, ZLIB: zlib.compress,
        BZIP2: bz2.compress, ADC: adc, LZFSE: bytes, LZMA: bytes}


def mish(chunks, sector):
    return b''.join([b'mish', struct.pack('>IQQQII', 1, sector, sum(c[2] for c in chunks), 0, 0, 0),
                     bytes(24 + 136), struct.pack('>I', len(chunks))] +
                    [struct.pack('>IIQQQQ', c[0], 0, *c[1:]) for c in chunks])


def dmg(name, data, kinds, fork=False, tables=2, size=512 * 64, change=None, front=b''):
    """An image with the data in chunks of these kinds, in turn."""
    body, chunks = front, []
    for i, at in enumerate(range(0, len(data), size)):
        part, kind = data[at:at + size], kinds[i % len(kinds)]
        kind = (ZERO if kind != IGNORE else IGNORE) if not any(part) else kind
        kind = RAW if kind in (ZERO, IGNORE) and any(part) else kind
        packed = PACK[kind](part)
        chunks.append([kind, at // 512, len(part) // 512, len(body) - len(front), len(packed)])
        body += packed
    if change:
        change(chunks)
    lists, per = [], -(-len(chunks) // tables)
    for i in range(0, len(chunks), per):
        sector = chunks[i][1]
        own = [[c[0], c[1] - sector] + c[2:] for c in chunks[i:i + per]]
        lists.append(mish(own + [[COMMENT, 0, 0, 0, 0], [END, 0, 0, 0, 0]], sector))
    koly = bytearray(struct.pack('>4sIII', b'koly', 4, 512, 1).ljust(512, b'\0'))
    struct.pack_into('>QQ', koly, 24, len(front), len(body))
    struct.pack_into('>Q', koly, 492, len(data) // 512)
    if fork:
        area = b''.join(struct.pack('>I', len(m)) + m for m in lists)
        area = struct.pack('>IIII', 256, 256 + len(area), len(area), 0).ljust(256, b'\0') + area
        struct.pack_into('>QQ', koly, 40, len(body), len(area))
    else:
        area = ('<?xml version="1.0"?>\n<plist version="1.0">\n<dict><key>resource-fork</key><dict><key>blkx</key>'
                '<array>' + ''.join('<dict><key>Data</key>\n<data>\n' +
                                    base64.encodebytes(m).decode() +
                                    '</data><key>ID</key><string>0</string><key>Name</key>'
                                    '<string>disk (Apple_HFS : 1)</string></dict>'
                                    for m in lists) +
                '</array><key>plst</key><array><dict><data>AAAA</data></dict></array></dict>'
                '</dict>\n</plist>\n').encode()
        struct.pack_into('>QQ', koly, 216, len(body), len(area))
    write(name, body + area + bytes(koly))


def some_data(sectors=1500):
    rnd = random.Random(11)
    data = bytearray(sectors * 512)
    for _ in range(20):
        n = rnd.choice([512, 4096, 70000])
        at = rnd.randrange(len(data) - n)
        data[at:at + n] = rnd.choice([rnd.randbytes(n), b'word ' * n, bytes([rnd.randrange(256)]) * n])[:n]
    return bytes(data)


@test('dmg: chunks of every kind, in a property list and in a resource fork')
def _():
    data = some_data()
    other = shutil.which('dmg2img')
    for kinds in [ZLIB], [BZIP2], [ADC], [RAW], [ZERO, ZLIB, IGNORE, BZIP2, RAW, ADC]:
        for more in {}, {'fork': True}, {'tables': 1, 'front': b'x' * 1000, 'size': 512 * 300}:
            dmg('x.dmg', data, kinds, **more)
            run(VMM, ['convert', '-O', 'raw', 'x.dmg', 'back'], check=True)
            assert read('back') == data, (kinds, more)
            if other and not more.get('fork'):
                run(other, ['x.dmg', 'other'], check=True)
                assert read('other').ljust(len(data), b'\0') == data, (kinds, more)
            if QEMU and ADC not in kinds and BZIP2 not in kinds:
                run(QEMU, ['convert', '-f', 'dmg', '-O', 'raw', 'x.dmg', 'other'], check=True)
                assert read('other') == data, (kinds, more)
    same(['info', '-f', 'dmg', 'x.dmg'], stderr=False)
    dmg('x.dmg', data, [ZLIB])
    same(['check', '-f', 'dmg', 'x.dmg'], stderr=False)
    assert 'file format: dmg' in run(VMM, ['info', 'x.dmg']).stdout
    refused_to_write('x.dmg')
    os.rename('x.dmg', 'x')  # known by its trailer, not by its name
    assert 'file format: dmg' in run(VMM, ['info', 'x']).stdout


@test('dmg: random reads')
def _():
    rnd = random.Random(4)
    data = some_data()
    dmg('x.dmg', data, [ZLIB, BZIP2, RAW, ADC])
    write('raw', data)
    args = []
    for _ in range(60):
        n = rnd.choice([512, 1024, 65536, 300 * 512])
        args += ['-c', f'read -v {rnd.randrange((len(data) - n) // 512) * 512} {n}']
    want = run(VMM_IO, ['-r', '-f', 'raw'] + args + ['raw'], check=True).stdout
    got = run(VMM_IO, ['-r', '-f', 'dmg'] + args + ['x.dmg'], check=True).stdout

    def dumps(text):
        return [line for line in text.splitlines() if not line.endswith('ops/sec)')]
    assert dumps(want) == dumps(got)


@test('dmg: spoiled images, and what is not supported, are refused by name')
def _():
    data = some_data(1000)

    def set_field(n, field, value):
        def fn(chunks):
            chunks[n][field] = value
        return fn
    for change, words in (
            (set_field(0, 0, LZFSE), 'compressed by LZFSE'), (set_field(0, 0, LZMA), 'by LZMA'),
            (set_field(0, 0, 0x80000003), 'unknown type 0x80000003'),
            (set_field(1, 1, 5), 'for the same sectors'), (set_field(1, 2, 1 << 60), 'end of the disk'),
            (set_field(1, 1, 1 << 63), 'end of the disk'), (set_field(1, 3, 1 << 63), 'end of the file'),
            (set_field(1, 4, 1 << 40), 'end of the file')):
        dmg('x', data, [ZLIB], change=change)
        p = run(VMM, ['info', 'x'])
        assert p.returncode == 1 and words in p.stderr, (words, p.stderr)
    for change in set_field(1, 4, 10), set_field(1, 3, 3):
        dmg('x', data, [ZLIB, BZIP2, ADC], change=change)
        p = run(VMM, ['convert', '-O', 'raw', 'x', 'back'])
        assert p.returncode == 1 and 'Input/output error' in p.stderr, p.stderr
    dmg('good', data, [ZLIB])
    size = os.path.getsize('good')
    for at, value, words in (
            (492, 1 << 62, 'trailer'), (24, 1 << 62, 'trailer'), (216, 1 << 62, 'no table'),
            (224, 1 << 62, 'no table'), (492, 10, 'end of the disk')):
        patched('good', 'x', (size - 512 + at, struct.pack('>Q', value)))
        p = run(VMM, ['info', 'x'])
        assert p.returncode == 1 and words in p.stderr, (words, p.stderr)
    patched('good', 'x', length=size - 512)
    p = run(VMM, ['info', '-f', 'dmg', 'x'])
    assert p.returncode == 1 and 'Not a DMG image' in p.stderr, p.stderr
    write('x', b'koly')
    p = run(VMM, ['info', '-f', 'dmg', 'x'])
    assert p.returncode == 1 and 'too short' in p.stderr, p.stderr


@test('a raw image that was only probed does not get the end of a DMG')
def _():
    dmg('d', os.urandom(512 * 100), [RAW])
    tail = read('d')[-512:]
    write('tail', tail)
    write('x', bytes(65536))
    for at, commands, allowed in (
            (65024, ['write -s tail 65024 512'], False), (64512, ['write -s tail 64512 512'], True),
            (65024, ['write -s tail 65024 256', 'write -P 0 65280 256'], True)):
        write('x', bytes(65536))
        args = [a for c in commands for a in ('-c', c)]
        p = run(VMM_IO, args + ['x'])
        failed = 'Operation not permitted' in p.stdout + p.stderr
        assert failed != allowed or len(commands) > 1, (at, p.stdout, p.stderr)
        assert 'raw' in run(VMM, ['info', 'x']).stdout.splitlines()[1]
        write('x', bytes(65536))
        run(VMM_IO, ['-f', 'raw'] + args[:2] + ['x'], check=True)


main()
