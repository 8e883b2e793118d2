#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The format luks beside qemu-img's, qemu-io's and cryptsetup's. Called with the paths of vmm-img and
vmm-io; TAP on stdout."""
import os
import random
import shutil
import struct
import subprocess
import sys

from imgtest import QEMU, VMM, data_file, main, normal, run, same, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')
CRYPTSETUP = shutil.which('cryptsetup', path=os.environ['PATH'] + ':/sbin:/usr/sbin')
KiB = 1 << 10
MiB = 1 << 20
SECRET = ['--object', 'secret,id=s,data=abc']
MORE = SECRET + ['--object', 'secret,id=n,data=new', '--object', 'secret,id=bad,data=bad']

# Options of new images. Each tool reads what the other made.
KINDS = ['cipher-alg=aes-256', 'cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv',
         'cipher-alg=aes-192,ivgen-alg=plain,hash-alg=sha512',
         'cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha1',
         'cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256',
         'cipher-alg=serpent-128,hash-alg=ripemd160',
         'cipher-alg=twofish-256,hash-alg=sha384', 'cipher-alg=twofish-128,cipher-mode=cbc',
         'cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=plain', 'cipher-mode=ecb,hash-alg=md5',
         'cipher-mode=ctr', 'cipher-alg=cast5-128,cipher-mode=ctr,ivgen-alg=plain,hash-alg=ripemd160',
         'cipher-alg=twofish-128,cipher-mode=ctr,ivgen-alg=essiv,hash-alg=sha224']


def opts(name, secret='s'):
    return f'driver=luks,file.filename={name},key-secret={secret}'


def create(tool, name, size='1M', kind='cipher-alg=aes-256'):
    run(tool, ['create', '-q'] + SECRET + ['-f', 'luks', '-o', f'key-secret=s,iter-time=1,{kind}',
                                           name, size], True)


def io(tool, name, *lines, secret='s'):
    args = MORE + ['--image-opts', opts(name, secret)]
    for line in lines:
        args += ['-c', line]
    p = run(tool, args, True)
    assert 'failed' not in p.stdout + p.stderr and 'attern' not in p.stdout, p
    return p


def opens(name, password):
    if not CRYPTSETUP:
        return None
    return subprocess.run([CRYPTSETUP, 'open', '--test-passphrase', '--key-file', '-', name],
                          input=password, text=True, stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE).returncode == 0


@test('each tool reads and writes what the other made')
def _():
    for i, kind in enumerate(KINDS):
        # qemu-img measures for a second or two whatever is asked for.
        for maker in (QEMU, VMM) if i in (1, 2) else (VMM,):
            create(maker, 'x', kind=kind)
            io(VMM_IO, 'x', 'write -P 1 0 64k', 'write -P 2 70k 3k', 'write -P 3 1M-512 512'
               .replace('1M-512', str(MiB - 512)))
            io(QEMU_IO, 'x', 'read -P 1 0 64k', 'read -P 2 70k 3k', f'read -P 3 {MiB - 512} 512',
               'write -P 4 8k 100', 'write -P 5 300k 130k')
            io(VMM_IO, 'x', 'read -P 1 0 8k', 'read -P 4 8k 100', 'read -P 1 8292 1000',
               'read -P 5 300k 130k')
            same(['info', 'x'])
            same(['info', '--output=json', 'x'])


@test('conversion in both directions')
def _():
    data_file('r', 3 * MiB + 512)
    for tool in QEMU, VMM:
        run(tool, ['convert'] + SECRET + ['-f', 'raw', '-O', 'luks', '-o',
                                          'key-secret=s,iter-time=1', 'r', 'x'], True)
        for other in QEMU, VMM:
            run(other, ['convert'] + SECRET + ['--image-opts', '-O', 'raw', opts('x'), 'back'], True)
            run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'back'], True)
        # Into an image that is there, whose old content shines through nowhere.
        create(VMM, 't', '3146240')
        io(VMM_IO, 't', 'write -P 9 0 3M')
        run(VMM, ['convert', '-n'] + SECRET + ['-f', 'raw', '--target-image-opts', 'r', opts('t')],
            True)
        run(QEMU, ['compare'] + SECRET + ['--image-opts', 'driver=raw,file.filename=r', opts('t')],
            True)


@test('random writes against a copy')
def _():
    rnd = random.Random(7)
    create(VMM, 'x')
    model = bytearray(MiB)
    lines = ['write -P 0 0 1M']
    for i in range(60):
        at, n, byte = rnd.randrange(MiB - 5000), rnd.randrange(1, 5000), rnd.randrange(256)
        model[at:at + n] = bytes([byte]) * n
        if i % 3 == 0:
            parts = n // 3
            lines.append(f'writev -P {byte} {at} {parts} {parts} {n - 2 * parts}' if parts else
                         f'write -P {byte} {at} {n}')
        else:
            lines.append(f'write -P {byte} {at} {n}')
    io(VMM_IO, 'x', *lines)
    for tool in QEMU, VMM:
        run(tool, ['convert'] + SECRET + ['--image-opts', '-O', 'raw', opts('x'), 'back'], True)
        with open('back', 'rb') as f:
            assert f.read() == model, tool
    io(VMM_IO, 'x', 'readv 100 200 300 1000 4096', 'readv 1 1 1 1 1 509')


@test("cryptsetup's images, and ours for cryptsetup")
def _():
    if not CRYPTSETUP:
        return 'cryptsetup (package cryptsetup-bin) is not installed'
    with open('pw', 'w', encoding='ascii') as f:
        f.write('abc')
    for args in ([], ['--cipher', 'aes-cbc-essiv:sha256', '--key-size', '128'],
                 ['--hash', 'sha512', '--key-size', '256'],
                 ['--cipher', 'serpent-xts-plain64', '--key-size', '512', '--align-payload', '8']):
        with open('c', 'wb') as f:
            f.truncate(8 * MiB)
        p = subprocess.run([CRYPTSETUP, '-q', 'luksFormat', '--type', 'luks1',
                            '--pbkdf-force-iterations', '1000'] + args + ['c', 'pw'],
                           capture_output=True, text=True)
        if p.returncode:
            continue # the kernel lacks the cipher
        io(VMM_IO, 'c', 'write -P 7 0 64k', 'read -P 7 0 64k')
        io(QEMU_IO, 'c', 'read -P 7 0 64k')
        same(['info', 'c'])
    for kind in KINDS[0], KINDS[1], KINDS[3]:
        create(VMM, 'v', kind=kind)
        assert opens('v', 'abc') and not opens('v', 'abd'), kind
        dump = run(CRYPTSETUP, ['luksDump', 'v'], True).stdout
        assert 'Key Slot 0: ENABLED' in dump and 'Key Slot 1: DISABLED' in dump, dump


@test('words: opening and looking')
def _():
    create(VMM, 'x')
    for args in (['check', 'x'], ['check', '-f', 'luks', 'x'], ['map', 'x'],
                 ['check'] + SECRET + ['--image-opts', opts('x')],
                 ['map'] + MORE + ['--image-opts', opts('x', 'bad')],
                 ['map'] + MORE + ['--image-opts', opts('x', 'none')],
                 ['map', '--output=json'] + SECRET + ['--image-opts', opts('x')],
                 ['compare'] + SECRET + ['--image-opts', opts('x'), opts('x')],
                 ['resize', 'x', '2M'], ['snapshot', '-l', 'x']):
        same(args)
    p = run(VMM, ['info', '--image-opts', opts('x') + ',header.filename=x'])
    assert p.returncode == 1 and 'header' in p.stderr, p


@test('words: creating and measuring')
def _():
    for options in ('size=1M', 'key-secret=s', 'key-secret=s,cipher-alg=foo,size=1M',
                    'key-secret=no,size=1M', 'key-secret=s,cipher-mode=xyz,size=1M',
                    'key-secret=s,ivgen-alg=abc,size=1M', 'key-secret=s,hash-alg=crc,size=1M',
                    'key-secret=s,size=1M,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1,'
                    'iter-time=1'):
        # qemu-img has overwritten the file by then, and said what it makes.
        with open('x', 'w', encoding='ascii') as f:
            f.write('precious')
        same(['create'] + SECRET + ['-f', 'luks', '-o', options, 'x'], stdout=False,
             prepare=lambda: None)
        with open('x', 'w', encoding='ascii') as f:
            f.write('precious')
        run(VMM, ['create'] + SECRET + ['-f', 'luks', '-o', options, 'x'])
        with open('x', encoding='ascii') as f:
            assert f.read() == 'precious', options
    os.unlink('x')
    same(['create'] + SECRET + ['-f', 'luks', '-o', 'key-secret=s,size=1M,iter-time=1,'
                                'cipher-alg=aes-128,preallocation=falloc', 'x'])
    for args in (['-O', 'luks', '--size', '1M'],
                 ['-O', 'luks', '-o', 'key-secret=s,cipher-alg=aes-128,iter-time=1', '--size', '10G'],
                 ['--output=json', '-O', 'luks', '-o', 'key-secret=s,iter-time=1', '--size',
                  '10240']):
        same(['measure'] + SECRET + args)
    for iter_time in 0, 20:
        run(VMM, ['create', '-q'] + SECRET + ['-f', 'luks', '-o', f'key-secret=s,iter-time={iter_time}',
                                              'x', '4096'], True)
        assert os.path.getsize('x') == 2068480 + 4096
    p = run(VMM, ['create', '-f', 'luks', '-o', 'help', 'x'])
    for name in ('key-secret', 'cipher-alg', 'cipher-mode', 'ivgen-alg', 'ivgen-hash-alg', 'hash-alg',
                 'iter-time', 'preallocation', 'size'):
        assert f'  {name}=<' in p.stdout, p


def be32(n):
    return struct.pack('>I', n)


SLOT = 208

# What is written where into a good header.
DAMAGE = [(0, b'X'), (6, b'\0\2'), (8, b'foo\0'), (8, b'a' * 32), (40, b'a' * 32), (72, b'a' * 32),
          (8, b'des\0'), (8, b'cast5\0'), (40, b'xxx\0'), (40, b'xxx-plain\0'), (40, b'xts-foo\0'),
          (40, b'xts-essiv\0'), (40, b'cbc-essiv:foo\0'), (40, b'cbc-plain64\0'), (72, b'foo\0'),
          (104, be32(0)), (104, be32(8)), (104, be32(1000)), (108, be32(0)), (108, be32(5)),
          (108, be32(32)), (108, be32(10 ** 9)), (164, be32(0)), (SLOT, be32(1)),
          (SLOT + 4, be32(0)), (SLOT + 40, be32(0)), (SLOT + 44, be32(3)), (SLOT + 44, be32(0)),
          (SLOT + 88, be32(16)), (SLOT + 48, be32(0xac71f3)), (SLOT + 92, be32(1)),
          (SLOT + 40, be32(4030)), (SLOT + 52, be32(0)), (SLOT, be32(0xdead)), (300000, b'x' * 512),
          (112, b'x'), (132, b'x'), (SLOT + 8, b'x'), (5000, b'xx')]


@test('words: damaged headers')
def _():
    create(VMM, 'x')
    with open('x', 'rb') as f:
        good = f.read()
    for at, what in DAMAGE:
        with open('x', 'wb') as f:
            f.write(good[:at] + what + good[at + len(what):])
        same(['info', '-f', 'luks', 'x'])
        same(['map'] + SECRET + ['--image-opts', opts('x')])


@test('damaged headers that take qemu-img long, or that it opens')
def _():
    create(VMM, 'x')
    with open('x', 'rb') as f:
        good = f.read()
    for at, what, error in ((SLOT + 4, be32(0xffffffff), 'Keyslot 0 wants 4294967295 iterations'),
                            (164, be32(0xffffffff), "master key's digest 4294967295"),
                            (104, be32(0xffffffff), 'past the end of the image'),
                            (SLOT + 40, be32(0xfffffff0), 'overlapping with the encrypted'),
                            (None, 100, 'it ends within the header'),
                            (None, 592, 'past the end of the image'),
                            (None, 2068480 - 512, 'past the end of the image'),
                            (40, b'xts-essiv:sha256\0', "'essiv' is not supported with cipher")):
        with open('x', 'wb') as f:
            f.write(good[:what] if at is None else good[:at] + what + good[at + len(what):])
        p = run(VMM, ['map'] + SECRET + ['--image-opts', opts('x')])
        assert p.returncode == 1 and error in p.stderr, (at, what, p)
    with open('x', 'wb') as f:
        f.write(good[:2068480])
    assert '"end"' not in run(VMM, ['map', '--output=json'] + SECRET + ['--image-opts', opts('x')],
                              True).stdout
    # A key slot that cannot be tried does not hide one that opens.
    with open('x', 'wb') as f:
        f.write(good)
    run(VMM, ['amend'] + MORE + ['--image-opts', opts('x'), '-o',
                                 'state=active,new-secret=n,iter-time=1'], True)
    with open('x', 'r+b') as f:
        f.seek(SLOT + 4)
        f.write(be32(0xffffffff))
    io(VMM_IO, 'x', 'read 0 512', secret='n')


@test('resize')
def _():
    create(VMM, 'x')
    io(VMM_IO, 'x', 'write -P 7 0 1M')
    for size in ('3M', '2M'):
        same(['resize'] + SECRET + ['--image-opts', opts('x'), size])
        same(['resize', '--shrink'] + SECRET + ['--image-opts', opts('x'), size])
        same(['info', 'x'])
    io(QEMU_IO, 'x', 'read -P 7 0 1M', 'write -P 8 1M 1M')
    io(VMM_IO, 'x', 'read -P 8 1M 1M')


def amend(tool, options, *more, secret='s'):
    return run(tool, ['amend'] + MORE + list(more) + ['--image-opts', opts('x', secret), '-o', options])


@test('words: amend')
def _():
    create(VMM, 'x')
    shutil.copy('x', 'good')
    for args in (['x'], ['-o', 'help'], ['-f', 'raw', '-o', 'help', 'x'],
                 ['-f', 'raw', '-o', 'size=3', 'x'], ['-f', 'foo', '-o', 'help'],
                 ['-f', 'foo', '-o', 'a=b', 'x'], ['-f', 'luks', '-o', 'state=active', 'x'],
                 ['-o', 'a=b', 'x', 'y'], ['-o', 'a=b', 'nonexistent']):
        same(['amend'] + args)
    for options in ('state=active', 'state=inactive', 'new-secret=n', 'bogus=1',
                    'cipher-alg=aes-128', 'state=active,new-secret=no', 'state=active,new-secret=n,'
                    'old-secret=s', 'state=inactive,new-secret=n', 'state=inactive,iter-time=1',
                    'state=inactive,old-secret=bad', 'state=inactive,old-secret=s',
                    'state=inactive,keyslot=0', 'state=inactive,keyslot=5',
                    'state=inactive,keyslot=8', 'state=active,new-secret=n,keyslot=9',
                    'state=active,new-secret=n,keyslot=0',
                    'state=inactive,old-secret=s,keyslot=3', 'state=inactive,old-secret=no'):
        same(['amend'] + MORE + ['--image-opts', opts('x'), '-o', options])
        with open('x', 'rb') as a, open('good', 'rb') as b:
            assert a.read() == b.read(), options
    p = run(VMM, ['amend'] + MORE + ['--image-opts', opts('x'), '-o', 'state=foo'])
    assert p.returncode == 1 and "'state' does not accept value 'foo'" in p.stderr, p
    q, v = (run(tool, ['amend', '-p'] + MORE + ['--image-opts', opts('x'), '-o',
                                                'state=active,new-secret=n,iter-time=1'], True)
            for tool in (QEMU, VMM))
    assert normal(q.stdout) == normal(v.stdout), (q, v)
    p = run(VMM, ['amend', '-f', 'luks', '-o', 'help'])
    assert p.returncode == 0 and p.stdout.startswith("Amend options for 'luks':\n"), p
    for name in ('state', 'new-secret', 'old-secret', 'keyslot', 'iter-time'):
        assert f'  {name}=<' in p.stdout, p


@test('amend: keys come and go')
def _():
    for first, second in ((VMM, QEMU), (VMM, VMM)):
        create(VMM, 'x')
        io(VMM_IO, 'x', 'write -P 7 0 64k')
        p = amend(second, 'state=active,new-secret=n,iter-time=1')
        assert p.returncode == 0, p
        for tool in QEMU_IO, VMM_IO:
            io(tool, 'x', 'read -P 7 0 64k')
            io(tool, 'x', 'read -P 7 0 64k', secret='n')
        p = amend(VMM, 'state=active,new-secret=n,keyslot=6,iter-time=1')
        assert p.returncode == 0, p
        p = amend(first, 'state=active,new-secret=n,keyslot=7,iter-time=1')
        assert p.returncode == 0, p
        for slot in 6, 7:
            assert opens('x', 'new') in (True, None)
        p = amend(second, 'state=inactive,old-secret=s', secret='n')
        assert p.returncode == 0, p
        for tool in QEMU_IO, VMM_IO:
            io(tool, 'x', 'read -P 7 0 64k', secret='n')
            assert run(tool, MORE + ['--image-opts', opts('x'), '-c', 'read 0 512']).returncode == 1
        assert opens('x', 'abc') in (False, None)
        for slot in 1, 6:
            p = amend(second, f'state=inactive,keyslot={slot}', secret='n')
            assert p.returncode == 0, p
            io(QEMU_IO, 'x', 'read -P 7 0 64k', secret='n')
        p = amend(second, 'state=inactive,old-secret=n', secret='n')
        assert p.returncode == 1, p
        # What was erased is overwritten, too.
        with open('x', 'rb') as f:
            f.seek(4096)
            before = f.read(256000)
        p = amend(second, 'state=active,new-secret=s,keyslot=7,iter-time=1', '--force', secret='n')
        assert p.returncode == 0, p
        io(QEMU_IO, 'x', 'read -P 7 0 64k')
        for slot in range(7):
            assert amend(VMM, f'state=active,new-secret=n,keyslot={slot},iter-time=1').returncode == 0
        same(['amend'] + MORE + ['--image-opts', opts('x'), '-o', 'state=active,new-secret=n'])
        p = amend(second, 'state=inactive,old-secret=n')
        assert p.returncode == 0, p
        with open('x', 'rb') as f:
            f.seek(4096)
            assert f.read(256000) != before
        io(QEMU_IO, 'x', 'read -P 7 0 64k')
        p = amend(second, 'state=inactive,keyslot=7', '--force')
        assert p.returncode == 0, p
        for tool in QEMU_IO, VMM_IO:
            assert run(tool, MORE + ['--image-opts', opts('x'), '-c', 'read 0 512']).returncode == 1


if not QEMU_IO:
    print('1..0 # SKIP qemu-io is not installed (package qemu-utils)')
    sys.exit(0)
main()
