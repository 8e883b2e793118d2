#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders as FAT disks: what mtools and fsck.fat read there, and what becomes of what a guest
writes. Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import os
import random
import shutil
import struct
import subprocess
import sys

from imgtest import QEMU, VMM, main, run, test

VMM_IO = os.path.abspath(sys.argv.pop())
FSCK = shutil.which('fsck.fat') or '/usr/sbin/fsck.fat'
MTOOLS = {**os.environ, 'MTOOLS_SKIP_CHECK': '1', 'LC_ALL': 'C.UTF-8'}
START = 63 * 512  # of the partition
FAT = START + 512
FAT_SIZE = 252 * 512
ROOT = FAT + 2 * FAT_SIZE
DATA = ROOT + 512 * 32
CLUSTER = 16 * 512


def write(name, data):
    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
    with open(name, 'wb') as f:
        f.write(data)


def tree(top, hidden=True):
    """Every file's content by its path; None for a folder."""
    found = {}
    for folder, dirs, files in os.walk(top):
        for n in dirs:
            found[os.path.relpath(os.path.join(folder, n), top)] = None
        for n in files:
            with open(os.path.join(folder, n), 'rb') as f:
                if hidden or not n.startswith('.vmm-fat-'):
                    found[os.path.relpath(os.path.join(folder, n), top)] = f.read()
    return found


def folder(name='d'):
    """A folder with a bit of everything."""
    rnd = random.Random(1)
    for path, size in (('hello.txt', 5), ('A long name, with spaces.text', 20000), ('UPPER.TXT', 0),
                       ('sub/x', 8192), ('sub/deep/y.tar.gz', 8193), ('.hidden', 1),
                       ('übergrößen-€.dat', 100), ('sub/deep/Mixed.Case', 70000)):
        write(f'{name}/{path}', rnd.randbytes(size))
    os.mkdir(f'{name}/empty')
    return tree(name)


def mtools(command, image, *args, start=START, check=True):
    p = subprocess.run([command, '-i', f'{image}@@{start}', *args], env=MTOOLS, text=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=60)
    assert not check or p.returncode == 0, (command, args, p.stderr)
    return p


def read_all(image, start=START):
    os.makedirs('out')
    mtools('mcopy', image, '-s', '-n', '::/', 'out', start=start)
    found = tree('out')
    shutil.rmtree('out')
    return found


def image_of(name, image='i'):
    run(VMM, ['convert', '-f', 'raw', '-O', 'raw', f'fat:{name}', image], True)


def put_back(image, name='d'):
    return run(VMM, ['convert', '-n', '-f', 'raw', '-O', 'raw', image, f'fat:rw:{name}'], True)


def differences(old, new):
    """(offset, bytes) of what differs, a cluster at most each."""
    parts = []
    with open(old, 'rb') as a, open(new, 'rb') as b:
        for at in range(0, 6 << 20, 512):
            a.seek(at)
            b.seek(at)
            x, y = a.read(512), b.read(512)
            if x == y:
                continue
            if parts and parts[-1][0] + len(parts[-1][1]) == at and len(parts[-1][1]) < CLUSTER:
                parts[-1] = parts[-1][0], parts[-1][1] + y
            else:
                parts.append((at, y))
    return parts


def writes(parts):
    """The same as commands of vmm-io, each with a flush."""
    args = []
    for n, (at, data) in enumerate(parts):
        write(f'part{n}', data)
        args += ['-c', f'write -q -s part{n} {at} {len(data)}', '-c', 'flush']
    return args


class Io:
    """vmm-io on a folder, which is told one command after the other."""
    def __init__(self, name):
        self.p = subprocess.Popen([VMM_IO, '-f', 'raw', f'fat:rw:{name}'], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def do(self, *commands):
        """Returns when all are done."""
        self.p.stdin.write('\n'.join(commands) + '\nlength\n')
        self.p.stdin.flush()
        while '504 MiB' not in (line := self.p.stdout.readline()):
            assert line, self.p.stderr.read()

    def end(self):
        _, err = self.p.communicate('quit\n', timeout=60)
        assert self.p.returncode == 0, err
        return err


@test('what a folder looks like: mtools, fsck.fat, and qemu-img beside it')
def _():
    want = folder()
    for options, size, start in (('', 528482304, START), ('12:', 33030144, START),
                                 ('16:', 528482304, START), ('32:', 528482304, START),
                                 ('floppy:', 2949120, 0), ('12:floppy:', 1474560, 0),
                                 ('floppy:16:', 2949120, 0)):
        run(VMM, ['convert', '-f', 'raw', '-O', 'raw', f'fat:{options}d', 'i'], True)
        assert os.path.getsize('i') == size, options
        assert read_all('i', start) == want, options
        if os.path.exists(FSCK):
            run(VMM, ['convert', '-O', 'raw', '--image-opts',
                      f'driver=raw,offset={start},file.filename=i', 'part'], True)
            p = run(FSCK, ['-n', 'part'])
            assert p.returncode == 0, (options, p.stdout)
        if 'floppy' not in options and '32' not in options:
            run(QEMU, ['convert', '-f', 'raw', '-O', 'raw', f'fat:{options}d', 'q'], True)
            with open('i', 'rb') as a, open('q', 'rb') as b:
                assert a.read(START + 36)[446:] == b.read(START + 36)[446:], options
    p = run(VMM, ['info', '--output=json', 'fat:floppy:d'], True)
    assert '"filename": "fat:floppy:d"' in p.stdout and '"virtual-size": 2949120' in p.stdout, p
    run(VMM, ['convert', '-O', 'raw', 'json:{"driver":"vvfat","dir":"d","label":"a label"}', 'i'], True)
    assert 'a label' in mtools('mdir', 'i').stdout
    run(VMM, ['create', '-q', '-f', 'qcow2', '-b', 'fat:d', '-F', 'raw', 'o'], True)
    run(VMM, ['convert', '-O', 'raw', 'o', 'i'], True)
    assert read_all('i') == want


@test('names: long ones, short aliases that differ, those that FAT cannot have')
def _():
    for n in range(300):
        write(f'd/m/many names that begin alike {n}.text', b'%d' % n)
    for name in ('x' * 255, 'x' * 254 + 'y', 'a.b.c.d', ' leading', '+,;=[].x', 'FOO~1.TXT',
                 'foo bar.txt', 'con', '~1', 'Ａｂ.ｃ'):
        write(f'd/s/{name}', name.encode())
    image_of('d')
    want = tree('d')
    assert read_all('i') == want
    shown = mtools('mdir', 'i', '-b', '-a', '::/m').stdout
    assert shown.count('many names') == 300, shown
    write('d/s/\U0001f600', b'not for mtools')
    image_of('d')
    os.makedirs('copy')
    put_back('i', 'copy')
    assert tree('copy') == tree('d')
    os.makedirs('e/real')
    os.mkfifo('e/pipe')
    os.symlink('/etc/passwd', 'e/out')
    os.symlink('../d', 'e/up')
    os.symlink('real', 'e/folder')
    write('e/real/file', b'data')
    os.symlink('real/file', 'e/inside')
    for name in 'Same', 'same', 'a:b', 'dot.', 'space ', 'back\\slash':
        write(f'e/{name}', b'')
    write(b'e/\xff\xfe'.decode('utf-8', 'surrogateescape'), b'')
    p = run(VMM, ['convert', '-f', 'raw', '-O', 'raw', 'fat:e', 'i'], True)
    for text in ("'pipe' is left out: it is neither", "'out' is left out: the link leads out of",
                 "'up' is left out: the link leads out of", "'folder' is left out: it is a link to a",
                 "'same' is left out: another name differs", "'a:b' is left out: its name has a",
                 "'dot.' is left out", "'space ' is left out", 'is left out: its name is not UTF-8'):
        assert f'fat:e: {text}' in p.stderr or text in p.stderr, (text, p.stderr)
    assert read_all('i') == {'real': None, 'real/file': b'data', 'inside': b'data', 'Same': b''}
    mtools('mmove', 'i', '::/inside', '::/real')
    put_back('i', 'e')
    assert os.path.isfile('e/real/INSIDE') and not os.path.islink('e/real/INSIDE')
    with open('e/real/INSIDE', 'rb') as f:
        assert f.read() == b'data' and not os.path.lexists('e/inside')


@test('what is refused, and how')
def _():
    write('d/a', b'a')
    for n in range(200):
        write(f'many/a long name for a file {n}', b'')
    write('big/f', b'')
    os.truncate('big/f', 600 << 20)
    write('huge/f', b'')
    os.truncate('huge/f', 1 << 32)
    for name, text in (('fat:none', 'Could not read directory none: No such file'),
                       ('fat:', "names no folder: fat:[12:"), ('fat:rw:', "names no folder: fat:[12:"),
                       ('fat:many', 'Too many entries in root directory'),
                       ('fat:big', "Directory does not fit in FAT16 (capacity"),
                       ('fat:huge', "'f' is too large for FAT"),
                       ('fat:floppy:32:d', 'a floppy is too small for FAT32'),
                       ('fat:rw:d', "Unable to set VVFAT to 'rw' when drive is read-only"),
                       ('json:{"driver":"vvfat","dir":"d","fat-type":13}',
                        'Valid FAT types are only 12, 16 and 32'),
                       ('json:{"driver":"vvfat","dir":"d","label":"123456789012"}',
                        'vvfat label cannot be longer than 11 bytes'),
                       ('json:{"driver":"vvfat"}', "'dir'")):
        form = [] if name.startswith('json') else ['-f', 'raw']
        p = run(VMM, ['convert', *form, '-O', 'raw', name, 'o'])
        assert p.returncode == 1 and text in p.stderr, (name, p.stderr)
    p = run(VMM_IO, ['-f', 'raw', '-c', 'write 0 512', 'fat:d'])
    assert p.returncode == 1 and 'Block node is read-only' in p.stderr, p
    io = Io('d')
    io.do()
    for name in 'fat:d', 'fat:rw:d':
        p = run(VMM_IO, ['-f', 'raw', '-c', 'quit', *(['-r'] if 'rw' not in name else []), name])
        assert p.returncode == 1 and 'lock\nIs another process using the folder [d]?' in p.stderr, p
    run(VMM, ['info', '-U', 'fat:d'], True)
    io.end()
    assert tree('d') == {'a': b'a'}


@test('what a guest has done becomes of the folder: new, changed, renamed, moved, deleted')
def _():
    rnd = random.Random(2)
    want = folder()
    inode = os.stat('d/sub/deep/Mixed.Case').st_ino
    kept = os.stat('d/sub/x').st_ino, os.stat('d/sub/x').st_mtime_ns
    os.chmod('d/hello.txt', 0o640)
    os.symlink('/etc/passwd', 'd/sub/deep/link')
    image_of('d')
    new = rnd.randbytes(100000)
    write('new', new)
    write('changed', b'changed')
    mtools('mmd', 'i', '::/MADE', '::/MADE/Inner Folder')
    mtools('mcopy', 'i', 'new', '::/MADE/Inner Folder/a new file.bin')
    mtools('mcopy', 'i', '-o', 'changed', '::/hello.txt')
    mtools('mdel', 'i', '::/A long name, with spaces.text')
    mtools('mren', 'i', '::/.hidden', '::/now seen')
    mtools('mmove', 'i', '::/sub/deep', '::/MADE')
    mtools('mrd', 'i', '::/empty')
    put_back('i')
    want['hello.txt'] = b'changed'
    want['MADE'] = want['MADE/Inner Folder'] = None
    want['MADE/Inner Folder/a new file.bin'] = new
    del want['A long name, with spaces.text'], want['empty']
    want['now seen'] = want.pop('.hidden')
    for path in 'sub/deep', 'sub/deep/y.tar.gz', 'sub/deep/Mixed.Case':  # mtools likes capitals
        want[path.replace('sub/deep', 'MADE/DEEP')] = want.pop(path)
    os.remove('d/MADE/DEEP/link')  # it moved with its folder, though the guest does not see it
    assert tree('d') == want, (sorted(tree('d')), sorted(want))
    assert os.stat('d/MADE/DEEP/Mixed.Case').st_ino == inode
    assert (os.stat('d/sub/x').st_ino, os.stat('d/sub/x').st_mtime_ns) == kept
    assert os.stat('d/hello.txt').st_mode & 0o777 == 0o640
    image_of('d')
    assert read_all('i') == want
    mtools('mdeltree', 'i', '::/MADE', '::/sub')
    mtools('mdel', 'i', '::/*')
    put_back('i')
    assert tree('d') == {}


@test('files that change places; the same on FAT12, FAT32 and a floppy')
def _():
    for options, start in ('', START), ('32:', START), ('12:', START), ('floppy:', 0):
        for n in 'ABC':
            write(f'd/{n}', n.encode() * 30000)
        os.makedirs('d/F')
        run(VMM, ['convert', '-f', 'raw', '-O', 'raw', f'fat:{options}d', 'i'], True)
        for old, new in (('A', 'T'), ('B', 'A'), ('T', 'B'), ('F', 'T'), ('C', 'F'), ('T', 'C')):
            mtools('mren', 'i', f'::/{old}', f'::/{new}', start=start)
        mtools('mmd', 'i', '::/C/G', start=start)
        run(VMM, ['convert', '-n', '-f', 'raw', '-O', 'raw', 'i', f'fat:{options}rw:d'], True)
        assert tree('d') == {'A': b'B' * 30000, 'B': b'A' * 30000, 'F': b'C' * 30000, 'C': None,
                             'C/G': None}, (options, sorted(tree('d')))
        shutil.rmtree('d')


def patch(image, at, data):
    with open(image, 'r+b') as f:
        f.seek(at)
        f.write(data)


def set_fat(image, cluster, value, copies=2):
    for n in range(copies):
        patch(image, FAT + n * FAT_SIZE + cluster * 2, struct.pack('<H', value))


def find(image, short, at=ROOT, size=512 * 32):
    """Where the entry of this short name is, and its first cluster."""
    with open(image, 'rb') as f:
        f.seek(at)
        data = f.read(size)
    for n in range(0, size, 32):
        if data[n:n + 11] == short and data[n + 11] != 15:
            return at + n, struct.unpack_from('<H', data, n + 26)[0]
    raise AssertionError(short)


def replace(_, image):
    """What Linux does where T.TMP is renamed to A.BIN, which is there."""
    there, old = find(image, b'A       BIN')
    here, _ = find(image, b'T       TMP')
    with open(image, 'rb') as f:
        f.seek(here + 26)
        data = f.read(6)
        f.seek(FAT)
        fat = struct.unpack('<256H', f.read(512))
    patch(image, there + 26, data)
    patch(image, here, b'\xe5')
    while old < 0xfff8:
        set_fat(image, old, 0)
        old = fat[old]


def change():
    """A folder, and a guest's changes of its image: old and new content, and what each change
    writes."""
    rnd = random.Random(3)
    for n in 'ABC':
        write(f'd/{n}.BIN', rnd.randbytes(20000))
    write('d/s/E.BIN', rnd.randbytes(9000))
    old = tree('d')
    image_of('d')
    longer, shorter = rnd.randbytes(30000), rnd.randbytes(3000)
    write('longer', longer)
    write('shorter', shorter)
    steps = []
    for command, *args in (('mcopy', 'longer', '::/T.TMP'), (replace,), ('mdel', '::/B.BIN'),
                           ('mcopy', 'shorter', '::/NEW.BIN'), ('mmove', '::/C.BIN', '::/s/')):
        run('cp', ['--sparse=always', 'i', 'before'], True)
        (command if callable(command) else mtools)(command, 'i', *args)
        steps.append(differences('before', 'i'))
    new = dict(old)
    new.update({'A.BIN': longer, 'NEW.BIN': shorter, 's/C.BIN': new.pop('C.BIN')})
    del new['B.BIN']
    return old, new, steps


def is_metadata(part):
    return part[0] < DATA or part[1][:1] == b'.'


def check_whole(now, old, new):
    """Each file is as it was or as it is to be; one that both have is there."""
    for path in now.keys() - {'T.TMP'}:
        assert now[path] in (old.get(path, 0), new.get(path, 0)), path
    for path in old.keys() & new.keys():
        assert path in now, path
    assert now.get('T.TMP', new['A.BIN']) == new['A.BIN']
    assert 'C.BIN' in now or 's/C.BIN' in now


@test('whatever a guest has written when it stops, each file is old or new')
def _():
    old, new, steps = change()
    for seed in range(6):
        # Of each change the data comes first, then the rest in any order.
        rnd = random.Random(seed)
        parts = []
        for step in steps:
            parts += sorted(rnd.sample(step, len(step)), key=is_metadata)
        shutil.rmtree('d')
        for path, data in old.items():
            os.makedirs('d/s', exist_ok=True)
            if data is not None:
                write(f'd/{path}', data)
        commands = writes(parts)[1::2]
        io = Io('d')
        for n in range(0, len(commands), 2):
            io.do(*commands[n:n + 2])
            check_whole(tree('d'), old, new)
        io.end()
        assert tree('d') == new, (seed, sorted(tree('d')))


class InPlace:
    """A folder, new content of its file OLD.BIN in two halves, and words for what a guest does: it
    writes them, and entries of directories. The entry of the file 'beside' is in the same sector as
    that of OLD.BIN, the entry of 'other' is in another one."""
    def __init__(self):
        rnd = random.Random(5)
        write('d/OLD.BIN', rnd.randbytes(4 * CLUSTER))
        for n in range(40):
            write(f'd/N{n}.BIN', rnd.randbytes(CLUSTER))
        self.old = tree('d')
        image_of('d')
        self.entry, first = find('i', b'OLD     BIN')
        places = {n: find('i', f'N{n}'.ljust(8).encode() + b'BIN') for n in range(40)}
        self.beside = next(at for at, _ in places.values() if at // 512 == self.entry // 512)
        self.other, self.other_entry = next((f'N{n}.BIN', at) for n, (at, _) in places.items()
                                            if at // 512 != self.entry // 512)
        self.new = rnd.randbytes(4 * CLUSTER)
        at = DATA + (first - 2) * CLUSTER
        boot, table = self.sector(START), self.sector(FAT)
        self.parts = {
            'half1': (at, self.new[:2 * CLUSTER]), 'half2': (at + 2 * CLUSTER, self.new[2 * CLUSTER:]),
            'clean': (START, boot),
            'used': (START, boot[:37] + bytes([boot[37] | 1]) + boot[38:]),  # by Linux
            'table': (FAT, table[:3] + bytes([table[3] & 0x7f]) + table[4:]),  # by Windows
            'idle': (FAT, table),
        }

    @staticmethod
    def sector(at):
        with open('i', 'rb') as f:
            f.seek(at // 512 * 512)
            return f.read(512)

    def touch(self, entry):
        """The sector with this entry, which has a later time."""
        with open('i', 'rb') as f:
            f.seek(entry + 22)
            time, = struct.unpack('<H', f.read(2))
        patch('i', entry + 22, struct.pack('<H', time ^ 1))
        return entry // 512 * 512, self.sector(entry)

    def rename(self):
        patch('i', self.other_entry, b'M')
        return self.other_entry // 512 * 512, self.sector(self.other_entry)

    def command(self, word):
        if word == 'flush':
            return word
        at, data = {'entry': lambda: self.touch(self.entry), 'beside': lambda: self.touch(self.beside),
                    'rename': self.rename}.get(word, lambda: self.parts[word])()
        write(word, data)
        return f'write -q -s {word} {at} {len(data)}'

    def run(self, io, what):
        """Word by word. Whatever the guest has written, the file is old or new, and stays new."""
        was_new = False
        for word in what.split():
            io.do(self.command(word))
            now = tree('d')['OLD.BIN']
            assert now in (self.old['OLD.BIN'], self.new), f'{what}: a mixture after {word}'
            assert now == self.new or not was_new, what
            was_new = now == self.new
        return was_new


# What the guest does, up to its end, and whether the file is new then; else the user is told.
IN_PLACE = [
    ('used half1 flush', False),
    ('used half1 flush rename flush', False),
    # The entry's sector is written for another file's sake, or for that of the half that is there.
    ('used half1 flush beside flush', False),
    ('used half1 entry flush', False),
    ('used half1 flush entry flush beside flush', False),
    ('used half1 entry flush beside half2 beside flush entry flush', False),
    ('table half1 flush', False),
    ('table half1 entry flush beside flush', False),
    ('used half1 half2 entry flush', False),
    # Unmounted: nothing more comes.
    ('used half1 flush half2 flush entry flush clean', True),
    ('used half1 flush half2 flush clean flush', True),
    ('used half1 flush half2 flush clean', True),
    # Windows says so, too, when nothing was written for a while: the entry tells whether that is all.
    ('table half1 half2 entry flush idle flush', True),
    ('table half1 flush half2 flush entry idle', True),
    ('table half1 flush idle flush', False),
    ('table entry flush half1 flush idle flush', False),
    ('table half1 flush beside flush idle flush', False),
    # A system that never says that it uses a file system writes the entry with the last data.
    ('half1 flush half2 entry flush', True),
    ('half1 half2 flush entry', True),
    ('half1 flush entry half2 flush', True),  # what is between two flushes has no order
    ('half1 flush', False),
    ('half1 flush half2 flush', False),
    ('half1 flush beside flush', False),
    ('half1', False),
    ('entry flush half1', False),
    # A program that writes a whole image.
    ('clean half1 half2', True),
]


@test('a file that is overwritten in place is old until nothing more of it can come')
def _():
    for what, is_new in IN_PLACE:
        guest = InPlace()
        io = Io('d')
        guest.run(io, what)
        err = io.end()
        want = {**guest.old, **({'OLD.BIN': guest.new} if is_new else {})}
        if 'rename' in what:
            want[f'M{guest.other[1:]}'] = want.pop(guest.other)
        assert tree('d') == want, (what, err)
        assert ("'OLD.BIN' stays as it is" in err) != is_new, (what, err)
        assert is_new or 'it is changed where it had content' in err or \
            'its data is newer than its directory entry' in err, (what, err)
        shutil.rmtree('d')


@test('a file that waits for the end of changes holds up no other, and is no reason to warn')
def _():
    guest = InPlace()
    io = Io('d')
    assert not guest.run(io, 'used' + ' half1 flush entry flush' * 4)
    guest.run(io, 'rename flush')
    assert f'M{guest.other[1:]}' in tree('d') and guest.other not in tree('d')
    assert guest.run(io, 'half2 flush flush entry clean flush')
    err = io.end()
    assert 'stays' not in err, err


@test('killed at any call that changes the folder, each file is old or new')
def _():
    if not shutil.which('strace') or run('strace', ['-f', 'true']).returncode:
        return 'strace cannot trace here'
    old, new, steps = change()
    args = [a for c in writes(sum(steps, [])) if c.startswith('write') for a in ('-c', c)]
    calls = 0
    # LeakSanitizer cannot work in a program that is traced.
    env = {**os.environ, 'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'}
    for call in 'renameat2', 'renameat', 'unlinkat', 'fsync':
        for when in range(1, 100):
            shutil.rmtree('d')
            os.makedirs('d/s')
            for path, data in old.items():
                if data is not None:
                    write(f'd/{path}', data)
            p = run('strace', ['-f', '-qq', '-o', '/dev/null', '-e', f'trace={call}', '-e',
                               f'inject={call}:signal=KILL:when={when}', VMM_IO, '-f', 'raw', *args,
                               'fat:rw:d'], env=env)
            check_whole(tree('d', False), old, new)
            if p.returncode != -9:
                assert p.returncode == 0, p
                break
            calls += 1
            # What was left is cleared away, and nothing of it is seen.
            run(VMM_IO, ['-f', 'raw', '-c', 'quit', 'fat:rw:d'], True)
            assert tree('d') == tree('d', False)
        assert tree('d') == new, call
    assert calls > 6, calls  # of one thread: which of the pool's commits is not always the same


def break_loop(image):
    _, first = find(image, b'BAD     BIN')
    set_fat(image, first + 1, first)


def break_short(image):
    _, first = find(image, b'BAD     BIN')
    set_fat(image, first, 0xffff)


def break_cross(image):
    _, first = find(image, b'BAD     BIN')
    _, other = find(image, b'OTHER   BIN')
    set_fat(image, first, other)


def break_end(image):
    _, first = find(image, b'BAD     BIN')
    set_fat(image, first, 0xfff7)


def break_copies(image):
    _, first = find(image, b'BAD     BIN')
    set_fat(image, first, 0xffff, 1)


def break_size(image):
    at, _ = find(image, b'BAD     BIN')
    patch(image, at + 28, struct.pack('<I', 0xffffffff))


def break_lost(image):
    at, _ = find(image, b'BAD     BIN')
    patch(image, at, b'\xe5')


def break_start(image):
    at, _ = find(image, b'BAD     BIN')
    patch(image, at + 26, struct.pack('<H', 0xfffe))


@test('files on which the disk does not agree stay as they are, and the others go on')
def _():
    for hurt in (break_loop, break_short, break_cross, break_end, break_copies, break_size,
                 break_lost, break_start):
        for name in 'BAD.BIN', 'OTHER.BIN', 'GOOD.BIN':
            write(f'd/{name}', name.encode() * 4000)
        old = tree('d')
        image_of('d')
        write('x', b'new' * 5000)
        mtools('mcopy', 'i', '-o', 'x', '::/GOOD.BIN')
        for name in 'BAD.BIN', 'OTHER.BIN':
            at, first = find('i', name.split('.')[0].encode().ljust(8) + b'BIN')
            patch('i', DATA + (first - 2) * CLUSTER, b'guest')
        hurt('i')
        p = put_back('i')
        now = tree('d')
        assert now['BAD.BIN'] == old['BAD.BIN'], hurt.__name__
        assert now['GOOD.BIN'] == b'new' * 5000, hurt.__name__
        assert now['OTHER.BIN'][:5] == (b'OTHER' if hurt is break_cross else b'guest'), hurt.__name__
        assert "'BAD.BIN' stays as it is on the host: " in p.stderr, (hurt.__name__, p.stderr)
        assert p.stderr.count('BAD.BIN') == 1 and len(now) == 3, (hurt.__name__, p.stderr)


@test('names and directories that lead elsewhere are not followed')
def _():
    write('d/s/f', b'f')
    write('d/keep', b'keep')
    write('outside', b'outside')
    long_names = ['../outside', '..', '.', 'a/b', '/etc/x', 'tab\t', '.vmm-fat-0-1.tmp', '']
    image_of('d')
    entries = b''
    for n, name in enumerate(long_names):
        short = b'EVIL%02d  TXT' % n
        total = 0
        for c in short:
            total = ((total >> 1) | (total << 7 & 0xff)) + c & 0xff
        units = (name.encode('utf-16-le') + b'\0\0').ljust(26, b'\xff')
        entries += (b'\x41' + units[:10] + b'\x0f\0' + bytes([total]) + units[10:22] + b'\0\0' +
                    units[22:26])
        entries += short + b'\x20' + bytes(20)
    entries += b'..         \x20' + bytes(20) + b'A/B     TXT\x20' + bytes(20)
    # A directory that is the one above, and one that is its own child.
    _, first = find('i', b'S          ')
    patch('i', ROOT + 100 * 32, b'')
    with open('i', 'rb') as f:
        f.seek(ROOT)
        used = f.read(512 * 32).rstrip(b'\0')
    used += bytes(-len(used) % 32)
    loop = b'LOOP       \x10' + bytes(14) + struct.pack('<HI', first, 0)
    patch('i', ROOT + len(used), entries + loop)
    with open('i', 'rb') as f:
        f.seek(DATA + (first - 2) * CLUSTER)
        used = f.read(CLUSTER).rstrip(b'\0')
    used += bytes(-len(used) % 32)
    patch('i', DATA + (first - 2) * CLUSTER + len(used), loop)
    p = put_back('i')
    assert tree('d') == {'s': None, 's/f': b'f', 'keep': b'keep'}, (sorted(tree('d')), p.stderr)
    assert set(os.listdir('.')) == {'d', 'i', 'outside'} and os.path.getsize('outside') == 7
    assert 'stays as it is' in p.stderr, p.stderr


@test('links that come meanwhile, and files that others change')
def _():
    write('d/s/f', b'f' * 20000)
    write('d/g', b'g' * 20000)
    write('outside/f', b'outside')
    image_of('d', 'old')
    run('cp', ['--sparse=always', 'old', 'i'], True)
    write('x', b'x' * 20000)
    mtools('mcopy', 'i', '-o', 'x', '::/s/f')
    mtools('mcopy', 'i', 'x', '::/s/NEW')
    mtools('mcopy', 'i', '-o', 'x', '::/g')
    mtools('mcopy', 'i', 'x', '::/H')
    commands = writes(differences('old', 'i'))[1::2]
    io = Io('d')
    io.do()
    os.rename('d/s', 'd/was')
    os.symlink('../outside', 'd/s')
    write('d/g', b'by the host')
    write('d/H', b'by the host, too')
    io.do(*[c for c in commands if c != 'flush'])
    p, err = io.p, io.end()
    assert p.returncode == 0
    assert tree('outside') == {'f': b'outside'}
    assert os.readlink('d/s') == '../outside'
    now = tree('d')
    assert now['g'] == b'by the host' and now['H'] == b'by the host, too', now.keys()
    assert now['was/f'] == b'f' * 20000 and not [n for n in now if '.vmm-fat' in n], now.keys()
    for path in 's/f', 'g', 'H':
        assert f"'{path}' stays as it is on the host" in err, (path, err)


@test('another file system on the disk: nothing is written back')
def _():
    old = folder()
    image_of('d')
    mtools('mformat', 'i', '-t', '100', '-h', '16', '-s', '63', '-c', '4', '-H', '63', check=False)
    p = put_back('i')
    assert tree('d') == old
    assert 'fat:d: nothing is written to the host: the guest has made another file' in p.stderr, p


if not shutil.which('mcopy'):
    print('1..0 # SKIP mcopy is not installed (package mtools)')
    sys.exit(0)
main()
