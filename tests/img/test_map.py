#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-img map, info and check beside qemu-img's: what lies where, over holes of the files below.
Called with the path of vmm-img; TAP on stdout."""
import json
import os
import shutil

from imgtest import QEMU, VMM, main, run, share, test

MIB = 1 << 20
QEMU_IO = shutil.which('qemu-io')
EXTENTS = 'i', 'df', 'i-flat.vmdk', 'i-f001.vmdk'


def create(name, fmt, options, size, *more):
    run(QEMU, ['create', '-q', '-f', fmt, *(['-o', options] if options else []), *more, name, size],
        True)


def write(name, fmt, *commands):
    run(QEMU_IO, ['-f', fmt, *(x for c in commands for x in ('-c', c)), name], True)


def both(args):
    """What the two print, with JSON parsed; how they end."""
    results = []
    for tool in QEMU, VMM:
        p = run(tool, args)
        text = p.stdout
        if args[1] == '--output=json':
            text = json.loads(text)
        results.append((p.returncode, text, p.stderr.replace('qemu-img', 'vmm-img')))
    assert results[0] == results[1], (args, *results)
    return results[0][1]


def same_maps(name, fmt):
    both(['map', '-f', fmt, '-s', '100k', '-l', '3M', name])
    return both(['map', '--output=json', '-f', fmt, name])


@test('data that has become a hole of the file')
def _():
    for fmt, options, told in share([
            ('raw', '', False), ('vpc', 'force_size=on', False),
            ('vpc', 'subformat=fixed,force_size=on', True), ('vmdk', '', False),
            ('vmdk', 'subformat=monolithicFlat', True), ('vmdk', 'subformat=twoGbMaxExtentFlat', True),
            ('vdi', '', False), ('vdi', 'static=on', True), ('qed', '', False), ('qcow', '', False),
            ('qcow2', '', False), ('qcow2', 'preallocation=metadata', True),
            ('qcow2', 'preallocation=falloc', False), ('qcow2', 'compat=0.10', False),
            ('qcow2', 'extended_l2=on', False), ('qcow2', 'data_file=df', False),
            ('qcow2', 'data_file=df,data_file_raw=on', False), ('parallels', '', False)]):
        for name in EXTENTS:
            if os.path.exists(name):
                os.unlink(name)
        create('i', fmt, options, '8M')
        write('i', fmt, 'write -P 7 0 4M', 'write -P 8 6M 1M')
        place = max((e for e in json.loads(run(VMM, ['map', '--output=json', '-f', fmt, 'i']).stdout)
                     if e['data']), key=lambda e: e['length'])
        with open([x for x in EXTENTS if os.path.exists(x)][-1], 'r+b') as f:
            run('fallocate', ['-p', '-o', str(-(-place['offset'] // 4096) * 4096 + 128 * 1024),
                              '-l', '256k', f.name], True)
        e = same_maps('i', fmt)
        assert any(x['data'] and x['zero'] for x in e) == told, (fmt, options, e)


@test('a table of refcounts that is long, in a file that is longer')
def _():
    create('i', 'qcow2', 'cluster_size=512', '8M')
    write('i', 'qcow2', 'write -P 7 0 1M', 'write -P 8 6M 1M')
    want = run(VMM, ['map', '--output=json', 'i'], True).stdout
    with open('i', 'r+b') as f:
        f.truncate(8 << 40)  # each cluster of which was looked up
        assert run(VMM, ['map', '--output=json', 'i'], True).stdout == want
        f.seek(48)
        at = int.from_bytes(f.read(8), 'big')
        f.seek(at)
        block = f.read(8)
        f.seek(16 * MIB)
        f.write(block * (MIB - 512))  # the table has one block as often as fits
        f.seek(48)
        f.write((16 * MIB).to_bytes(8, 'big') + (8 * MIB // 512 - 8).to_bytes(4, 'big'))
    assert run(VMM, ['map', '--output=json', 'i'], True).stdout == want


@test('overlays over files with holes, shorter and longer ones')
def _():
    with open('raw', 'wb') as f:
        f.truncate(2 * MIB + 1536)
        for at in 0, 300 * 1024, MIB, 2 * MIB:
            f.seek(at)
            f.write(bytes([at % 251 + 1]) * 5000)
    with open('none', 'wb'):
        pass
    create('vpc', 'vpc', 'force_size=on', '4M')
    write('vpc', 'vpc', 'write -P 7 2500k 100k')
    create('q', 'qcow2', 'extended_l2=on', '4M')
    write('q', 'qcow2', 'write -P 1 4k 100k', 'write -z 1M 4k', 'write -P 2 2M 4k', 'discard 2M 64k')
    write('q', 'qcow2', 'write -z 3M 1M')
    for base, fmt in share([('raw', 'raw'), ('vpc', 'vpc'), ('q', 'qcow2'), ('none', 'raw')]):
        for top, options in (('qcow2', ''), ('qcow2', 'extended_l2=on'), ('qed', '')):
            create('i', top, options, '5M', '-b', base, '-F', fmt)
            write('i', top, 'write -P 3 500k 4k', 'write -z 1000k 200k', 'write -P 4 2000k 500k',
                  'write -zu 2100k 300k', 'write -P 5 4500k 4k')
            create('i2', 'qcow2', '', '6M', '-b', 'i', '-F', top)
            write('i2', 'qcow2', 'write -P 3 600k 4k', 'write -z 3M 64k')
            same_maps('i2', 'qcow2')


@test('an external data file in info and check')
def _():
    for options in 'data_file=df', 'data_file=df,data_file_raw=on':
        create('i', 'qcow2', options, '4M')
        write('i', 'qcow2', 'write -P 3 0 200k', 'write -P 3 1M 4k', 'write -z 2M 64k',
              'write -P 1 3M 100k', 'discard 3M 64k')
        for command in 'info', 'check':
            both([command, 'i'])
            both([command, '--output=json', 'i'])
        # What the image is can be told without the data file.
        os.unlink('df')
        both(['info', 'i'])
        for args in (['map', 'i'], ['check', 'i'], ['convert', '-O', 'raw', 'i', 'o']):
            p = run(VMM, args)
            assert p.returncode == 1 and 'df' in p.stderr, p


@test('a strict comparison with progress, of disks of two lengths')
def _():
    create('a', 'raw', '', '1M')
    create('b', 'raw', '', '2M')
    both(['compare', '-s', '-p', '-f', 'raw', '-F', 'raw', 'a', 'b'])


main(shared=True)
