#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""commit and rebase beside qemu-img's: both get the same chains of images, and what is in each file
afterwards is compared. Called with the path of vmm-img; TAP on stdout."""
import json
import os
import random
import resource
import shutil
import subprocess

from imgtest import QEMU, VMM, data_file, main, normal, run, same, share, test

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
    p = run(QEMU, ['check', '-q', name])
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
    for seed in share(range(5)):
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


@test('commit: an image whose data is in a file of its own')
def _():
    if not IO:
        return 'qemu-io is not installed'
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'base', '4M'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=d', '-b', 'base', '-F', 'qcow2',
               'top'], True)
    run(IO, ['-c', 'write -P 1 0 1M', '-c', 'write -P 3 2M 70k', 'top'], True)
    want = raw('top')
    run(VMM, ['commit', '-q', 'top'], True)
    assert raw('base') == raw('top') == want
    # What is left in the data file is not the disk's any more.
    run(IO, ['-c', 'write -P 5 100k 1k', 'base'], True)
    assert raw('base') == raw('top')
    run(IO, ['-c', 'write -P 7 200k 1k', 'top'], True)
    want = bytearray(raw('base'))
    want[200 * K:201 * K] = b'\7' * K
    assert raw('top') == bytes(want)
    sound('top')


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


@test('rebase: random chains')
def _():
    if not IO:
        return 'qemu-io is not installed'
    for seed in share(range(5)):
        rnd = random.Random(seed)
        shutil.rmtree('c', ignore_errors=True)
        forms = make_chain(rnd, 'c')
        make_chain(rnd, 'n', 2)
        for name in '0', '1':
            os.rename(f'n/{name}', f'c/new{name}')
        run(QEMU, ['rebase', '-u', '-b', 'new0', '-F',
                   'raw' if content('c/new0')[:3] != b'QFI' else 'qcow2', 'c/new1'], True)
        # An image without a backing file gets one.
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', rnd.choice(SHAPES), 'c/alone', '1M'], True)
        scribble(rnd, 'c/alone', 'qcow2', MIB, 4)
        for image, new, form in (('2', '0', forms[0]), ('2', 'new1', 'qcow2'), ('2', '', None),
                                 ('alone', 'new1', 'qcow2'), ('2', '1', 'qcow2')):
            want = raw(f'c/{image}')
            for tool, folder in both('c'):
                if tool == QEMU and image == 'alone':
                    continue  # qemu-img 7.2 loses zeroes of a version 2 image that had no backing file
                how = ['-F', form] if form else []
                run(tool, ['rebase', '-b', new, *how, f'{folder}/{image}'], True)
                sound(f'{folder}/{image}')
                assert raw(f'{folder}/{image}') == want, (seed, tool, image, new)
                info = run(QEMU, ['info', f'{folder}/{image}'], True).stdout
                assert (f'backing file: {new} ' in info) == bool(new), info
                assert (f'backing file format: {form}\n' in info) == bool(form), info
                for name in os.listdir('c'):
                    if name != image:
                        assert content(f'c/{name}') == content(f'{folder}/{name}'), (tool, name)


def names(image):
    info = run(QEMU, ['info', '--output=json', '-U', image], True).stdout
    info = json.loads(info)
    return info.get('backing-filename'), info.get('backing-filename-format')


@test('rebase -u: names of every length')
def _():
    rnd = random.Random(1)
    for shape in SHAPES:
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', shape, 'i', '1M'], True)
        room = 512 if 'size=512' in shape else 4096
        # An extension that no program knows, in front of the end.
        image = bytearray(content('i'))
        at = 72 if shape == 'compat=0.10' else int.from_bytes(image[100:104], 'big')
        while int.from_bytes(image[at:at + 4], 'big'):
            at += 8 + (int.from_bytes(image[at + 4:at + 8], 'big') + 7) // 8 * 8
        unknown = b'\x12\x34\x56\x78\0\0\0\x05hello\0\0\0'
        image[at:at + 24] = unknown + bytes(8)
        with open('i', 'wb') as f:
            f.write(image)
        have = None, None
        for step in range(12):
            length = rnd.choice([0, 1, 7, 8, 9, 20, 100, 300, 500, 1000, 1023, 1024])
            name = 'x' * max(length - 2, 0) + str(step)
            form = rnd.choice(['raw', 'qcow2']) if step % 5 else rnd.choice(['luks', 'parallels'])
            tool = VMM if form in ('raw', 'qcow2') else QEMU
            p = run(tool, ['rebase', '-u', *(['-b', name, '-F', form] if length else ['-b', '']), 'i'])
            fits = len(name) <= 1023 and len(name) + 200 < room or not length
            assert p.returncode == 0 or not fits, p
            if p.returncode == 0:
                have = (name, form) if length else (None, None)
            else:
                assert p.stderr.rstrip().endswith(('No space left in the file header',
                                                   'Invalid argument')), p
            assert names('i') == have, (shape, step, names('i'), have)
            sound('json:{"driver":"qcow2","file":{"driver":"file","filename":"i"},"backing":null}')
            assert unknown in content('i')[:room], (shape, step)
            ours = json.loads(run(VMM, ['info', '--output=json', 'i'], True).stdout)
            assert (ours.get('backing-filename'), ours.get('backing-filename-format')) == have


@test('rebase -u: a header that is full, without an end marker')
def _():
    extension = b'\x12\x34\x56\x78' + (512 - 112 - 8).to_bytes(4, 'big') + b'e' * (512 - 112 - 8)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', 'i', '1M'], True)
    with open('i', 'r+b') as f:
        f.seek(112)
        f.write(extension)
    before = content('i')
    p = run(VMM, ['rebase', '-u', '-b', 'x', '-F', 'raw', 'i'])
    assert p.returncode == 1 and 'No space left in the file header' in p.stderr, p
    run(VMM, ['rebase', '-u', '-b', '', 'i'], True)
    assert content('i')[:len(before)] == before
    sound('i')


@test('rebase: what it says')
def _():
    def chain():
        shutil.rmtree('c', ignore_errors=True)
        os.makedirs('c')
        data_file('c/0', MIB)
        shutil.copy('c/0', 'c/n')
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '0', '-F', 'raw', 'c/1', '2M'], True)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '1', '-F', 'qcow2', 'c/2'], True)
    raw_n = ['-b', 'n', '-F', 'raw']
    for args in ([], ['c/2'], ['-b', 'x'], ['-b', 'x', 'c/2'], [*raw_n, 'c/2'], ['-b', 'n', 'c/2'],
                 ['-u', '-b', 'n', 'c/2'], ['-u', '-b', 'n', '-F', 'foo', 'c/2'],
                 ['-b', 'n', '-F', 'foo', 'c/2'], ['-b', 'n', '-F', 'qcow2', 'c/2'],
                 ['-b', '', 'c/2'], ['-u', '-b', '', 'c/2'], ['-u', 'c/2'], ['-u', *raw_n, 'c/2'],
                 ['-q', '-p', *raw_n, 'c/2'], ['-u', '-b', 'nonex', '-F', 'raw', 'c/2'],
                 ['-t', 'foo', *raw_n, 'c/2'], ['-T', 'foo', *raw_n, 'c/2'],
                 ['-t', 'none', '-T', 'none', *raw_n, 'c/2'], ['-u', *raw_n, '-f', 'raw', 'c/0'],
                 ['-f', 'raw', *raw_n, 'c/0'], ['-b', '2', '-F', 'qcow2', 'c/2'],
                 ['-U', '-u', *raw_n, 'c/2'], ['-U', *raw_n, 'c/2'], ['-u', *raw_n, '-c', 'c/2'],
                 [*raw_n, 'c/2', 'c/2'], ['-f', 'raw', '-b', 'n', 'c/2'],
                 ['--image-opts', *raw_n, 'driver=qcow2,file.filename=c/2']):
        same(['rebase'] + args, chain)
    chain()
    p = run(VMM, ['rebase', '-p', *raw_n, 'c/2'], True)
    assert p.stdout.startswith('    (0.00/100%)') and p.stdout.endswith('(100.00/100%)\n'), p.stdout


@test('rebase -u: the old backing file need not be there')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-u', '-b', 'gone', '-F', 'raw', '1', '1M'], True)
    data_file('new', MIB)
    assert run(VMM, ['rebase', '-b', 'new', '-F', 'raw', '1']).returncode == 1
    run(VMM, ['rebase', '-u', '-b', 'new', '-F', 'raw', '1'], True)
    assert raw('1') == content('new')


@test('rebase: a full disk loses nothing')
def _():
    if not IO:
        return 'qemu-io is not installed'
    run(QEMU, ['create', '-q', '-f', 'raw', '0', '4M'], True)
    subprocess.run([IO, '-f', 'raw', '-c', 'write -P 7 0 4M', '0'], check=True,
                   stdout=subprocess.DEVNULL)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', '0', '-F', 'raw', '1'], True)
    want = raw('1')
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
    p = run(VMM, ['rebase', '-b', '', '1'], preexec_fn=limited)
    assert p.returncode == 1 and 'File too large' in p.stderr, p
    assert names('1') == ('0', 'raw') and raw('1') == want
    run(VMM, ['rebase', '-b', '', '1'], True)
    assert names('1') == (None, None) and raw('1') == want


main(shared=True)
