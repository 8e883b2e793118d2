#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file is taken for, how long it is, who else may use it, and chains of backing files.
Called with the paths of vmm-img and vmm; TAP on stdout."""
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

IMG = os.path.abspath(sys.argv[1])
VMM = os.path.abspath(sys.argv[2])
QEMU = shutil.which('qemu-img')
count = failed = 0


def test(name, needs_qemu=False):
    def wrap(fn):
        global count, failed
        count += 1
        if needs_qemu and not QEMU:
            print(f'ok {count} - {name} # SKIP no qemu-img', flush=True)
            return
        work = tempfile.mkdtemp(prefix='img-')
        here = os.getcwd()
        os.chdir(work)
        try:
            fn()
            print(f'ok {count} - {name}', flush=True)
        except (AssertionError, subprocess.SubprocessError, OSError, ValueError) as e:
            failed += 1
            print(f'not ok {count} - {name}')
            print('\n'.join('# ' + line for line in str(e).splitlines()), flush=True)
        finally:
            os.chdir(here)
            shutil.rmtree(work)
    return wrap


def run(*args, tool=IMG, status=0, timeout=120, **more):
    p = subprocess.run([tool, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=timeout, **more)
    if status is not None:
        assert p.returncode == status, f'{args}: status {p.returncode}, not {status}\n{p.stderr}'
    return p


def same_output(*args):
    """What qemu-img prints for it, this program prints too."""
    want, got = run(*args, tool=QEMU), run(*args)
    assert want.stdout == got.stdout, f'{args}:\n{want.stdout}--- vs\n{got.stdout}'


def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)


def read(name):
    with open(name, 'rb') as f:
        return f.read()


def info(name, *args):
    return json.loads(run('info', '--output=json', *args, name).stdout)


# --- lengths ---

@test('a raw file of an odd length has its last sector')
def _():
    data = os.urandom(70000)
    write('odd', data)
    assert info('odd', '-f', 'raw')['virtual-size'] == 70144
    for fmt in 'raw', 'qcow2':
        run('convert', '-f', 'raw', '-O', fmt, 'odd', 'copy')
        run('compare', '-f', 'raw', '-F', fmt, 'odd', 'copy')
        run('convert', '-f', fmt, '-O', 'raw', 'copy', 'back')
        assert read('back')[:70144] == data + bytes(144), fmt


@test('map of a raw file of an odd length is as qemu-img has it', needs_qemu=True)
def _():
    for size in 1000, 1024, 4097, 70000:
        write('odd', b'x' * size)
        same_output('map', '-f', 'raw', '--output=json', 'odd')
        same_output('map', '-f', 'raw', 'odd')


@test('a qcow2 file ends with a whole sector')
def _():
    write('raw', os.urandom(100000 // 512 * 512) + bytes(65536) + b'text' * 30000)
    for options in '', 'cluster_size=4k', 'compression_type=zstd', 'cluster_size=512':
        args = ['-o', options] if options else []
        run('convert', '-c', '-f', 'raw', '-O', 'qcow2', *args, 'raw', 'c')
        assert os.path.getsize('c') % 512 == 0, f'{options}: {os.path.getsize("c")} bytes'
        run('compare', '-f', 'raw', '-F', 'qcow2', 'raw', 'c')
        run('check', 'c')


# --- chains ---

def overlay(name, backing, fmt='qcow2'):
    run('create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', fmt,
        '-o', 'cluster_size=512', name, '64K')


def chain(depth):
    """'top' over n0001 ... over 'base': names of one length, so that one header makes them all."""
    write('base', os.urandom(65536))
    overlay('n0000', 'base', 'raw')
    overlay('n0001', 'n0000')
    image = read('n0001')
    assert image.count(b'n0000') == 1
    for i in range(2, depth + 1):
        write(f'n{i:04}', image.replace(b'n0000', b'n%04d' % (i - 1)))
    os.rename(f'n{depth:04}', 'top')


def limit_files(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@test('a chain of 1,000 backing files is opened, and read at its bottom')
def _():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1100:
        return
    chain(1000)
    few = limit_files(256, hard)  # as programs are started; the hard limit is what counts
    run('convert', '-f', 'qcow2', '-O', 'raw', 'top', 'out', preexec_fn=few)
    assert read('out') == read('base')
    run('compare', '-f', 'qcow2', '-F', 'raw', 'top', 'base', preexec_fn=few)
    images = json.loads(run('info', '--output=json', '--backing-chain', 'top').stdout)
    assert len(images) == 1002 and images[-1]['format'] == 'raw'
    extents = json.loads(run('map', '--output=json', 'top').stdout)
    assert [(e['start'], e['length'], e['depth']) for e in extents] == [(0, 65536, 1001)]
    p = subprocess.run([VMM, '-accel', 'qtest', '-display', 'none', '-S', '-monitor', 'stdio',
                        '-drive', 'file=top,format=qcow2,if=virtio'], input='info block\nquit\n',
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert p.returncode == 0 and 'chain depth: 1001' in p.stdout, p.stdout


@test('past the limit of open files the error says so')
def _():
    chain(100)
    p = run('info', '--backing-chain', 'top', status=1, preexec_fn=limit_files(64, 64))
    assert 'Too many open files (this process may have 64' in p.stderr, p.stderr


@test('a chain that leads back to itself is said to, once')
def _():
    overlay('a', 'b')
    overlay('b', 'c')
    overlay('c', './../' + os.path.basename(os.getcwd()) + '/a')
    overlay('self', 'self')
    for name in 'a', 'self':
        for args in (['info', '--backing-chain'], ['map'], ['convert', '-O', 'raw'], ['check'],
                     ['check', '-r', 'all'], ['resize']):
            more = {'convert': ['out'], 'resize': ['128K']}.get(args[0], [])
            p = run(*args, name, *more, status=1, timeout=20)
            assert p.stderr.count('infinite loop') == 1, f'{args} {name}: {p.stderr}'
        run('info', name)
    p = run('-accel', 'qtest', '-display', 'none', '-S', '-drive', 'file=a,format=qcow2', tool=VMM,
            status=1, timeout=20)
    assert p.stderr.count('infinite loop') == 1, p.stderr


@test('the same image may stand twice in a chain that ends')
def _():
    write('raw', os.urandom(65536))
    overlay('a', 'raw', 'raw')
    options = ('driver=qcow2,file.filename=a,backing.driver=qcow2,backing.file.filename=a')
    run('convert', '--image-opts', '-O', 'raw', options, 'out')
    assert read('out') == read('raw')


print(f'1..{count}')
sys.exit(1 if failed else 0)
