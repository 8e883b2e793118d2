#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file is taken for, how long it is, who else may use it, and chains of backing files.
Called with the paths of vmm-img and vmm; TAP on stdout."""
import json
import os
import resource
import shutil
import struct
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
            why = fn()
            print(f'ok {count} - {name}' + (f' # SKIP {why}' if why else ''), flush=True)
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
    """vmm-img has to print what qemu-img prints."""
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
    """'top' over ... n0001 over n0000 over 'base'. The names have one length, so that each image is
    a copy of n0001 with another name in it."""
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
        return f'the limit of open files is {hard}'
    chain(1000)
    few = limit_files(256, hard)  # vmm-img has to raise its soft limit to the hard one
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
    overlay('self', './self')
    for name in 'a', 'self':
        for args in (['info', '--backing-chain'], ['map'], ['convert', '-O', 'raw'], ['check'],
                     ['check', '-r', 'all'], ['resize']):
            more = {'convert': ['out'], 'resize': ['128K']}.get(args[0], [])
            p = run(*args, name, *more, status=1, timeout=20)
            assert p.stderr.count('infinite loop') == 1, f'{args} {name}: {p.stderr}'
        run('info', name)
    p = run('-accel', 'qtest', '-display', 'none', '-S', '-drive', 'file=a,format=qcow2', tool=VMM,
            status=2, timeout=20)
    assert p.stderr.count('infinite loop') == 1, p.stderr


@test('the same image may stand twice in a chain that ends')
def _():
    write('raw', os.urandom(65536))
    overlay('a', 'raw', 'raw')
    options = ('driver=qcow2,file.filename=a,backing.driver=qcow2,backing.file.filename=a')
    run('convert', '--image-opts', '-O', 'raw', options, 'out')
    assert read('out') == read('raw')


# --- formats that are known and not supported ---

def at(offset, data, size=65536):
    image = bytearray(size)
    image[offset:offset + len(data)] = data
    return bytes(image)


BOCHS = b'Bochs Virtual HD Image'.ljust(32, b'\0') + b'Redolog'.ljust(16, b'\0') + \
    b'Growing'.ljust(16, b'\0') + b'\0\0\2\0'
FOREIGN = {
    'Bochs': [at(0, BOCHS)],
    'cloop': [at(0, b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount')],
}
RAW = [b'', b'#', b'# Disk DescriptorFile\nversion=4\n', b'# x\n\nversion=1\n', at(64, b'\x7f\x10\xda'),
       at(0, b'LUKS\xba\xbe\0\2'), at(0, b'WithoutFreeSpace\1'), at(65024, b'conectix\0\0\0\2'),
       at(0, b'QFI\xfb\0\0\0\0'), at(4, b'KDMV')]


@test('an image of a format that is not supported is refused by name, wherever it is guessed')
def _():
    write('raw', bytes(65536))
    for title, images in FOREIGN.items():
        for image in images:
            write('x', image)
            want = f"'x' is a {title} image, which is not supported yet; name format=raw to treat "\
                   'it as bytes'
            run('create', '-q', '-u', '-f', 'qcow2', '-b', 'x', '-F', 'raw', 'over', '64K')
            over = read('over')
            name = over.index(b'raw', 104)  # the next line removes the backing format's extension
            write('over', over[:name - 8] + bytes(4) + over[name - 4:])
            commands = [['info', 'x'], ['map', 'x'], ['check', 'x'], ['compare', 'x', 'raw'],
                        ['compare', 'raw', 'x'], ['convert', '-O', 'raw', 'x', 'y'],
                        ['resize', 'x', '1M'], ['info', '--backing-chain', 'over']]
            for c in commands:
                p = run(*c, status=2 if c[0] == 'compare' else 1)
                assert want in p.stderr, f'{c}: {p.stderr}'
            p = run('-accel', 'qtest', '-display', 'none', '-S', '-drive', 'file=x', tool=VMM,
                    status=2, timeout=20)
            assert want in p.stderr, p.stderr
            assert read('x') == image and not os.path.exists('y')
            assert info('x', '-f', 'raw')['format'] == 'raw'
    for image in RAW:
        write('x', image)
        assert info('x')['format'] == 'raw', image[:64]


@test('what QEMU makes is known for what it is', needs_qemu=True)
def _():
    write('raw', bytes(65536))
    for fmt in 'vmdk', 'vdi', 'vpc', 'vhdx', 'qed', 'qcow', 'parallels':
        run('convert', '-f', 'raw', '-O', fmt, 'raw', 'x.' + fmt, tool=QEMU)
        assert info('x.' + fmt)['format'] == fmt


# --- names ---

@test('json: names may have dotted keys')
def _():
    write('raw', os.urandom(65536))
    flat = {'driver': 'raw', 'offset': '512', 'file.driver': 'file', 'file.filename': 'raw'}
    mixed = {'driver': 'raw', 'offset': 512, 'file.filename': 'raw', 'file': {'driver': 'file'}}
    for tree in flat, mixed:
        name = 'json:' + json.dumps(tree)
        run('convert', '-O', 'raw', name, 'out')
        assert read('out') == read('raw')[512:]
        overlay('over', name, 'raw')
        run('convert', '-O', 'raw', 'over', 'out')
        assert read('out') == read('raw')[512:] + bytes(512)
        text = name.replace(',', ',,')
        run('-accel', 'qtest', '-display', 'none', '-S', '-monitor', 'stdio', '-drive',
            f'file={text},if=virtio', tool=VMM, input='quit\n', timeout=20)
    run('info', '--image-opts', 'driver=raw,file.driver=file,file.filename=raw')
    p = run('info', 'json:' + json.dumps({'driver': 'raw', 'file': 'x', 'file.driver': 'file'}),
            status=1)
    assert "'file.*' used inconsistently" in p.stderr, p.stderr


# --- sharing ---

class Running:
    """A paused machine with one disk."""
    def __init__(self, drive):
        self.p = subprocess.Popen([VMM, '-accel', 'qtest', '-display', 'none', '-S', '-qmp',
                                   'stdio', '-drive', drive], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.up = bool(self.p.stdout.readline())  # the greeting: the disk is open

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        for f in self.p.stdin, self.p.stdout, self.p.stderr:
            f.close()


@test('a raw image that a machine writes to can be looked at, another format not')
def _():
    write('raw', os.urandom(65536))
    run('create', '-q', '-f', 'qcow2', 'q', '64K')
    write('copy', read('raw'))
    looks = [['info', '-f', 'raw', 'raw'], ['map', '-f', 'raw', 'raw'],
             ['compare', '-f', 'raw', '-F', 'raw', 'raw', 'copy']]
    with Running('file=raw,format=raw,if=virtio') as vm:
        assert vm.up
        for look in looks:
            run(*look)
            if QEMU:
                run(*look, tool=QEMU)
        for refused in (['resize', '-f', 'raw', 'raw', '1M'],
                        ['convert', '-f', 'raw', '-O', 'raw', 'raw', 'out'],
                        ['convert', '-n', '-f', 'raw', '-O', 'raw', 'copy', 'raw']):
            assert 'lock' in run(*refused, status=1).stderr
        with Running('file=raw,format=raw,if=virtio') as second:
            assert not second.up
    with Running('file=q,format=qcow2,if=virtio') as vm:
        assert vm.up
        for look in ['info', 'q'], ['map', 'q'], ['check', 'q']:
            assert 'lock' in run(*look, status=1).stderr
        run('info', '-U', 'q')


@test('a machine may start while a raw image is read')
def _():
    # The reader blocks half-way: its output fills a pipe that is not read.
    with open('raw', 'wb') as f:
        for i in range(20000):
            f.seek(i * 8192)
            f.write(b'x' * 4096)
    with subprocess.Popen([IMG, 'map', '-f', 'raw', '--output=json', 'raw'],
                          stdout=subprocess.PIPE) as reader:
        assert reader.stdout.read(1) == b'['
        with Running('file=raw,format=raw,if=virtio') as vm:
            assert vm.up
        assert reader.poll() is None
        reader.kill()


# --- check ---

def patch(name, offset, fmt, value):
    with open(name, 'r+b') as f:
        f.seek(offset)
        f.write(struct.pack(fmt, value))


def get(name, offset, fmt='>Q'):
    return struct.unpack_from(fmt, read(name), offset)[0]


COPIED = 1 << 63


def full_image(name, options=''):
    """Makes an image of 64 KiB of data; returns the offsets of its L1 table, L2 table and refcount
    block."""
    write('raw', b'\1' * 65536)
    run('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k' + options, 'raw', name)
    l1 = get(name, 40)
    return l1, get(name, l1) & ~COPIED, get(name, get(name, 48))


@test('check names entries as qemu-img does')
def _():
    l1, l2, _ = full_image('good')

    def spoil(kind):
        shutil.copy('good', 'x')
        entry = get('x', l2 + 16)
        if kind == 'flags':
            patch('x', l1, '>Q', l2)
            patch('x', l2 + 16, '>Q', entry & ~COPIED)
            return [f'OFLAG_COPIED L2 cluster: l1_index=0 l1_entry={l2:x} refcount=1',
                    f'OFLAG_COPIED data cluster: l2_entry={entry & ~COPIED:x} refcount=1']
        if kind == 'unaligned':
            patch('x', l2 + 16, '>Q', entry + 512)
            return [f'ERROR offset={(entry & ~COPIED) + 512:x}: Data cluster is not properly '
                    'aligned; L2 entry corrupted.']
        if kind == 'reserved':
            patch('x', l2 + 16, '>Q', entry | 0x10)
            return [f'ERROR found l2 entry with reserved bits set: {entry | 0x10:x}']
        patch('x', l2 + 16, '>Q', COPIED | 1 << 62 | entry)
        return ['copied flag must never be set for compressed clusters']
    for kind in 'flags', 'unaligned', 'reserved', 'compressed':
        words = spoil(kind)
        got = run('check', 'x', status=2)
        for w in words:
            assert w in got.stderr, f'{kind}: {got.stderr}'
        if QEMU and kind != 'compressed':
            want = run('check', 'x', tool=QEMU, status=2)
            assert got.stderr == want.stderr, f'{kind}:\n{want.stderr}--- vs\n{got.stderr}'
            assert got.stdout == want.stdout, f'{kind}:\n{want.stdout}--- vs\n{got.stdout}'
    spoil('flags')
    p = run('check', '-r', 'all', 'x')
    assert 'Repairing OFLAG_COPIED L2 cluster: l1_index=0' in p.stderr, p.stderr
    spoil('unaligned')
    before = read('x')
    run('check', '-r', 'all', 'x', status=2)
    assert get('x', l2 + 16) == struct.unpack_from('>Q', before, l2 + 16)[0]


@test('a repair clears autoclear bits that are not known')
def _():
    for how in 'all', 'leaks':
        full_image('x')
        patch('x', 88, '>Q', 0xf0)
        run('check', 'x')
        assert get('x', 88) == 0xf0  # a check without -r changes nothing
        run('check', '-r', how, 'x')
        assert get('x', 88) == 0, hex(get('x', 88))


@test('an image with its dirty bit set is repaired by check -r, and before it is written to')
def _():
    _, l2, refcounts = full_image('good', ',lazy_refcounts=on')
    cluster = (get('good', l2) & ~COPIED) // 4096
    for commands in ([['check', '-r', 'all', 'x']], [['resize', 'x', '1M']],
                     [['convert', '-n', '-f', 'raw', '-O', 'qcow2', 'raw', 'x']]):
        shutil.copy('good', 'x')
        patch('x', 72, '>Q', 1)
        patch('x', refcounts + 2 * cluster, '>H', 0)
        assert info('x')['dirty-flag']
        run('check', 'x', status=2)
        for c in commands:
            run(*c)
        assert get('x', 72) == 0 and get('x', refcounts + 2 * cluster, '>H') == 1, commands
        run('check', 'x')
    shutil.copy('good', 'x')
    patch('x', 72, '>Q', 1)  # the dirty bit alone; the refcounts are right
    run('check', '-r', 'leaks', 'x')
    assert get('x', 72) == 0


@test('the last entry of a table of feature names may be short')
def _():
    full_image('x')
    image = read('x')
    table = image.index(struct.pack('>I', 0x6803f857), 104)
    text = b'\0\x30a feature of tomorrow'
    for room in len(text), 48, 46:
        more = struct.pack('>II', 0x6803f857, room) + text.ljust(room, b'\0')
        more += bytes(-len(more) % 8 + 8)  # padding, and the end of the extensions
        write('x', image[:table] + more + image[table + len(more):])
        patch('x', 72, '>Q', 1 << 48 | 1 << 50)
        p = run('info', 'x', status=1)
        assert 'Unsupported qcow2 feature(s): a feature of tomorrow, Unknown incompatible ' \
            'feature: 4000000000000' in p.stderr, p.stderr


@test('check finds reserved bits of L1 and refcount table entries', needs_qemu=True)
def _():
    l1, l2, _ = full_image('good')
    odd = l2 | COPIED | 4
    for at, entry, what in (
            (l1, odd, f'L1 entry with reserved bits set: {odd:x}'),
            (get('good', 48) + 8, 2, 'refcount table entry 1 has reserved bits set')):
        shutil.copy('good', 'x')
        patch('x', at, '>Q', entry)
        for tool in IMG, QEMU:
            p = run('check', 'x', status=2, tool=tool)
            assert what in p.stderr + p.stdout, (tool, p.stderr, p.stdout)
    run('check', '-r', 'all', 'x')
    run('check', 'x')
    run('check', 'x', tool=QEMU)


@test('a disk whose length is no multiple of 512 ends with its last whole sector')
def _():
    full_image('x')
    size = get('x', 24)
    run('convert', '-O', 'raw', 'x', 'want')
    patch('x', 24, '>Q', size - 512 + 100)
    assert info('x')['virtual-size'] == size - 512
    for tool in (IMG, QEMU) if QEMU else (IMG,):
        run('convert', '-O', 'raw', 'x', 'got', tool=tool)
        assert read('got') == read('want')[:size - 512], tool


@test('an offset of the snapshot table that is none is an error, without snapshots too')
def _():
    full_image('x')
    patch('x', 64, '>Q', 0x201)
    assert 'Snapshot table offset invalid' in run('info', 'x', status=1).stderr
    assert 'ERROR snapshot table' in run('check', 'x', status=2).stderr
    patch('x', 64, '>Q', 0)
    run('check', 'x')


@test("'info snapshots' of a machine: those of all disks, and those of some", needs_qemu=True)
def _():
    for name, snapshots in ('a', ['one', 'two']), ('b', ['two']), ('c', []):
        run('create', '-f', 'qcow2', name, '1M', tool=QEMU)
        for s in snapshots:
            run('snapshot', '-c', s, name, tool=QEMU)
    run('create', '-f', 'raw', 'r', '1M')
    every, partial = 'List of snapshots present on all disks:', 'List of partial (non-loadable) ' \
        "snapshots on '%s':"
    none, unable = 'There is no snapshot available.', 'no block device can store vmstate for ' \
        'snapshot'
    for disks, want in (('r', [unable]), ('c', [none]), ('cr', [none]),
                        ('a', [every, '-- one', '-- two']),
                        ('ab', [every, '-- two', partial % 'a', '1 one']),
                        ('ra', [every, 'None', partial % 'a', '1 one', '2 two'])):
        options = [f'-drive=file={d},id={d},if=none,format=' + ('raw' if d == 'r' else 'qcow2')
                   for d in disks]
        p = run('-accel', 'qtest', '-display', 'none', '-nodefaults', '-S', '-monitor', 'stdio',
                *[word for o in options for word in o.split('=', 1)], tool=VMM,
                input='info snapshots\nquit\n')
        lines = p.stdout.replace('\r', '').split('\n')
        lines = lines[lines.index('(qemu) info snapshots') + 1:lines.index('(qemu) quit')]
        found = [x if x.endswith(('.', ':', 'None', 'snapshot')) else ' '.join(x.split()[:2])
                 for x in lines if x and not x.startswith('ID ')]
        assert found == want, (disks, lines)


@test('a new L1 table that is longer than what one refcount block counts', needs_qemu=True)
def _():
    for options, size in (('cluster_size=512', '520M'), ('cluster_size=1k', '9G'),
                          ('cluster_size=512,refcount_bits=64', '8G'),
                          ('cluster_size=4k,refcount_bits=64', '600G')):
        run('create', '-f', 'qcow2', '-o', options, 'x', '65536')
        # Where it does not end the file grows without a limit.
        run('resize', 'x', size, timeout=30,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28)))
        run('check', 'x')
        run('check', 'x', tool=QEMU)
        os.remove('x')


print(f'1..{count}')
sys.exit(1 if failed else 0)
