#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-img against qemu-img: the same words, the same exit status, and each reads what the other
wrote. Called with the path of vmm-img; TAP on stdout. Without qemu-img everything is skipped."""
import json
import os
import resource
import shutil
import struct
import subprocess

from imgtest import QEMU, VMM, data_file, main, run, same, test

SHAPES = ['', 'cluster_size=512', 'cluster_size=2M', 'refcount_bits=1', 'refcount_bits=64',
          'compat=0.10', 'lazy_refcounts=on', 'extended_l2=on', 'compression_type=zstd',
          'preallocation=metadata', 'preallocation=full', 'cluster_size=4k,preallocation=falloc']


@test("names of qemu-img's that are not here")
def _():
    data_file('r', 1 << 20)
    for args, name in ((['info', 'ssh://h/r'], 'ssh'),
                       (['convert', '-O', 'rbd', 'r', 'x'], 'rbd'),
                       (['convert', '-f', 'cloop', 'r', 'x'], 'cloop'),):
        p = run(VMM, args)
        assert p.returncode == 1 and f"'{name}' is not in this program yet" in p.stderr, \
            f'{args}: {p.returncode} {p.stderr}'
    assert not os.path.exists('x')


@test('what create says')
def _():
    def clean():
        for f in os.listdir('.'):
            os.unlink(f)
    for o in SHAPES:
        same(['create', '-f', 'qcow2'] + (['-o', o] if o else []) + ['x.qcow2', '10M'], clean)
    same(['create', '-f', 'raw', 'x', '1M'], clean)
    same(['create', '-f', 'foo', 'x', '1'], clean)
    same(['create', '-f', 'qcow2', '-o', 'xx=1', 'x', '1M'], clean)
    same(['create', '-f', 'qcow2', 'x'], clean)
    same(['create', '-f', 'qcow2', '-b', 'nonex', '-F', 'raw', 'x'], clean)
    same(['create', '-f', 'raw', '-b', 'nonex', '-F', 'raw', 'x', '1M'], clean)


@test('what fails, fails alike')
def _():
    data_file('r', 1 << 20)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'a', '10M'], True)
    for args in (['info', 'nonex'], ['check', 'nonex'], ['map', 'nonex'],
                 ['check', '-f', 'raw', 'r'], ['info', '-f', 'qcow2', 'r'],
                 ['convert', '-O', 'qcow2', 'a'], ['foo'], ['resize', 'a', '5M'],
                 ['compare', '-f', 'raw', 'r', 'a'], ['compare', '-f', 'raw', '-s', 'r', 'a'],
                 ['compare', 'a', 'nonex'],
                 ['convert', '-f', 'raw', '-O', 'qcow2', '-c', 'nonex', 'b']):
        same(args)


@test('info, check, map, compare')
def _():
    data_file('r')
    for i, o in enumerate(SHAPES[:9]):
        run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2'] + (['-o', o] if o else []) +
            ['r', f'q{i}'], True)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', f'q{i}', '-F', 'qcow2', f't{i}'], True)
        for n in f'q{i}', f't{i}':
            same(['info', n])
            same(['info', '--backing-chain', n])
            same(['check', n])
            same(['compare', '-f', 'raw', 'r', n])
            a, b = (json.loads(run(t, ['info', '--output=json', n], True).stdout)
                    for t in (QEMU, VMM))
            assert a == b, f'{a}\n{b}'
            a, b = (json.loads(run(t, ['check', '--output=json', n], True).stdout)
                    for t in (QEMU, VMM))
            assert a == b, f'{a}\n{b}'
            extents = []
            for t in QEMU, VMM:
                m = json.loads(run(t, ['map', '--output=json', n], True).stdout)
                # Holes depend on how each tool wrote the file: only extents of data are compared.
                extents.append([(e['start'], e['length'], e['depth']) for e in m
                                if not e['zero']])
            total = [sum(x[1] for x in e) for e in extents]
            assert total[0] >= total[1] > 0, f'{n}: {extents}'


@test('each reads what the other wrote')
def _():
    data_file('r')
    for o in SHAPES:
        opts = ['-o', o] if o else []
        for a, b in (QEMU, VMM), (VMM, QEMU):
            for c in [[], ['-c']] if 'prealloc' not in o and o != 'cluster_size=2M' else [[]]:
                run(a, ['convert'] + c + ['-f', 'raw', '-O', 'qcow2'] + opts + ['r', 'q'], True)
                run(b, ['check', 'q'], True)
                run(b, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
                run(b, ['convert', '-f', 'qcow2', '-O', 'raw', 'q', 'back'], True)
                assert open('r', 'rb').read() == open('back', 'rb').read(), o
                os.unlink('q')
                os.unlink('back')


@test('internal snapshots stay what they were')
def _():
    data_file('r', seed=1)
    data_file('r2', seed=2)
    for o in SHAPES[:8]:
        if o == 'refcount_bits=1':
            continue
        run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2'] + (['-o', o] if o else []) +
            ['r', 'q'], True)
        run(QEMU, ['snapshot', '-c', 'one', 'q'], True)
        run(VMM, ['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'r2', 'q'], True)
        run(QEMU, ['check', 'q'], True)
        run(VMM, ['check', 'q'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r2', 'q'], True)
        same(['snapshot', '-l', 'q'])
        same(['info', 'q'])
        run(QEMU, ['snapshot', '-a', 'one', 'q'], True)
        run(VMM, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
        os.unlink('q')


@test('resize')
def _():
    data_file('r')
    for tool in QEMU, VMM:
        run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'r', 'q'],
            True)
        run(tool, ['resize', '-q', 'q', '+1G'], True)
        run(QEMU, ['check', 'q'], True)
        run(tool, ['resize', '-q', '--shrink', 'q', '3M'], True)
        run(QEMU, ['check', 'q'], True)
        run(tool, ['resize', '-q', 'q', '6M'], True)
        run(QEMU, ['convert', '-O', 'raw', 'q', 'back'], True)
        want = open('r', 'rb').read()[:3 << 20] + bytes(3 << 20)
        assert open('back', 'rb').read() == want, tool
    # A longer backing file must not show through where the disk grows.
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 't', '1M'], True)
    run(VMM, ['resize', '-q', 't', '4M'], True)
    run(QEMU, ['convert', '-O', 'raw', 't', 'back'], True)
    assert open('back', 'rb').read() == open('r', 'rb').read()[:1 << 20] + bytes(3 << 20)


@test('damage is found and repaired')
def _():
    data_file('r')
    for where, what in ((65536 * 2, b'\0\x05'), (65536 * 2 + 12, b'\0\0'),
                        (65536 * 2 + 180, b'\0\x01')):
        def spoil():
            run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
            with open('q', 'r+b') as f:
                f.seek(where)
                f.write(what)
        spoil()
        q, v = run(QEMU, ['check', 'q']), run(VMM, ['check', 'q'])
        assert q.returncode == v.returncode, f'{where}: {q.returncode} {v.returncode} {v.stderr}'
        fixed = run(VMM, ['check', '-r', 'all', 'q'])
        assert fixed.returncode == 0, fixed.stdout + fixed.stderr
        run(QEMU, ['check', 'q'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)


@test('damage that QEMU refuses to look at is repaired, too')
def _():
    data_file('r')
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'good'], True)
    with open('good', 'rb') as f:
        image = f.read()
    number = lambda at: struct.unpack_from('>Q', image, at)[0] & 0xfffffffffffe00
    l1, table = number(40), number(48)
    l2, block = number(l1), number(table)
    u64 = lambda value: struct.pack('>Q', value)
    # ((offset, bytes to write there), whether the image still holds all data after the repair).
    damage = {
        'marked as corrupt': ((72, u64(2)), True),
        'marked as dirty': ((72, u64(1)), True),
        'both': ((72, u64(3)), True),
        'block beyond the end': ((table, u64(1 << 40)), True),
        'block not aligned': ((table, u64(block + 512)), True),
        'block is an L2 table': ((table, u64(l2)), True),
        'block is the header': ((table, u64(0)), True),
        'one block twice': ((table + 8, u64(block)), True),
        'table beyond the end': ((48, u64(1 << 40)), True),
        'table not aligned': ((48, u64(table + 512)), True),
        'table is the header': ((48, u64(0)), True),
        'table is the L1 table': ((48, u64(l1)), True),
        'table beyond the end in part':
            ((48, struct.pack('>QI', (len(image) - 1) & ~65535, 2)), True),
        'no table': ((56, struct.pack('>I', 0)), True),
        'huge table': ((56, struct.pack('>I', 0x10000)), True),
        'one cluster twice': ((l2 + 8, image[l2:l2 + 8]), False),
        'cluster at 0': ((l2, u64(1 << 63)), False),
        'one L2 table twice': ((l1 + 8, image[l1:l1 + 8]), None),
    }
    for what, ((at, patch), whole) in damage.items():
        with open('q', 'wb') as f:
            f.write(image[:at] + patch + image[at + len(patch):])
        if what == 'one L2 table twice':  # the disk must have a range for the second entry
            with open('q', 'r+b') as f:
                f.seek(24)
                f.write(u64(1 << 30))
                f.seek(36)
                f.write(struct.pack('>I', 2))
        found = run(VMM, ['check', 'q'])
        assert found.returncode == (0 if 'marked' in what or what == 'both' else 2), what
        fixed = run(VMM, ['check', '-r', 'all', 'q'])
        assert fixed.returncode == 0, (what, fixed.stdout, fixed.stderr)
        run(QEMU, ['check', 'q'], True)
        if whole is None:
            continue  # two ranges of the disk share a table: writes are refused
        run(VMM, ['resize', '-q', 'q', '+1M'], True)
        run(QEMU, ['check', 'q'], True)
        compared = run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q']).returncode
        assert compared == (0 if whole else 1), what


@test('what may be somebody\'s is not taken for free')
def _():
    data_file('r')
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'good'], True)
    with open('good', 'rb') as f:
        image = f.read()
    l1, table = struct.unpack_from('>QQ', image, 40)
    l2 = struct.unpack_from('>Q', image, l1)[0] & 0xfffffffffffe00
    for entry in l2 + 512, 1 << 40:  # a flipped bit makes the table's clusters look like leaks
        with open('q', 'wb') as f:
            f.write(image[:l1] + struct.pack('>Q', 1 << 63 | entry) + image[l1 + 8:])
        assert run(VMM, ['check', '-r', 'all', 'q']).returncode == 2
        with open('q', 'r+b') as f:
            f.seek(l1)
            f.write(image[l1:l1 + 8])
        run(QEMU, ['check', 'q'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
    # New refcounts would lie where data is said to be.
    with open('q', 'wb') as f:
        f.write(image[:table] + struct.pack('>Q', 1 << 40) + image[table + 8:-65536])
    broken = run(VMM, ['check', '-r', 'all', 'q'])
    assert broken.returncode == 1 and 'not rebuilt' in broken.stderr, broken


@test('snapshots that cannot be read keep their clusters')
def _():
    data_file('r')
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    run(QEMU, ['snapshot', '-c', 's', 'q'], True)
    with open('q', 'r+b') as f:
        f.seek(64)
        at = f.read(8)
        f.seek(64)
        f.write(struct.pack('>Q', 1 << 40))
    for command in ['check'], ['check', '-r', 'all']:
        found = run(VMM, command + ['q'])
        assert found.returncode == 2 and 'nothing was repaired' in found.stderr, found
    with open('q', 'r+b') as f:
        f.seek(64)
        f.write(at)
    run(QEMU, ['check', 'q'], True)


@test('snapshots that are not complete are corruptions')
def _():
    data_file('r')
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    run(QEMU, ['snapshot', '-c', 's', 'q'], True)
    with open('q', 'r+b') as f:
        f.seek(60)
        f.write(struct.pack('>I', 17))  # of which one was written
        f.seek(1 << 16, os.SEEK_END)
        f.truncate()
    for tool in QEMU, VMM:
        found = run(tool, ['check', 'q'])
        assert found.returncode == 2 and '16 errors were found' in found.stdout, found


@test('converted by several at once, in order or not')
def _():
    data_file('r', 24 << 20)
    for options in ['-m', '1'], ['-m', '16'], ['-W'], ['-m', '3', '-W', '-c'], ['-S', '0']:
        run(VMM, ['convert', *options, '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
        run(QEMU, ['check', 'q'], True)
        run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', 'q'], True)
        os.unlink('q')
    same(['convert', '-m', '17', '-f', 'raw', '-O', 'qcow2', 'r', 'q'])
    same(['convert', '-m', '0', '-f', 'raw', '-O', 'qcow2', 'r', 'q'])


@test('names that are no UTF-8')
def _():
    base, top = b'b\xe9.raw', b't\xe9.qcow2'
    data_file(base)
    for arguments in (['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', top],
                      ['info', top], ['info', '--output=json', top], ['check', top],
                      ['map', '--output=json', top], ['compare', top, base],
                      ['convert', '-O', 'qcow2', top, b'o\xe9.qcow2']):
        p = subprocess.run([VMM] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=60)
        assert p.returncode == 0, (arguments, p.returncode, p.stderr)


@test('a limit on the size of files is an error like a full disk')
def _():
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    data_file('r')
    run(VMM, ['create', '-q', '-f', 'qcow2', 'q', '10M'], True)
    for arguments in (['convert', '-O', 'qcow2', 'r', 'o'], ['convert', '-O', 'raw', 'r', 'o'],
                      ['create', '-f', 'raw', 'o', '10M'], ['resize', '-f', 'raw', 'r', '20M'],
                      ['resize', 'q', '100T']):
        p = subprocess.run([VMM] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=60, text=True, preexec_fn=limited)
        assert p.returncode == 1, (arguments, p.returncode, p.stderr)
        assert 'File too large' in p.stderr, (arguments, p.stderr)
    assert run(VMM, ['check', 'q']).returncode in (0, 3)  # 3: leaked clusters, no more


@test('locks keep the two apart')
def _():
    io = shutil.which('qemu-io')
    if not io:
        return
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '10M'], True)
    holder = subprocess.Popen([io, 'q'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    holder.stdin.write('write 0 64k\n')
    holder.stdin.flush()
    holder.stdout.readline()
    try:
        same(['info', 'q'])
        same(['resize', 'q', '20M'])
        assert run(VMM, ['info', '-U', 'q']).returncode == 0
    finally:
        holder.communicate('quit\n', timeout=20)


main()
