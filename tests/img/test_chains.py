#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""commit and rebase beside qemu-img's: both get the same chains of images, and what is in each file
afterwards is compared. Called with the path of vmm-img; TAP on stdout."""
import os
import random
import resource
import shutil
import subprocess

from imgtest import QEMU, VMM, data_file, main, normal, run, same, test

IO = shutil.which('qemu-io')
K = 1 << 10
MIB = 1 << 20
SHAPES = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'compat=0.10',
          'extended_l2=on', 'lazy_refcounts=on', 'cluster_size=4k,refcount_bits=64']


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def scribble(rnd, name, form, size, times=12):
    """Random writes, zeroes and discards; compressed clusters where the format has them."""
    words = []
    for _ in range(times):
        n = rnd.choice([512, 4 * K, 30 * K, 64 * K, 200 * K])
        at = rnd.randrange(0, max(size - n, 0) // 512 + 1) * 512
        n = min(n, size - at)
        what = rnd.random()
        if what < 0.6:
            words += ['-c', f'write -P {rnd.randrange(1, 256)} {at} {n}']
        elif what < 0.75:
            words += ['-c', f'write -z {at} {n}']
        elif what < 0.9:
            words += ['-c', f'write -P 0 {at} {n}']
        else:
            words += ['-c', f'discard {at} {n}']
    subprocess.run([IO, '-f', form, '-d', 'unmap', *words, name], check=True,
                   stdout=subprocess.DEVNULL, timeout=60)


def make_chain(rnd, folder, depth=3, sizes=None):
    """Images 0 (raw, or qcow2) to depth - 1 (the top), each the next one's backing file."""
    os.makedirs(folder, exist_ok=True)
    forms = [rnd.choice(['raw', 'qcow2'])] + ['qcow2'] * (depth - 1)
    sizes = sizes or [rnd.randrange(1, 2 * MIB // 512) * 512 for _ in range(depth)]
    for i in range(depth):
        name = f'{folder}/{i}'
        options = ['-o', rnd.choice(SHAPES)] if forms[i] == 'qcow2' else []
        below = ['-b', f'{i - 1}', '-F', forms[i - 1]] if i else []
        run(QEMU, ['create', '-q', '-f', forms[i], *options, *below, name, str(sizes[i])], True)
        scribble(rnd, name, forms[i], sizes[i])
    return forms


def raw(name, form='qcow2'):
    run(QEMU, ['convert', '-f', form, '-O', 'raw', name, 'raw'], True)
    return content('raw')


def sound(name):
    p = run(QEMU, ['check', '-q', '-f', 'qcow2', name])
    assert p.returncode == 0, f'{name}: {p.returncode} {p.stdout} {p.stderr}'


def both(folder):
    """The folder twice, one for each tool."""
    for tool in 'q', 'v':
        shutil.rmtree(tool, ignore_errors=True)
        shutil.copytree(folder, tool)
    return (QEMU, 'q'), (VMM, 'v')


@test('commit: random chains')
def _():
    if not IO:
        return 'qemu-io is not installed'
    for seed in range(14):
        rnd = random.Random(seed)
        shutil.rmtree('c', ignore_errors=True)
        forms = make_chain(rnd, 'c')
        want = raw('c/2')
        for options, base in ([], 1), (['-d'], 1), (['-b', '0'], 0), (['-b', '1'], 1):
            if base == 0 and forms[0] == 'qcow2' and seed % 2:
                continue
            seen = []
            for tool, folder in both('c'):
                p = run(tool, ['commit', '-q', *options, f'{folder}/2'])
                sound(f'{folder}/2')
                assert raw(f'{folder}/2') == want, (seed, tool, options)
                if p.returncode:  # a version 2 image does not grow over a longer backing file
                    assert p.returncode == 1 and 'ersion 2' in p.stderr or tool == QEMU, p
                    continue
                seen.append(raw(f'{folder}/{base}', forms[base]))
                if not options:
                    found = run(QEMU, ['map', '--output=json', f'{folder}/2'], True).stdout
                    assert '"depth": 0, "present": true' not in found, (seed, tool, found)
                if forms[base] == 'qcow2':
                    sound(f'{folder}/{base}')
            assert len(seen) < 2 or seen[0] == seen[1], (seed, options, [len(s) for s in seen])


@test('commit: snapshots and compressed clusters of the image stay')
def _():
    if not IO:
        return 'qemu-io is not installed'
    for shape in SHAPES:
        os.makedirs('c', exist_ok=True)
        data_file('c/0', MIB)
        data_file('other', MIB, 2)
        run(QEMU, ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', shape, 'other', 'c/1'], True)
        run(QEMU, ['rebase', '-u', '-b', '0', '-F', 'raw', 'c/1'], True)
        run(QEMU, ['snapshot', '-c', 'one', 'c/1'], True)
        scribble(random.Random(shape), 'c/1', 'qcow2', MIB)
        want = raw('c/1')
        run(VMM, ['commit', '-q', 'c/1'], True)
        sound('c/1')
        assert raw('c/1') == want and content('c/0') == want, shape
        run(QEMU, ['snapshot', '-a', 'one', 'c/1'], True)
        run(QEMU, ['rebase', '-u', '-b', '', 'c/1'], True)
        sound('c/1')
        assert raw('c/1') == content('other'), shape
        shutil.rmtree('c')


@test('commit: what it says')
def _():
    def chain():
        shutil.rmtree('c', ignore_errors=True)
        os.makedirs('c')
        data_file('c/0', MIB)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '0', '-F', 'raw', 'c/1', '2M'], True)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '1', '-F', 'qcow2', 'c/2'], True)
    for args in ([], ['c/2'], ['-q', 'c/2'], ['-d', 'c/2'], ['-b', '0', 'c/2'], ['-b', 'x', 'c/2'],
                 ['-b', '2', 'c/2'], ['-b', 'c/0', 'c/2'], ['-b', '../c/0', 'c/2'], ['c/0'],
                 ['-f', 'raw', 'c/0'], ['nonex'], ['-r', '10M', 'c/2'], ['-r', 'x', 'c/2'],
                 ['-r', '0', 'c/2'], ['-t', 'foo', 'c/2'], ['-t', 'none', 'c/2'],
                 ['-t', 'unsafe', 'c/2'], ['-f', 'raw', 'c/2'], ['c/2', 'c/2'],
                 ['--image-opts', 'driver=qcow2,file.filename=c/2'],
                 ['--image-opts', '-f', 'raw', 'c/2']):
        same(['commit'] + args, chain)
    chain()
    p = run(VMM, ['commit', '-p', 'c/2'], True)
    # The test reads carriage returns as line ends.
    assert p.stdout.startswith('    (0.00/100%)\n') and \
        p.stdout.endswith('(100.00/100%)\nImage committed.\n'), p.stdout


@test('commit: an image that others use is refused')
def _():
    if not IO:
        return 'qemu-io is not installed'
    data_file('0', MIB)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '0', '-F', 'raw', '1'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '1', '-F', 'qcow2', '2'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '1', '-F', 'qcow2', 'reader'], True)
    for used, how in (('1', []), ('2', ['-r']), ('reader', ['-r']), ('2', [])):
        before = content('1'), content('2')
        holder = subprocess.Popen([IO, *how, used], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        holder.stdin.write('read 0 512\n')
        holder.stdin.flush()
        holder.stdout.readline()
        try:
            same(['commit', '2'], stderr=used != 'reader')
            p = run(VMM, ['commit', '2'])
            assert p.returncode == 1 and 'lock' in p.stderr, (used, p)
        finally:
            holder.communicate('quit\n', timeout=20)
        for old, name in zip(before, '12'):  # whoever opens one may fill its last sector
            assert content(name)[:len(old)] == old, (used, name)


@test('commit: a full disk loses nothing')
def _():
    if not IO:
        return 'qemu-io is not installed'
    for base in 'raw', 'qcow2':
        run(QEMU, ['create', '-q', '-f', base, '0', '1M'], True)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '0', '-F', base, '1', '4M'], True)
        subprocess.run([IO, '-c', 'write -P 7 0 4M', '1'], check=True, stdout=subprocess.DEVNULL)
        before, want = content('1'), raw('1')
        limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
        p = run(VMM, ['commit', '1'], preexec_fn=limited)
        assert p.returncode == 1 and 'File too large' in p.stderr, p
        assert content('1') == before and raw('1') == want
        run(VMM, ['commit', '-q', '1'], True)
        assert raw('0', base) == want and raw('1') == want


main()
