#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters beside qemu-io: the same options and lines have the same answers, status and effect.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import json
import os
import random
import re
import shutil
import subprocess
import sys

from imgtest import QEMU, VMM, main, run, test

VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_IO = shutil.which('qemu-io')


def normal(text):
    """Without what differs from run to run, and the program's name where it is blamed."""
    text = re.sub(r'^(vmm-io|qemu-io): ', 'io: ', text, flags=re.M)
    text = re.sub(r"(can't open)( device [^:]*)?: ", r'\1: ', text)
    return re.sub(r'; .* \(.*/sec and .* ops/sec\)', '; T', text)


def commands(lines):
    return [word for line in lines for word in ('-c', line)]


def both(make, args, files=()):
    """Both programs do the same to what make() has made; the files they leave are the same."""
    results = []
    for tool in QEMU_IO, VMM_IO:
        make()
        p = run(tool, args, stdin=subprocess.DEVNULL)
        results.append((p.returncode, normal(p.stdout), normal(p.stderr)))
        for name in files:
            os.replace(name, f'{name}.{"q" if tool == QEMU_IO else "v"}')
    q, v = results
    assert q == v, f'{args}:\n{q[0]}\n{q[1]}{q[2]}\n--- vs\n{v[0]}\n{v[1]}{v[2]}'
    return q


def make_chain():
    for n in 'base', 'top':
        if os.path.exists(n):
            os.unlink(n)
    run(QEMU, ['create', '-q', '-f', 'raw', 'base', '1M'], True)
    run(QEMU_IO, ['-f', 'raw', '-c', 'write -P 5 64k 900k', '-c', 'write -P 0 256k 128k', 'base'],
        True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', 'top'], True)


def image_map(name):
    return json.loads(run(QEMU, ['map', '--output=json', '-f', 'qcow2', name], True).stdout)


COR = 'driver=copy-on-read,file.driver=qcow2,file.file.filename=top'


@test('copy-on-read: -C and the driver copy what is read, and nothing else; words')
def _():
    lines = ['read -P 5 100k 30k', 'read -P 0 300k 1', 'write -P 7 70k 1k', 'read -P 5 900k 60k',
             'write -z 500k 10k', 'discard 600k 64k', 'map', 'length']
    both(make_chain, ['-f', 'qcow2', '-C'] + commands(lines) + ['top'], ['top'])
    assert image_map('top.q') == image_map('top.v')
    run(QEMU, ['compare', '-f', 'qcow2', '-F', 'qcow2', 'top.q', 'top.v'], True)
    both(make_chain, commands(lines) + ['--image-opts', COR], ['top'])
    assert image_map('top.q') == image_map('top.v')
    for more in (',bottom=b,file.backing.node-name=b', ',bottom=b',
                 ',bottom=b,file.backing.node-name=b,read-only=on'):
        both(make_chain, ['-c', 'read -P 5 100k 1', '-c', 'map', '--image-opts', COR + more])
    both(make_chain, ['-r', '-C', '-f', 'qcow2', '-c', 'read 0 1', 'top'])
    both(make_chain, ['-r', '-c', 'read 0 1', '--image-opts', COR])


@test('copy-on-read: random reads and writes, beside a model and qemu-io')
def _():
    rand = random.Random(7)
    model = bytearray(1 << 20)
    model[64 << 10:964 << 10] = bytes([5]) * (900 << 10)
    model[256 << 10:384 << 10] = bytes(128 << 10)
    lines = []
    for _ in range(60):
        at = rand.randrange(0, 1 << 20)
        length = rand.randrange(1, min((1 << 20) - at, 150000) + 1)
        if rand.random() < 0.4:
            byte = rand.randrange(1, 256)
            model[at:at + length] = bytes([byte]) * length
            lines.append(f'write -P {byte} {at} {length}')
        else:
            lines.append(f'read -v {at} {length}' if length < 100 else f'read {at} {length}')
    both(make_chain, ['-f', 'qcow2', '-C'] + commands(lines) + ['top'], ['top'])
    assert image_map('top.q') == image_map('top.v')
    run(QEMU, ['check', '-q', 'top.v'], True)
    run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', 'top.v', 'flat'], True)
    with open('flat', 'rb') as f:
        assert f.read() == model


@test('-s: writes go to a temporary file')
def _():
    lines = ['write -P 9 0 64k', 'read -P 9 0 64k', 'read -P 5 100k 1k', 'map']
    for more in ['-s'], ['-s', '-r'], ['-s', '-C']:
        both(make_chain, ['-f', 'qcow2'] + more + commands(lines) + ['top'], ['top'])
        with open('top.v', 'rb') as v, open('top.q', 'rb') as q:
            assert v.read() == q.read()
    both(make_chain, commands(['open -s -o driver=qcow2 top'] + lines))
    both(make_chain, commands(['open -C -o driver=qcow2 top'] + lines))


def make_raw():
    run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1M'], True)
    with open('rules', 'w') as f:
        f.write('# a comment\n[inject-error]\nevent = "write_aio"\nstate = "2"\nerrno = "28"\n'
                'once = "on"\n\n[set-state "x"]\nevent = "read_aio"\nstate = "1"\n'
                'new_state = "2"\n')


BLKDEBUG = 'driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=r'


@test('blkdebug: rules and limits, as qemu-io has them')
def _():
    lines = ['read 0 4k', 'write -z 0 64k', 'write 1k 1k', 'discard 0 64k', 'write -P 3 2k 63k',
             'read -P 3 2k 1k', 'flush', 'map', 'write 3 5', 'close']
    for rules in ('align=4096', 'max-transfer=1M,align=512', 'max-transfer=4096', 'opt-discard=4096',
                  'opt-write-zero=65536', 'max-write-zero=64k,opt-write-zero=64k',
                  'unshare-child-perms.0=write', 'take-child-perms.0=resize',
                  'inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=28',
                  'inject-error.0.event=none,inject-error.0.sector=4,inject-error.0.once=on',
                  'inject-error.0.event=none,inject-error.0.iotype=discard',
                  'inject-error.0.event=none,inject-error.0.iotype=write-zeroes,'
                  'inject-error.0.immediately=on',
                  'inject-error.0.event=read_aio,inject-error.0.iotype=read',
                  'inject-error.0.event=pwritev_zero,inject-error.0.iotype=write-zeroes',
                  'inject-error.0.event=pwritev,inject-error.0.iotype=write,inject-error.0.once=on',
                  'inject-error.0.event=none,inject-error.0.errno=0',
                  'set-state.0.event=read_aio,set-state.0.new_state=3,inject-error.0.state=3,'
                  'inject-error.0.event=write_aio,inject-error.0.iotype=write',
                  'inject-error.0.event=none,inject-error.0.iotype=block-status', 'config=rules'):
        options = ','.join('file.' + rule for rule in rules.split(','))
        both(make_raw, ['-t', 'writeback'] + commands(lines) + ['--image-opts', f'{BLKDEBUG},{options}'],
             ['r'])
        with open('r.q', 'rb') as q, open('r.v', 'rb') as v:
            assert q.read() == v.read(), rules
    for rules in ('align=3', 'max-transfer=1k,align=4k', 'opt-write-zero=1k,align=4k',
                  'max-discard=6k,opt-discard=4k'):
        options = ','.join('file.' + rule for rule in rules.split(','))
        both(make_raw, ['-c', 'read 0 1', '--image-opts', f'{BLKDEBUG},{options}'])
    for text in '[foo]\n', '[inject-error]\nevent = "xx"\n', '[inject-error]\nerrno = "5"\n', \
            'errno = "5"\n', '[inject-error]\nevent = none\n', \
            '[inject-error]\nevent = "none"\nsector = "-7"\n':
        with open('bad', 'w') as f:
            f.write(text)
        p = run(VMM_IO, ['-c', 'read 0 1', '-f', 'raw', 'blkdebug:bad:r'])
        assert p.returncode == 1 and 'blkdebug:bad:r' in p.stderr, p


@test('blkdebug: names of files, breakpoints')
def _():
    p = run(VMM, ['info', 'blkdebug::' * 6000 + 'r'])
    assert p.returncode == 1 and 'longer than 16384 bytes' in p.stderr, p.returncode
    for name in 'blkdebug:rules:r', 'blkdebug::r', 'blkdebug:r':
        both(make_raw, ['-f', 'raw'] + commands(['write 0 1', 'read 0 1', 'write 0 1',
                                                 'write 0 1']) + [name])
    both(make_raw, commands(['break write_aio A', 'aio_write -P 1 0 1k', 'wait_break A',
                             'read -P 0 0 1k', 'break foo B', 'resume X', 'resume A', 'aio_flush',
                             'read -P 1 0 1k', 'remove_break X', 'break write_aio A',
                             'remove_break A', 'resume A', 'write 2k 1k']) +
         ['-f', 'raw', 'blkdebug::r'])
    both(make_raw, ['-f', 'raw'] + commands(['break write_aio A', 'resume A', 'remove_break A']) +
         ['r'])


# What this program's qcow2 comes to in the work below.
REACHED = '''l1_update l2_load l2_update l2_update_compressed l2_alloc_write read_aio read_backing_aio
read_compressed write_aio write_compressed cow_read reftable_load refblock_load refblock_update_part
cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev pwritev_done reftable_grow refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table
refblock_alloc_switch_table refblock_alloc refblock_alloc_hookup l1_grow_alloc_table
l1_grow_write_table l1_grow_activate_table'''.split()


@test('blkdebug: each event that qcow2 comes to, with an error at it, leaves at most leaks')
def _():
    lines = ['write -P 1 0 200k', 'write -P 2 307300 100', 'write -c -P 3 512k 64k', 'flush',
             'write -z 64k 64k', 'discard 0 64k', 'flush', 'read 0 1M', 'write -P 4 1M 64k', 'flush',
             'truncate 80M', 'write 40M 64k', 'flush']
    more_lines = ['write -P 4 1M 9M', 'flush']
    make_chain()
    for size in '512', '4k':
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', '-o',
                   f'cluster_size={size}', f'top.{size}', '16M'], True)
    for event in REACHED:
        for more in [], ['file.inject-error.0.once=on']:
            shutil.copy('top.4k' if 'l1_' in event else 'top.512', 'top')
            options = ['driver=qcow2,file.driver=blkdebug,file.image.driver=file,discard=unmap',
                       'file.image.filename=top', f'file.inject-error.0.event={event}'] + more
            p = run(VMM_IO, commands(lines + (more_lines if 'ref' in event else [])) +
                    ['--image-opts', ','.join(options)])
            assert p.returncode == 1, f'{event} was not come to: {p}'
            p = run(QEMU, ['check', '-f', 'qcow2', 'top'])
            assert p.returncode in (0, 3), f'{event} {more}: {p}'



def make_qcow2(size='1000k'):
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'c', size], True)
    run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1M'], True)


@test('compress: each cluster is compressed, once')
def _():
    options = 'driver=compress,file.driver=qcow2,file.file.filename=c'
    lines = ['write -P 1 0 64k', 'write -P 2 0 64k', 'write -P 3 100k 1k', 'read -P 3 100k 1k',
             'read -P 0 64k 36k', 'write -P 4 200k 300k', 'write -z 0 64k', 'discard 64k 64k',
             'write -P 5 990k 10k', 'read -P 5 990k 10k', 'flush']
    make_qcow2()
    p = run(VMM_IO, commands(lines[2:]) + ['--image-opts', options])
    assert p.returncode == 0 and 'failed' not in p.stdout + p.stderr, p
    run(QEMU, ['check', '-q', 'c'], True)
    both(lambda: make_qcow2('1M'), commands(lines) + ['--image-opts', options], ['c'])
    assert image_map('c.q') == image_map('c.v')
    run(QEMU, ['compare', 'c.q', 'c.v'], True)
    run(QEMU, ['check', '-q', 'c.v'], True)
    both(make_qcow2, ['-c', 'read 0 1', '--image-opts',
                      'driver=compress,file.driver=raw,file.file.filename=r'])


@test('compress: over clusters of zeroes, and not where the data is in a file of its own')
def _():
    options = ('driver=compress,discard=unmap,file.driver=qcow2,file.discard=unmap,'
               'file.file.filename=c')
    both(lambda: make_qcow2('1M'), commands(['write -P 1 0 64k', 'discard 0 64k', 'write -P 2 0 64k',
                               'write -z 64k 64k', 'write -P 3 64k 64k', 'read -P 2 0 64k',
                               'read -P 3 64k 64k']) + ['--image-opts', options])
    run(QEMU, ['check', '-q', 'c'], True)

    def make():
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=d', 'c', '1M'], True)
    both(make, ['-c', 'write -c -P 1 0 64k', '-c', 'read -P 0 0 64k', 'c'])
    make()
    run(QEMU_IO, ['-f', 'raw', '-c', 'write -P 5 0 1M', 'r'], True)
    for args in (['-n', '-O', 'qcow2', 'r', 'c'],
                 ['-O', 'qcow2', '-o', 'data_file=e', 'r', 'new']):
        results = [run(tool, ['convert', '-c', '-f', 'raw', *args]) for tool in (QEMU, VMM)]
        assert [p.returncode for p in results] == [1, 1], results
    run(QEMU, ['check', '-q', 'c'], True)


@test('preallocate: the file grows in steps, and is cut to its data')
def _():
    options = ('driver=qcow2,file.driver=preallocate,file.prealloc-size=4M,'
               'file.prealloc-align=2M,file.file.driver=file,file.file.filename=c')
    make_qcow2()
    p = run(VMM_IO, ['--image-opts', options] +
            commands(['write -P 1 0 64k', 'flush', 'sleep 1', 'write -P 2 64k 900k',
                      'read -P 1 0 64k', 'read -P 2 64k 900k', 'flush']), True)
    assert 'failed' not in p.stdout, p
    run(QEMU, ['check', '-q', 'c'], True)
    info = json.loads(run(QEMU, ['check', '--output=json', 'c'], True).stdout)
    assert os.path.getsize('c') == info['image-end-offset'] < 2 << 20, info
    # Meanwhile it was longer: what a killed program leaves.
    make_qcow2()
    p = run(VMM_IO, ['--image-opts', options] + commands(['write 0 64k', 'flush', 'sigraise 9']))
    assert p.returncode == -9 and os.path.getsize('c') >= 4 << 20 and \
        os.path.getsize('c') % (2 << 20) == 0, (p, os.path.getsize('c'))
    run(QEMU, ['check', '-q', 'c'], True)
    both(make_qcow2, ['-c', 'read 0 1', '--image-opts',
                      'driver=preallocate,prealloc-align=100,file.driver=file,file.filename=r'])


@test('blkverify: what two files read as differently ends the program')
def _():
    def make_two():
        make_qcow2()
        run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1000k'], True)

    both(make_two, ['-f', 'raw'] + commands(['write -P 1 3k 5k', 'read -P 1 3k 5k', 'flush', 'length',
                                             'write -P 2 999k 1k', 'read 900k 100k']) +
         ['blkverify:r:c'], ['r', 'c'])
    run(QEMU, ['compare', '-f', 'raw', '-F', 'qcow2', 'r.v', 'c.v'], True)

    def make_different():
        make_two()
        run(QEMU_IO, ['-f', 'raw', '-c', 'write -P 9 10k 1', 'r'], True)

    both(make_different, ['-f', 'raw'] + commands(['read 0 8k', 'read 8k 64k', 'read 0 1']) +
         ['blkverify:r:c'])
    for name in 'blkverify:r', 'blkverify:r:none', 'blkverify:none:c':
        p = run(VMM_IO, ['-f', 'raw', '-c', 'read 0 1', name])
        assert p.returncode == 1 and 'blkverify' in p.stderr, p


@test('blklogwrites: the log is the one that QEMU writes; it is gone on with')
def _():
    def make_log():
        run(QEMU, ['create', '-q', '-f', 'raw', 'r', '1M'], True)
        run(QEMU, ['create', '-q', '-f', 'raw', 'log', '4M'], True)

    options = ('driver=blklogwrites,file.driver=file,file.filename=r,log.driver=file,'
               'log.filename=log')
    lines = ['write -P 1 4k 1k', 'discard 64k 64k', 'write -P 2 0 512', 'write 1 5', 'flush',
             'write -z 128k 8k', 'write -P 3 8k 4k']
    for more in '', ',log-sector-size=4096', ',log-super-update-interval=2':
        both(make_log, ['-t', 'writeback'] + commands(lines) + ['--image-opts', options + more],
             ['log'])
        with open('log.q', 'rb') as q, open('log.v', 'rb') as v:
            assert q.read() == v.read(), more
    shutil.copy('log.q', 'log.first')
    both(lambda: (make_log(), shutil.copy('log.first', 'log')), ['-t', 'writeback'] + commands(lines) +
         ['--image-opts', options + ',log-append=on'], ['log'])
    with open('log.q', 'rb') as q, open('log.v', 'rb') as v:
        assert q.read() == v.read(), 'log-append'
    for at, data in (0, b'x'), (8, b'\2'), (16, b'\xff' * 8), (24, b'\3'), (24, b'\0\0\0\0'), \
            (512 + 8, b'\xff' * 8):
        make_log()
        shutil.copy('log.v', 'log')
        with open('log', 'r+b') as f:
            f.seek(at)
            f.write(data)
        p = run(VMM_IO, ['-c', 'write 0 512', '--image-opts', options + ',log-append=on'])
        assert p.returncode == 1 and 'og' in p.stderr, (at, p)
    make_log()
    p = run(VMM_IO, ['-c', 'read 0 1', '--image-opts', options + ',log-sector-size=1000'])
    assert p.returncode == 1 and 'Invalid log sector size 1000' in p.stderr, p


main()
