#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-img amend of qcow2 images, beside qemu-img's. Called with the path of vmm-img; TAP on
stdout."""
import json
import os
import random
import shutil
import struct

from imgtest import QEMU, VMM, data_file, main, run, same, share, test

MIB = 1 << 20
QEMU_IO = shutil.which('qemu-io')


def image(options='', more=(), name='i'):
    """An image with data, zeroes by a flag, and a hole; over a backing file 'b'."""
    data_file('b', 3 * MIB)
    backed = 'data_file' not in options
    run(QEMU, ['create', '-q', '-f', 'qcow2', *(['-o', options] if options else []),
               *(['-b', 'b', '-F', 'raw'] if backed else []), name, '4M'], True)
    run(QEMU_IO, ['-c', 'write -P 7 64k 200k', '-c', 'write -P 8 3M 64k',
                  '-c', 'write -z 1M 256k', *more, name], True)


ALL = ['compat=0.10', 'compat=1.1', 'compat=v2', 'compat=v3', 'lazy_refcounts=on',
       'lazy_refcounts=off', 'refcount_bits=1', 'refcount_bits=8', 'refcount_bits=64', 'size=5M',
       'data_file=e', 'data_file_raw=on', 'data_file_raw=off',
       'compat=1.1,refcount_bits=32,lazy_refcounts=on',
       'compat=0.10,refcount_bits=16,lazy_refcounts=off']


def content(name='i'):
    run(QEMU, ['convert', '-O', 'raw', name, 'content'], True)
    with open('content', 'rb') as f:
        return f.read()


@test('words and results are those of qemu-img')
def _():
    random.seed(1)
    for made in share(['', 'compat=0.10', 'lazy_refcounts=on', 'refcount_bits=64', 'cluster_size=512',
                       'data_file=d', 'extended_l2=on', 'data_file=d,data_file_raw=on']):
        if 'raw' in made:
            def prepare(made=made):
                run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', made, 'i', '4M'], True)
        else:
            def prepare(made=made):
                image(made)
        turn = random.sample(ALL, len(ALL))[:8] if made else ALL
        for options in turn:
            results = []
            for tool in QEMU, VMM:
                prepare()
                want = content()
                p = run(tool, ['amend', '-f', 'qcow2', '-o', options, 'i'])
                if 'data_file=e' in options and not p.returncode:
                    os.rename('d', 'e')
                run(QEMU, ['check', '-q', 'i'], True)
                got = content()
                assert got[:len(want)] == want and not any(got[len(want):]), (made, options, tool)
                info = run(QEMU, ['info', 'i'], True).stdout
                info = '\n'.join(line for line in info.splitlines() if 'disk size' not in line)
                results.append((p.returncode, info))
                if 'data_file=e' in options and not p.returncode:
                    os.unlink('e')
            assert results[0] == results[1], (made, options, p.stderr, *results)
        if os.path.exists('d'):
            os.unlink('d')


@test('messages')
def _():
    def prepare():
        image()
    for args in (['-o', 'compat=foo', 'i'], ['-o', 'help', '-f', 'qcow2'], ['i'], ['-o', 'size=5M'],
                 ['-o', 'compat=0.10,lazy_refcounts=on', 'i'],
                 ['-o', 'refcount_bits=3', 'i'], ['-o', 'data_file=x', 'i'],
                 ['-o', 'data_file_raw=on', 'i'], ['-o', 'cluster_size=4k', 'i'],
                 ['-o', 'size=5M', '-p', 'i'], ['-o', 'size=5M', 'nonex']):
        same(['amend', *args], prepare, stdout='help' not in args)


@test('the backing file')
def _():
    image()
    data_file('c', 3 * MIB)
    for options in 'backing_file=c', 'backing_file=c,backing_fmt=raw', 'backing_fmt=qcow2':
        same(['amend', '-o', options, 'i'], image)
    image()
    run(QEMU, ['rebase', '-u', '-b', 'c', '-F', 'raw', 'i'], True)
    for options, status in (('backing_file=c,backing_fmt=raw', 0), ('backing_file=', 1),
                            ('backing_file=c,backing_fmt=qcow2', 1)):
        p = run(VMM, ['amend', '-o', options, 'i'])
        assert p.returncode == status, p
        assert 'backing file: c' in run(QEMU, ['info', '-U', 'i'], True).stdout


@test('version 2 has no zero flags and no bitmaps')
def _():
    image(more=('-c', 'write -z -u 2M 128k'))
    before = content()
    run(VMM, ['amend', '-o', 'compat=0.10', 'i'], True)
    assert content() == before
    assert 'compat: 0.10' in run(QEMU, ['info', 'i'], True).stdout
    run(VMM, ['amend', '-o', 'compat=1.1,lazy_refcounts=on', 'i'], True)
    assert content() == before
    run(VMM, ['bitmap', '--add', 'i', 'x'], True)
    run(VMM, ['bitmap', '--add', '--disable', 'i', 'y'], True)
    p = run(VMM, ['amend', '-o', 'compat=0.10', 'i'])
    assert p.returncode == 0 and "2 bitmaps of 'i' are removed" in p.stderr, p
    assert content() == before
    # QEMU leaves the extension, of which it then warns, and the bitmaps' clusters.
    p = run(QEMU, ['check', 'i'])
    assert p.returncode == 0 and not p.stderr, p
    run(VMM, ['amend', '-o', 'compat=1.1', 'i'], True)
    assert 'bitmaps' not in run(QEMU, ['info', 'i'], True).stdout


@test('zero flags hide a backing file that is not open, too')
def _():
    image(more=('-c', 'write -z -u 2M 128k'))
    before = content()
    run(VMM, ['amend', '-o', 'compat=0.10', 'json:' + json.dumps(
        {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': 'i'}, 'backing': None})], True)
    assert 'compat: 0.10' in run(QEMU, ['info', 'i'], True).stdout
    assert content() == before


@test('snapshots go to version 2, each with its content')
def _():
    def contents():
        all_of = [content()]
        for name in 'abc':
            run(QEMU, ['convert', '-l', name, '-O', 'raw', 'i', 's'], True)
            with open('s', 'rb') as f:
                all_of.append(f.read())
        return all_of

    # QEMU's own is no measure: it writes zeroes into clusters that other snapshots have data in.
    random.seed(2)
    for options in share(['', 'cluster_size=4k', 'cluster_size=512', 'lazy_refcounts=on']):
        for backed in share([True, False], [0]) if options else (True, False):
            image(options)
            if not backed:
                run(QEMU, ['convert', '-O', 'qcow2', 'i', 'i2'], True)
                os.rename('i2', 'i')
            for name in 'abc':
                words = []
                for _ in range(6):
                    at, size = random.randrange(60) * 64, random.choice((4, 60, 200))
                    kind = random.choice(('write -P 5', 'write -z', 'write -zu', 'write -z'))
                    words += ['-c', f'{kind} {at}k {min(size, 4096 - at)}k']
                run(QEMU_IO, [*words, 'i'], True)
                run(QEMU, ['snapshot', '-c', name, 'i'], True)
            run(QEMU_IO, ['-c', 'write -z 0 256k', '-c', 'write -P 9 1M 64k', 'i'], True)
            want = contents()
            run(VMM, ['amend', '-o', 'compat=0.10', 'i'], True)
            assert contents() == want, (options, backed)
            p = run(QEMU, ['check', 'i'])
            assert p.returncode == 0 and 'No errors' in p.stdout, p
            assert 'compat: 0.10' in run(QEMU, ['info', 'i'], True).stdout
            for name in 'bca':
                run(QEMU, ['snapshot', '-d', name, 'i'], True)
            run(QEMU, ['check', '-q', 'i'], True)
            assert content() == want[0]


@test('snapshots that version 2 cannot have')
def _():
    def prepare():
        image()
        run(QEMU, ['snapshot', '-c', 'a', 'i'], True)
        run(QEMU, ['resize', '-q', 'i', '5M'], True)
    same(['amend', '-o', 'compat=0.10', 'i'], prepare)
    p = run(VMM, ['amend', '-o', 'compat=0.10', 'i'])
    assert p.returncode == 1 and 'Internal snapshots prevent downgrade of image' in p.stderr, p
    assert 'compat: 1.1' in run(QEMU, ['info', 'i'], True).stdout


@test('refcounts that do not fit, and an image that is inconsistent')
def _():
    image()
    run(VMM, ['snapshot', '-c', 'x', 'i'], True)
    p = run(VMM, ['amend', '-o', 'refcount_bits=1', 'i'])
    assert p.returncode == 1 and 'has a refcount of 2' in p.stderr, p
    run(VMM, ['amend', '-o', 'refcount_bits=2', 'i'], True)
    run(QEMU, ['check', '-q', 'i'], True)
    before = content()
    for bits in '64', '4', '8', '32', '16':
        run(VMM, ['amend', '-o', f'refcount_bits={bits}', 'i'], True)
        run(QEMU, ['check', '-q', 'i'], True)
        run(QEMU_IO, ['-c', 'write -P 9 2M 64k', 'i'], True)
        run(QEMU_IO, ['-c', 'write -P 10 2M 64k', '-c', 'discard 2M 64k', 'i'], True)
    assert content()[:2 * MIB] == before[:2 * MIB]
    with open('i', 'r+b') as f:
        data = f.read()
        table, = struct.unpack_from('>Q', data, 48)
        f.seek(struct.unpack_from('>Q', data, table)[0])
        f.write(bytes(65536))  # nothing is counted
    p = run(VMM, ['amend', '-o', 'refcount_bits=64', 'i'])
    assert p.returncode == 1, p


main(shared=True)
