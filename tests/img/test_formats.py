#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file is taken for, how long it is, who else may use it, and chains of backing files.
Called with the paths of vmm-img and vmm; TAP on stdout."""
import json
import os
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


def run(*args, tool=IMG, status=0, timeout=120):
    p = subprocess.run([tool, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=timeout)
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


print(f'1..{count}')
sys.exit(1 if failed else 0)
