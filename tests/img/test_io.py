#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-io beside qemu-io: the same lines have the same answers, status and effect on the image.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys

from imgtest import QEMU, VMM, main, run, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')

# Lines that both programs answer alike, each on a new image of 1 MiB.
ALIKE = '''
write 0 64k
write -P 0xab 100k 512
read 0 1k
read -v 3 29
read -C 0 1k
read -q 0 1k
read -P 0 0 64k
read -P 1 0 64k
r 0 1
read 0 0
write 0 0
read 0x10 0x10
read 1.5k 1
read 0 1e3
map
alloc 0 128k
a 0
alloc 900k 200k
alloc 2M
length
l
info
i
foo
read
read a b
read 0 -1
read -x 0 1
read -P 0 1
read 64M 1
read 1 2 3
read 0 3G
read -l 1 0 2
read -s 1 0 2
read -P 0 -s 1 -l 5 0 4
read -P 0 -l 5 0 4
read -P 0 -s 5 0 4
read -b 0 5
write -z -u 0 64k
write -z 0 1
write -n 0 1k
write -u 0 1k
write -z -n 0 1k
write -z -P 1 0 1
write -s source 0 1k
write -P 300 0 1
write -P x 0 1
write -f 0 512
write -f -c 0 512
write -b -z 0 512
write -b 1 512
write -c 0 64k
write -c 1 512
write -c 512 512
write 1M 1
write 1048575 1
write 1048575 2
write 9223372036854775807 1
write 9223372036854775808 1
discard 0 64k
d 1 5
discard 0 9M
discard 2M 5
flush
f
flush x
truncate 512k
t 2M
truncate -m foo 2M
truncate x
writev 0 1k 2k
writev 0 1 2
readv -v 0 16 16
readv 0 0
readv 0 1G 1G
aio_write 0 64k
aio_read -P 0 0 1k
aio_read -P 1 0 1k
aio_read -i 0 1
aio_write -i 0 1
aio_write -z 0 512 512
aio_write -u 0 512
aio_write 0
aio_read 2M 1
aio_write 2M 1
aio_flush
sleep x
sleep 1
sigraise x
sigraise 0
sigraise 15
sigraise 99999999999
abort
break a
break write_aio A
resume A
remove_break A
help foo
help quit
help close
reopen -x
reopen -r -w
reopen -c foo
reopen -r
reopen -w
reopen -c none
open image
close
q
'''.split('\n')

# Several lines in a row, behind other options of the program.
SESSIONS = [
    ['-r', 'write 0 1', 'aio_write 0 1', 'discard 0 1', 'read 0 1'],
    ['reopen -r', 'write 0 1', 'reopen -w', 'write 0 1', 'read -v 0 2'],
    ['close', 'length', 'read 0 1', 'open -o driver=raw image', 'length'],
    ['truncate 1000000', 'write -P 9 0 1000000', 'map', 'length'],
    ['-n', 'write 1 3', 'read -v 0 8'],
    ['-n', '-m', 'write 0 4k', 'read -P 0xcd 0 4k'],
    ['-i', 'threads', 'aio_write 0 4k', 'aio_flush', 'read -P 0xcd 0 4k'],
    ['-t', 'bad', 'length'],
    ['-d', 'bad', 'length'],
    ['-i', 'bad', 'length'],
    ['write 0 64k', 'discard 0 64k', 'read -P 0 0 64k'],
    ['-d', 'unmap', 'write 0 64k', 'discard 0 64k', 'read -P 0 0 64k'],
    ['read 0 1', 'quit', 'length'],
    ['write -c 0 64k', 'write -c 0 64k', 'read -P 0xcd 0 64k', 'map'],
    ['write -b -P 7 0 64k', 'read -b -P 7 0 64k', 'read -b 512 512', 'write -b 0 5'],
]


def normal(text):
    """Without what differs from run to run, and the program's name where it is blamed."""
    text = re.sub(r'^(vmm-io|qemu-io): ', 'io: ', text, flags=re.M)
    text = re.sub(r'; .* \(.*/sec and .* ops/sec\)', '; T', text)
    return re.sub(r'^(\d+,\d+),.*', r'\1,T', text, flags=re.M)


def answer(tool, form, args):
    with open('source', 'w') as f:
        f.write('Hello')
    if os.path.exists('image'):
        os.unlink('image')
    run(QEMU, ['create', '-q', '-f', form, 'image', '1M'], True)
    p = run(tool, ['-f', form] + args + ['image'], stdin=subprocess.DEVNULL)
    os.replace('image', 'image.' + os.path.basename(tool))
    return p.returncode, normal(p.stdout), normal(p.stderr)


def same_answers(form, args):
    q, v = answer(QEMU_IO, form, args), answer(VMM_IO, form, args)
    assert q == v, f'{form} {args}:\n{q}\n--- vs\n{v}'
    run(QEMU, ['compare', 'image.qemu-io', 'image.' + os.path.basename(VMM_IO)], True)


def check_lines(form):
    for line in filter(None, ALIKE):
        same_answers(form, ['-c', line])


@test('each line has the answer, the status and the effect of qemu-io: raw')
def _():
    check_lines('raw')


@test('each line has the answer, the status and the effect of qemu-io: qcow2')
def _():
    check_lines('qcow2')


@test('sessions: read-only, reopened, closed and opened, truncated, compressed, VM state')
def _():
    for session in SESSIONS:
        at = next(i for i, word in enumerate(session) if ' ' in word or word in ('close', 'length'))
        args = session[:at]
        for line in session[at:]:
            args += ['-c', line]
        for form in 'raw', 'qcow2':
            same_answers(form, args)


@test('lines of standard input: a prompt, answers, the end')
def _():
    run(QEMU, ['create', '-q', '-f', 'raw', 'image', '1M'], True)
    for text in 'length\nread -q 0 1\n\nquit\nlength\n', '', 'length':
        q, v = (run(tool, ['-f', 'raw', 'image'], input=text) for tool in (QEMU_IO, VMM_IO))
        assert q.stdout.replace('qemu-io>', 'vmm-io>') == v.stdout, f'{q.stdout}\n--\n{v.stdout}'
        assert q.returncode == v.returncode == 0


@test('all of the pieces that a file says are allocated, of a chain and behind holes')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'base', '8M'], True)
    run(VMM_IO, ['-f', 'qcow2', '-c', 'write -P 1 1M 2M', '-c', 'write -P 2 5M 64k', 'base'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'top', '9M'], True)
    lines = ['-c', 'write -P 3 1536k 128k', '-c', 'write -z 6M 1M', '-c', 'map', '-c',
             'alloc 1M 1M', '-c', 'read -P 1 1M 512k', '-c', 'read -P 3 1536k 128k', '-c',
             'read -P 0 8M 1M']
    p = run(VMM_IO, ['-f', 'qcow2'] + lines + ['top'], True)
    q = run(QEMU_IO, ['-f', 'qcow2'] + lines + ['top'], True)
    assert normal(p.stdout) == normal(q.stdout), f'{p.stdout}\n--- vs\n{q.stdout}'


@test('an image with a backing file is reopened, and keeps it')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'base', '1M'], True)
    run(VMM_IO, ['-f', 'qcow2', '-c', 'write -P 1 0 64k', 'base'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'top'], True)
    for lines in (['reopen', 'write -P 3 64k 4k', 'read -P 1 0 64k'], ['reopen -r', 'write 0 4k'],
                  ['reopen -c none', 'read -P 1 0 4k']):
        args = ['-f', 'qcow2'] + [word for line in lines for word in ('-c', line)] + ['top']
        q, v = run(QEMU_IO, args), run(VMM_IO, args)
        assert (q.returncode, normal(q.stdout), normal(q.stderr)) == \
            (v.returncode, normal(v.stdout), normal(v.stderr)), f'{q}\n{v}'


@test('what a cut of power has left behind the end of a disk does not show after a growth')
def _():
    for options in 'cluster_size=16k', 'cluster_size=16k,extended_l2=on':
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', options, 'image', '64k'], True)
        run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 1 0 1k', '-c', 'write -P 2 8k 1k',
                      '-c', 'write -P 3 32k 1k', 'image'], True)
        with open('image', 'r+b') as f:
            f.seek(24)  # the length, in the header
            f.write((1024).to_bytes(8, 'big'))
        run(VMM, ['resize', '-q', 'image', '64k'], True)
        for io in QEMU_IO, VMM_IO:
            p = run(io, ['-f', 'qcow2', '-c', 'read -P 1 0 1k', '-c', 'read -P 0 1k 63k', 'image'],
                    True)
            assert 'failed' not in p.stdout, f'{options}: {p.stdout}'


@test('a raw data file is resized with its image')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=raw,data_file_raw=on', 'image',
               '1M'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 9 0 1M', 'image'], True)
    for size in '2M', '512k', '1M':
        run(VMM, ['resize', '-q', '--shrink', 'image', size], True)
        assert f'{os.path.getsize("raw") >> 10}k' == size.replace('2M', '2048k').replace('1M', '1024k')
        run(QEMU, ['compare', '-f', 'qcow2', '-F', 'raw', 'image', 'raw'], True)
        run(QEMU, ['check', '-q', 'image'], True)


@test('a raw data file that cannot be resized: the image stays whole, and shows no old data later')
def _():
    fd = os.memfd_create('raw', os.MFD_ALLOW_SEALING)
    raw = f'/proc/self/fd/{fd}'

    def img(*args):
        return run(VMM, list(args), pass_fds=[fd])

    def expect(length, data_length):
        assert os.fstat(fd).st_size == data_length
        p = img('info', '--output=json', 'image')
        assert json.loads(p.stdout)['virtual-size'] == length, p
        p = img('compare', '-f', 'qcow2', '-F', 'raw', 'image', raw)
        assert p.returncode == 0 and 'identical' in p.stdout, p
        assert img('check', '-q', 'image').returncode == 0

    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', f'data_file={raw},data_file_raw=on', 'image',
               '1M'], True, pass_fds=[fd])
    run(VMM_IO, ['-f', 'qcow2', '-c', 'write -P 9 0 1M', 'image'], True, pass_fds=[fd])
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    p = img('resize', '-q', '--shrink', 'image', '512k')
    assert p.returncode == 1 and 'Failed to resize the data file' in p.stderr, p
    assert img('resize', '-q', 'image', '768k').returncode == 1  # it is longer still
    assert img('resize', '-q', 'image', '2M').returncode == 0
    expect(2 << 20, 2 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    p = img('resize', '-q', 'image', '3M')
    assert p.returncode == 1 and 'Failed to resize the data file' in p.stderr, p
    expect(2 << 20, 2 << 20)
    os.close(fd)


@test('what is not in the file in the end has no status 0')
def _():
    strace = shutil.which('strace')
    if not strace:
        return 'strace is not installed'
    calls = 'pwrite64,pwritev,pwritev2'
    failed = 0
    for when in range(1, 7):
        for last in [], ['-c', 'close']:
            run(QEMU, ['create', '-q', '-f', 'qcow2', 'image', '1M'], True)
            # LeakSanitizer would trace as well.
            p = run(strace, ['-f', '-o', 'trace', '-e', f'trace={calls}', '-e',
                             f'inject={calls}:error=EIO:when={when}+', VMM_IO, '-f', 'qcow2', '-i',
                             'threads', '-c', 'write 0 64k'] + last + ['image'],
                    env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
            if 'attach' in p.stderr or 'ptrace' in p.stderr:
                return 'strace may not trace'
            failed += p.returncode
            if p.returncode == 0:
                run(QEMU_IO, ['-f', 'qcow2', '-c', 'read -P 0xcd 0 64k', 'image'], True)
                run(QEMU, ['check', '-q', 'image'], True)
    assert failed, 'no write has failed'


@test('what is wrong is said: no such file, options, two names, what is not here')
def _():
    run(QEMU, ['create', '-q', '-f', 'raw', 'image', '1M'], True)
    for args, part in [(['nofile'], "Could not open 'nofile': No such file or directory"),
                       (['-f', 'bad', 'image'], "Unknown driver 'bad'"),
                       (['a', 'b'], 'at most one image file name'),
                       (['--foo'], "unrecognized option '--foo'"),
                       (['-c', 'write -s nofile 0 1', '-f', 'raw', 'image'], "'nofile'"),
                       (['-c', 'write -s /dev/null 0 1', '-f', 'raw', 'image'], 'is empty'),
                       (['-c', 'truncate -m full 2M', '-f', 'raw', 'image'], '-m full is not')]:
        p = run(VMM_IO, args, stdin=subprocess.DEVNULL)
        assert p.returncode == 1 and part in p.stderr, f'{args}: {p}'
    names = re.findall(r'^(\w+) .*-- ', run(QEMU_IO, ['-c', 'help']).stdout, re.M)
    assert names == re.findall(r'^(\w+) .*-- ', run(VMM_IO, ['-c', 'help']).stdout, re.M)


if not QEMU_IO:
    print('1..0 # SKIP qemu-io is not installed (package qemu-utils)')
    sys.exit(0)
main()
