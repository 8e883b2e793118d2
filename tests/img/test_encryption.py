#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted qcow2 images (LUKS, and the old AES) beside qemu-img's and qemu-io's. Called with the paths of
vmm-img and vmm-io; TAP on stdout."""
import os
import random
import shutil
import struct
import sys

from imgtest import QEMU, VMM, data_file, main, run, same, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')
MiB = 1 << 20
SECRET = ['--object', 'secret,id=s,data=abc', '--object', 'secret,id=n,data=new',
          '--object', 'secret,id=bad,data=bad']
LUKS = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1'
AES = 'encrypt.format=aes,encrypt.key-secret=s'

# Options of new images.
KINDS = [LUKS, AES, LUKS + ',cluster_size=512', LUKS + ',extended_l2=on,cluster_size=16k',
         LUKS + ',encrypt.cipher-alg=serpent-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,'
         'cluster_size=4k,compat=0.10', AES + ',cluster_size=2M,lazy_refcounts=on', 'encryption=on,'
         'encrypt.key-secret=s,refcount_bits=1', LUKS + ',preallocation=full,cluster_size=4k']


def opts(name, secret='s', more=''):
    return f'driver=qcow2,file.filename={name},encrypt.key-secret={secret}{more}'


def create(tool, name, kind=LUKS, size='3M', *more):
    run(tool, ['create', '-q'] + SECRET + ['-f', 'qcow2', '-o', kind] + list(more) + [name, size],
        True)


def io(tool, image, *lines):
    args = SECRET + ['--image-opts', image]
    for line in lines:
        args += ['-c', line]
    p = run(tool, args, True)
    assert 'failed' not in p.stdout + p.stderr and 'attern' not in p.stdout, p


def check(name, secret='s'):
    for tool in QEMU, VMM:
        p = run(tool, ['check'] + SECRET + ['--image-opts', opts(name, secret)])
        assert p.returncode == 0 and 'No errors were found' in p.stdout, p


def raw(tool, image, out='raw'):
    run(tool, ['convert'] + SECRET + ['--image-opts', '-O', 'raw', image, out], True)
    with open(out, 'rb') as f:
        return f.read()


@test('each tool reads and writes what the other made')
def _():
    for kind in KINDS:
        # What qemu-img takes a second for is made by it only once.
        for maker in (QEMU, VMM) if kind in (LUKS, AES) else (VMM,):
            create(maker, 'x', kind)
            check('x')
            io(VMM_IO, opts('x'), 'write -P 1 0 64k', 'write -P 2 70k 3k', f'write -P 3 {3 * MiB - 512} '
               '512', 'write -z 1M 100k', 'discard 0 16k')
            io(QEMU_IO, opts('x'), 'read -P 1 16k 48k', 'read -P 2 70k 3k', 'read -P 0 64k 6k',
               f'read -P 3 {3 * MiB - 512} 512', 'read -P 0 1M 200k', 'write -P 4 18k 100',
               'write -P 5 300k 130k')
            check('x')
            io(VMM_IO, opts('x'), 'read -P 4 18k 100', 'read -P 1 18532 1000', 'read -P 5 300k 130k')
            same(['info', 'x'])
            same(['info', '--output=json', 'x'])
            same(['map', '--output=json'] + SECRET + ['--image-opts', opts('x')])


@test('nothing of what is written is in the file')
def _():
    for kind in LUKS, AES, LUKS + ',extended_l2=on':
        create(VMM, 'x', kind)
        with open('x', 'rb') as f:
            before = f.read()
        io(VMM_IO, opts('x'), 'write -P 0x5a 0 200k', 'write -P 0x5a 1M 3k', 'write -z 2M 64k',
           'write -P 0x5a 2064k 512', 'aio_write -P 0x5a 2500k 4k', 'aio_flush', 'flush')
        with open('x', 'rb') as f:
            after = f.read()
        assert b'\x5a' * 16 in b'\x5a' * 512 and b'\x5a' * 16 not in after and before != after, kind


@test('random requests, snapshots and sizes against a copy')
def _():
    rnd = random.Random(11)
    for kind in LUKS + ',cluster_size=4k', AES, LUKS + ',extended_l2=on,cluster_size=16k':
        size = 2 * MiB
        create(VMM, 'x', kind, str(size))
        model = bytearray(size)
        snapshot = None
        for turn in range(4):
            lines = []
            for i in range(25):
                n = rnd.choice([512, 3000, 4096, 70000])
                at, byte = rnd.randrange(size - n), rnd.randrange(256)
                if i % 5 == 0:
                    lines.append(f'write -z {at} {n}')
                    byte = 0
                else:
                    lines.append(f'write -P {byte} {at} {n}')
                model[at:at + n] = bytes([byte]) * n
            io(VMM_IO if turn % 2 else QEMU_IO, opts('x'), *lines)
            assert raw(VMM, opts('x')) == model and raw(QEMU, opts('x')) == model, (kind, turn)
            if turn == 1:
                run(VMM, ['snapshot'] + SECRET + ['--image-opts', '-c', 'snap', opts('x')], True)
                snapshot = bytes(model)
            if turn == 2:
                size = 3 * MiB
                run(VMM, ['resize', '-q'] + SECRET + ['--image-opts', opts('x'), str(size)], True)
                model += bytes(MiB)
        check('x')
        run(VMM, ['resize', '-q', '--shrink'] + SECRET + ['--image-opts', opts('x'), '2M'])
        run(VMM, ['snapshot'] + SECRET + ['--image-opts', '-a', 'snap', opts('x')], True)
        assert raw(QEMU, opts('x')) == snapshot, kind
        run(VMM, ['snapshot'] + SECRET + ['--image-opts', '-d', 'snap', opts('x')], True)
        check('x')


@test('conversion, and images over others with other keys')
def _():
    data_file('r', 2 * MiB + 512)
    with open('r', 'rb') as f:
        data = f.read()
    for kind in LUKS, AES:
        run(VMM, ['convert'] + SECRET + ['-f', 'raw', '-O', 'qcow2', '-o', kind, 'r', 'x'], True)
        check('x')
        assert raw(QEMU, opts('x')) == data and raw(VMM, opts('x')) == data
    create(VMM, 'base', LUKS.replace('key-secret=s', 'key-secret=n'), str(len(data)))
    run(VMM, ['convert', '-n'] + SECRET + ['-f', 'raw', '--target-image-opts', 'r', opts('base', 'n')],
        True)
    create(VMM, 'top', LUKS, str(len(data)), '-u', '-b', 'base', '-F', 'qcow2')
    both = opts('top') + ',backing.encrypt.key-secret=n'
    io(VMM_IO, both, 'write -P 7 1000 3000')
    data = data[:1000] + b'\7' * 3000 + data[4000:]
    assert raw(QEMU, both) == data and raw(VMM, both) == data
    p = run(VMM, ['map'] + SECRET + ['--image-opts', opts('top')])
    assert p.returncode == 1 and "'encrypt.key-secret' is required" in p.stderr, p
    same(['info', '--backing-chain', 'top'])
    # The length of a backing file can be known without its key.
    same(['create', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'over'])
    # A raw image's sparse ranges do not show through, and 'convert' leaves out none of the data.
    same(['convert'] + SECRET + ['-c', '-f', 'raw', '-O', 'qcow2', '-o', LUKS, 'r', 'y'])
    p = run(VMM, ['convert', '-n', '-c'] + SECRET + ['-f', 'raw', '--target-image-opts', 'r', both])
    assert p.returncode == 1, p


@test('words')
def _():
    create(VMM, 'luks')
    create(VMM, 'aes', AES)
    create(VMM, 'plain', 'compat=1.1')
    for name in 'luks', 'aes':
        for args in (['check', name], ['map', name], ['resize', name, '5M'], ['snapshot', '-c', 'a', name],
                     ['map'] + SECRET + ['--image-opts', opts(name, 'none')],
                     ['map'] + SECRET + ['--image-opts', opts(name, more=',encrypt.format=luks')],
                     ['map'] + SECRET + ['--image-opts', opts(name, more=',encrypt.format=aes')],
                     ['compare'] + SECRET + ['--image-opts', opts(name), opts(name)]):
            same(args)
    same(['map'] + SECRET + ['--image-opts', opts('luks', 'bad')])
    same(['map'] + SECRET + ['--image-opts', opts('plain', more=',encrypt.format=luks')])
    p = run(VMM, ['map'] + SECRET + ['--image-opts', opts('plain')])
    assert p.returncode == 1 and 'No encryption in image header' in p.stderr, p
    for options in ('encrypt.format=luks', 'encrypt.format=foo,encrypt.key-secret=s', 'encryption=on',
                    'encrypt.key-secret=s', 'encryption=on,encrypt.format=luks,encrypt.key-secret=s',
                    'encrypt.format=luks,encrypt.key-secret=none',
                    LUKS + ',encrypt.cipher-alg=foo'):
        same(['create'] + SECRET + ['-f', 'qcow2', '-o', options, 'z', '1M'], stdout=False)
    same(['create'] + SECRET + ['-f', 'qcow2', '-o', LUKS + ',encrypt.cipher-alg=aes-128,'
                                'encrypt.hash-alg=sha512', 'z', '1M'])
    same(['create'] + SECRET + ['-f', 'qcow2', '-o', AES, 'z', '1M'])
    for mode in 'metadata', 'falloc':
        p = run(VMM, ['create'] + SECRET + ['-f', 'qcow2', '-o', f'{LUKS},preallocation={mode}', 'z',
                                            '1M'])
        assert p.returncode == 1 and 'use full or off' in p.stderr, p


@test('amend: keys come and go')
def _():
    create(VMM, 'x')
    io(VMM_IO, opts('x'), 'write -P 7 0 64k')
    amend = ['amend'] + SECRET + ['--image-opts']
    for options in ('encrypt.state=active', 'encrypt.state=inactive', 'encrypt.new-secret=n',
                    'encrypt.state=inactive,encrypt.keyslot=0', 'encrypt.cipher-alg=aes-128'):
        p, q = (run(tool, amend + [opts('x'), '-o', options]) for tool in (VMM, QEMU))
        assert p.returncode == q.returncode == 1, (options, p, q)
        assert p.stderr.split(': ', 1)[1] == q.stderr.split(': ', 1)[1], (p, q)
    run(VMM, amend + [opts('x'), '-o', 'encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=1'],
        True)
    for tool in QEMU_IO, VMM_IO:
        io(tool, opts('x'), 'read -P 7 0 64k')
        io(tool, opts('x', 'n'), 'read -P 7 0 64k')
    run(VMM, amend + [opts('x', 'n'), '-o', 'encrypt.state=inactive,encrypt.old-secret=s'], True)
    for tool in QEMU_IO, VMM_IO:
        io(tool, opts('x', 'n'), 'read -P 7 0 64k')
        assert run(tool, SECRET + ['--image-opts', opts('x'), '-c', 'read 0 512']).returncode == 1
    check('x', 'n')
    create(VMM, 'aes', AES)
    create(VMM, 'plain', 'compat=1.1')
    for image in 'plain', 'aes':
        p = run(VMM, amend + [f'driver=qcow2,file.filename={image}' +
                              (',encrypt.key-secret=s' if image == 'aes' else ''), '-o',
                              'encrypt.state=active,encrypt.new-secret=n'])
        assert p.returncode == 1 and 'encryption' in p.stderr, p


def patched(good, at, data):
    with open('x', 'wb') as f:
        f.write(good[:at] + data + good[at + len(data):])


@test('hostile headers')
def _():
    create(VMM, 'x')
    with open('x', 'rb') as f:
        good = f.read()
    extension = good.index(struct.pack('>II', 0x0537be77, 16))
    offset = struct.unpack('>Q', good[extension + 8:extension + 16])[0]
    for at, data, error in ((32, struct.pack('>I', 3), 'Unsupported encryption method 3'),
                            (32, struct.pack('>I', 1), 'CRYPTO header extension only expected'),
                            (extension, b'\1\2\3\4', 'Missing CRYPTO header'),
                            (extension + 4, struct.pack('>I', 8), 'extension size 8'),
                            (extension + 8, struct.pack('>Q', 1000), 'not a multiple of cluster size'),
                            (extension + 8, struct.pack('>Q', 0), 'makes no sense'),
                            (extension + 8, struct.pack('>Q', 1 << 63), 'makes no sense'),
                            (extension + 16, struct.pack('>Q', 1 << 62), 'makes no sense'),
                            (extension + 16, struct.pack('>Q', 100), 'makes no sense'),
                            (extension + 16, struct.pack('>Q', 300000), 'past the end of the encryption'),
                            (extension + 8, struct.pack('>Q', 1 << 40), 'Volume is not in LUKS'),
                            (offset, b'X', 'Volume is not in LUKS'),
                            (offset + 212, b'\xff' * 4, 'iterations')):
        patched(good, at, data)
        p = run(VMM, ['map'] + SECRET + ['--image-opts', opts('x')])
        assert p.returncode == 1 and error in p.stderr, (at, data, p)
    # A cluster of the guest's in the place of the keys is not written to.
    io_image = opts('x')
    with open('x', 'wb') as f:
        f.write(good)
    io(VMM_IO, io_image, 'write -P 1 0 64k')
    with open('x', 'rb') as f:
        good = f.read()
    l1 = struct.unpack('>Q', good[40:48])[0]
    l2 = struct.unpack('>Q', good[l1:l1 + 8])[0] & 0xfffffffffffe00
    patched(good, l2, struct.pack('>Q', offset | 1 << 63))
    p = run(VMM_IO, SECRET + ['--image-opts', io_image, '-c', 'write -P 2 0 512'])
    with open('x', 'rb') as f:
        assert f.read()[offset:offset + 300000] == good[offset:offset + 300000], p
    p = run(VMM, ['check'] + SECRET + ['--image-opts', io_image])
    assert p.returncode == 2, p


if not QEMU_IO:
    print('1..0 # SKIP qemu-io is not installed (package qemu-utils)')
    sys.exit(0)
main()
