#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-nbd: beside qemu-nbd, read and written by clients of other people's, and by one that breaks
the rules. Called with the paths of vmm-img and vmm-nbd; TAP on stdout."""
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys

import nbdtest as nbd
from imgtest import QEMU, data_file, main, run, test
from nbdtest import Client, random_commands, serve, uri

VMM_NBD = os.path.abspath(sys.argv.pop())
QEMU_NBD = nbd.QEMU_NBD
QEMU_IO = shutil.which('qemu-io')
NBDINFO = shutil.which('nbdinfo')
NBDCOPY = shutil.which('nbdcopy')
MIB = 1 << 20


def chain():
    """'top' over 'base': data, zeroes and holes in both."""
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'base', '8M'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 1 1M 1M', '-c', 'write -P 2 5M 64k',
                  '-c', 'write -z 6M 1M', 'base'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'top'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 3 1536k 1M', '-c', 'write -z 1M 128k', 'top'],
        True)


def holes():
    """'holes': of its clusters, which all are there, the file has few, and not all of those."""
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'holes', '8M'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 1 1M 1M', '-c', 'write -P 2 5M 4k', 'holes'], True)


def raw(size=MIB, name='r'):
    with open(name, 'wb') as file:
        file.write(bytes(range(256)) * (size // 256))


def info(*args):
    found = run(NBDINFO, [*args, uri('x')])
    return found.returncode, found.stdout


SERVED = [  # options, image
    (['-f', 'qcow2'], 'top'),
    (['-f', 'qcow2', '-r', '-A'], 'top'),
    (['-f', 'raw', '-r', '-e', '2', '-D', 'some text'], 'odd'),
    (['-f', 'raw', '-o', '1024'], 'even'),
    (['--image-opts', '-A'], 'driver=qcow2,file.driver=file,file.filename=top'),
    (['-f', 'qcow2', '-A'], 'holes'),
    (['-f', 'qcow2', '-r'], 'holes'),
]


@test('nbdinfo finds the same at both servers: sizes, flags, contexts, maps')
def _():
    if not NBDINFO:
        return 'nbdinfo is not installed (package libnbd-bin)'
    chain()
    holes()
    data_file('even', 2 * MIB)
    data_file('odd', 3 * MIB)
    with open('odd', 'ab') as file:
        file.write(b'x' * 700)
    for options, image in SERVED:
        seen = []
        for tool in QEMU_NBD, VMM_NBD:
            with serve(tool, '-t', '-x', 'x', *options, image):
                seen.append([info('--json'), info('--list'), info('--map'), info('--json', '--map'),
                             info('--map=qemu:allocation-depth'), info('--size'),
                             run(NBDINFO, ['--json', uri('nobody')]).returncode,
                             run(QEMU_NBD, ['-L', '-k', os.path.abspath('sock')]).stdout])
        for theirs, ours in zip(*seen):
            assert theirs == ours, f'{options}:\n{theirs}\n--- vs\n{ours}'


@test('nbdcopy and qemu-img copy out and in')
def _():
    if not NBDCOPY:
        return 'nbdcopy is not installed (package libnbd-bin)'
    chain()
    run(QEMU, ['convert', '-O', 'raw', 'top', 'want'], True)
    with serve(VMM_NBD, '-t', '-r', '-f', 'qcow2', 'top'):
        run(NBDCOPY, [uri(), 'out'], True)
        run(QEMU, ['convert', '-f', 'raw', '-O', 'raw', uri(), 'out2'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'new', '8M'], True)
    with serve(VMM_NBD, '-t', '-f', 'qcow2', '-e', '8', 'new'):
        run(NBDCOPY, ['--flush', 'want', uri()], True)
    for name, fmt in ('out', 'raw'), ('out2', 'raw'), ('new', 'qcow2'):
        run(QEMU, ['compare', '-f', 'raw', '-F', fmt, 'want', name], True)
    run(QEMU, ['check', '-q', 'new'], True)


@test("random requests of qemu-io's client give what a model says")
def _():
    rnd = random.Random(5)
    for fmt, options in (('qcow2', []), ('raw', ['--cache=writethrough']), ('raw', ['-n'])):
        commands, model = random_commands(rnd, 2 * MIB, 150)
        run(QEMU, ['create', '-q', '-f', fmt, 'disk', '2M'], True)
        with serve(VMM_NBD, '-t', '-f', fmt, *options, 'disk'):
            done = run(QEMU_IO, ['-f', 'raw', uri()],
                       input=''.join(line + '\n' for line in commands))
            assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout + done.stderr
        run(QEMU, ['convert', '-f', fmt, '-O', 'raw', 'disk', 'flat'], True)
        with open('flat', 'rb') as file:
            assert file.read() == model, f'{fmt} {options}'
        os.unlink('disk')


@test('the handshake: what is refused, and how')
def _():
    raw()
    with serve(VMM_NBD, '-t', '-e', '0', '-x', 'disk', '-D', 'about it', '-f', 'raw', 'r'):
        with Client() as c:
            assert c.option(nbd.LIST) == [
                (nbd.REP_SERVER, nbd.string('disk') + b'about it'), (nbd.REP_ACK, b'')]
            assert c.option(nbd.LIST, b'x')[0][0] == nbd.ERR_INVALID
            assert c.option(nbd.STARTTLS)[0][0] == nbd.ERR_POLICY
            assert c.option(77, b'data')[0][0] == nbd.ERR_UNSUP
            assert c.go('other')[0][0] == nbd.ERR_UNKNOWN
            assert c.go(b'\xff')[0][0] == nbd.ERR_INVALID
            assert c.go('n' * 5000)[0][0] == nbd.ERR_TOO_BIG
            assert c.option(nbd.GO, b'\0\0\0\4disk')[0][0] == nbd.ERR_INVALID
            assert c.option(nbd.GO, b'\0\0\0\4disk\0\5')[0][0] == nbd.ERR_INVALID
            assert c.option(nbd.GO, b'\xff\xff\xff\xff')[0][0] == nbd.ERR_INVALID
            assert c.option(nbd.GO, bytes(1100000))[0][0] == nbd.ERR_TOO_BIG
            assert c.meta(nbd.LIST_META, 'disk')[0][0] == nbd.ERR_INVALID  # not structured
            c.with_structured()
            assert c.option(nbd.STRUCTURED)[0][0] == nbd.ERR_INVALID
            assert c.meta(nbd.LIST_META, 'disk') == [
                (nbd.REP_META, b'\0\0\0\0base:allocation'), (nbd.REP_ACK, b'')]
            assert c.meta(nbd.LIST_META, 'disk', 'qemu:') == [(nbd.REP_ACK, b'')]
            assert c.meta(nbd.SET_META, 'disk', 'base:') == [(nbd.REP_ACK, b'')]
            assert c.meta(nbd.SET_META, 'nobody', 'base:')[0][0] == nbd.ERR_UNKNOWN
            assert c.option(nbd.ABORT) == [(nbd.REP_ACK, b'')]
            assert c.is_closed()
        for flags in 4, 0xffffffff:
            with Client(flags=flags) as c:
                assert c.is_closed(), 'unknown flags of the client'
        for wrong in (b'IHAVEOPS' + bytes(8), b'IHAVEOPT' + struct.pack('>II', 1, 5) + b'other',
                      b'IHAVEOPT' + struct.pack('>II', nbd.GO, 0xffffffff)):
            with Client() as c:
                c.send(wrong)
                assert c.is_closed(), wrong
        with Client(flags=1) as c:  # the old way, with its zeroes
            c.send(b'IHAVEOPT' + struct.pack('>II', nbd.EXPORT_NAME, 4) + b'disk')
            assert struct.unpack('>Q', c.receive(134)[:8]) == (MIB,)
            assert c.read(256, 512) == bytes(range(256)) * 2


@test('contexts are of the export for which they were chosen')
def _():
    raw()
    with serve(VMM_NBD, '-t', '-e', '0', '-f', 'raw', 'r'):
        with Client().with_structured() as c:
            c.ready()
            c.request(nbd.STATUS, 0, 4096)
            assert c.chunks()[0][0] == 0x8001
        with Client().with_structured() as c:
            assert len(c.meta(nbd.SET_META, '', 'base:allocation')) == 2
            c.ready()
            c.request(nbd.STATUS, 0, MIB)
            (kind, body), = c.chunks()
            assert kind == 5 and struct.unpack('>III', body) == (0, MIB, 0), (kind, body)
            for at, length in (0, 0), (MIB, 1), (0, MIB + 1), (1 << 63, 1):
                c.request(nbd.STATUS, at, length)
                assert c.chunks()[0][0] == 0x8001, (at, length)


@test('requests that are wrong get errors, and the connection goes on')
def _():
    raw()
    with serve(VMM_NBD, '-t', '-e', '0', '-f', 'raw', 'r'):
        with Client().ready() as c:
            for kind, at, length, flags, want in (
                    (nbd.READ, MIB, 1, 0, nbd.EINVAL), (nbd.READ, 1 << 63, 512, 0, nbd.EINVAL),
                    (nbd.READ, 0, 0xffffffff, 0, nbd.EINVAL), (nbd.READ, 0, 512, 4, nbd.EINVAL),
                    (nbd.READ, 0, 512, 0x80, nbd.EINVAL), (99, 0, 0, 0, nbd.EINVAL),
                    (0xffff, 0, 0, 0, nbd.EINVAL), (nbd.STATUS, 0, 512, 0, nbd.EINVAL),
                    (nbd.TRIM, MIB - 1, 2, 0, nbd.ENOSPC), (nbd.ZEROES, MIB, 1, 0, nbd.ENOSPC),
                    (nbd.ZEROES, (1 << 64) - 1, 2, 0, nbd.ENOSPC),
                    (nbd.TRIM, 0, 512, 2, nbd.EINVAL), (nbd.READ, MIB, 0, 0, 0),
                    (nbd.FLUSH, 0, 0, 1, 0), (nbd.CACHE, 0, MIB, 0, 0)):
                got = c.do(kind, at, length, flags)
                assert got == want, (kind, at, length, flags, got)
            assert c.do(nbd.WRITE, MIB - 1, 2, 0, b'xy') == nbd.ENOSPC
            assert c.do(nbd.WRITE, 0, 2, 1, b'xy') == 0
            assert c.read(0, 4) == b'xy\2\3'
        with Client().ready() as c:
            c.request(nbd.WRITE, 0, 33 * MIB)
            assert c.is_closed()
        with Client().ready() as c:
            c.send(b'x' * 28)
            assert c.is_closed()
        with Client().ready() as c:
            c.request(nbd.WRITE, 0, 4096, data=b'half')
        with Client().ready() as c:
            c.request(nbd.DISC)
            assert c.is_closed()
            with open('r', 'rb') as file:
                assert file.read(4) == b'xy\2\3'
    with serve(VMM_NBD, '-t', '-r', '-f', 'raw', 'r'):
        with Client().ready() as c:
            for kind in nbd.WRITE, nbd.ZEROES, nbd.TRIM:
                assert c.do(kind, 0, 1, 0, b'x' if kind == nbd.WRITE else b'') == nbd.EPERM
            assert c.read(0, 2) == b'xy'


@test('structured reads: holes, one piece where that is asked for')
def _():
    with open('r', 'wb') as file:
        file.truncate(4 * MIB)
        file.seek(MIB)
        file.write(b'd' * 65536)
    with serve(VMM_NBD, '-t', '-e', '0', '-f', 'raw', 'r'), open('r', 'rb') as file:
        want = file.read()
        with Client().with_structured().ready() as c:
            c.request(nbd.READ, 0, 4 * MIB)
            kinds = [kind for kind, _ in c.chunks()]
            assert kinds == [2, 1, 2], kinds
            c.request(nbd.READ, 0, 4 * MIB, 4)
            assert [kind for kind, _ in c.chunks()] == [1]
            c.request(nbd.READ, 0, 0)
            assert c.chunks() == [(0, b'')]
            c.request(nbd.READ, 4 * MIB, 1)
            (kind, body), = c.chunks()
            assert kind == 0x8001 and struct.unpack('>IH', body) == (nbd.EINVAL, 0)
            for at, length in (0, 4 * MIB), (MIB - 5, 100000), (7, 3):
                assert c.read(at, length) == want[at:at + length]


@test('zeroes and trim: holes where that is allowed, and only then')
def _():
    raw(4 * MIB)
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r'):
        with Client().ready() as c:
            before = os.stat('r').st_blocks
            assert c.do(nbd.ZEROES, 0, MIB, 2 | 1) == 0  # no hole
            assert os.stat('r').st_blocks == before
            assert c.do(nbd.ZEROES, MIB, MIB, 0) == 0
            assert c.do(nbd.ZEROES, 2 * MIB + 1, 100, 0) == 0
            assert c.do(nbd.TRIM, 3 * MIB, MIB, 1) == 0
            fast = c.do(nbd.ZEROES, 2 * MIB, 4096, 16)
            assert fast in (0, nbd.ENOTSUP), fast
            assert c.read(0, 2 * MIB) == bytes(2 * MIB)
            assert c.read(2 * MIB + 1, 100) == bytes(100)
            assert os.stat('r').st_blocks <= before - 2 * MIB // 512


@test('many requests at a time, whose replies the client leaves lying for a while')
def _():
    raw(8 * MIB)
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r') as server, open('r', 'rb') as file:
        want = file.read()
        with Client().ready() as c:
            rnd = random.Random(1)
            places = [rnd.randrange(8 * MIB - 65536) for _ in range(400)]
            wait = [(cookie, at) for cookie, at in enumerate(places)]
            for cookie, at in wait[:60]:
                c.request(nbd.READ, at, 65536, cookie=cookie)
            left = dict(wait)
            index = 60
            while left:
                error, cookie, data = c.simple(65536)
                at = left.pop(cookie)
                assert error == 0 and data == want[at:at + 65536]
                if index < len(wait):
                    c.request(nbd.READ, wait[index][1], 65536, cookie=wait[index][0])
                    index += 1
        # Requests without end, and nobody who reads: memory stays within what is said.
        with Client().ready() as c:
            c.sock.setblocking(False)
            try:
                while True:
                    c.request(nbd.READ, 0, 8 * MIB)
            except (BlockingIOError, socket.timeout):
                pass
            with open(f'/proc/{server.pid}/status', encoding='ascii') as status:
                peak = int(re.search(r'VmHWM:\s+(\d+) kB', status.read())[1])
            assert peak < 100 * 1024, f'{peak} KiB'


@test('-e limits the clients; the next one is served when one has gone')
def _():
    raw()
    with serve(VMM_NBD, '-t', '-e', '2', '-f', 'raw', 'r'):
        first, second = Client(), Client().ready()
        third = socket.socket(socket.AF_UNIX)
        third.connect('sock')
        assert not select.select([third], [], [], 0.2)[0]
        first.sock.close()
        third.settimeout(nbd.PATIENCE)
        assert third.recv(8) == b'NBDMAGIC'
        assert second.read(0, 2) == b'\0\1'
        third.close()
        second.sock.close()


@test('without -t the server ends with the last client that it has served')
def _():
    raw()
    with serve(VMM_NBD, '-e', '0', '-f', 'raw', 'r') as server:
        with Client() as c:
            c.option(nbd.ABORT)
        one, two = Client().ready(), Client().ready()
        one.sock.close()
        assert two.read(0, 1) == b'\0'
        two.sock.close()
        assert server.wait(nbd.PATIENCE) == 0
    assert not os.path.exists('sock')


@test('a thousand connections')
def _():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1500:
        return f'only {hard} descriptors are allowed'
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    raw()
    with serve(VMM_NBD, '-t', '-e', '0', '-f', 'raw', 'r') as server:
        clients = [Client() for _ in range(1000)]
        for c in clients:
            c.ready()
        for number, c in enumerate(clients):
            c.request(nbd.READ, number * 512, 512)
        for number, c in enumerate(clients):
            assert c.simple(512)[0] == 0
        for c in clients[::2]:
            c.sock.close()
        assert clients[1].read(0, 1) == b'\0'
        server.terminate()  # amid them all
        assert server.wait(nbd.PATIENCE) == 0
        for c in clients:
            c.sock.close()


@test('a signal in the middle of writes: the server flushes, removes its files, and ends with 0')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '64M'], True)
    with serve(VMM_NBD, '-t', '--pid-file', 'pid', '-f', 'qcow2', 'q') as server:
        c = Client().ready()
        with open('pid', encoding='ascii') as file:
            assert int(file.read()) == server.pid
        assert c.do(nbd.WRITE, 0, 4096, 0, b'k' * 4096) == 0
        for i in range(60):
            c.request(nbd.WRITE, 65536 * (i + 1), 4096, data=b'w' * 4096, cookie=i)
        server.send_signal(signal.SIGTERM)
        assert server.wait(nbd.PATIENCE) == 0
        c.sock.close()
    assert not os.path.exists('pid') and not os.path.exists('sock')
    run(QEMU, ['check', '-q', 'q'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'read -P 0x6b 0 4k', 'q'], True)


@test('--fork: the parent ends when clients can connect, or says why not')
def _():
    raw()
    path = os.path.abspath('sock')
    for options, good in ([], True), (['-f', 'nonsense'], False):
        p = run(VMM_NBD, ['--fork', '-k', path, '--pid-file', 'pid', '-f', 'raw', *options, 'r'])
        assert (p.returncode == 0) == good, p.stderr
        if good:
            with Client().ready() as c:
                assert c.read(1, 1) == b'\1'
                with open('pid', encoding='ascii') as file:
                    pid = int(file.read())
            nbd.wait_gone(pid)
        else:
            assert 'nonsense' in p.stderr and p.returncode == 1, p.stderr
            assert not os.path.exists('sock')


@test('-s leaves the image alone; -l shows a snapshot; -o a part')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '1M'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 1 0 1M', 'q'], True)
    run(QEMU, ['snapshot', '-c', 'old', 'q'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 2 0 1M', 'q'], True)
    with open('q', 'rb') as file:
        before = file.read()
    with serve(VMM_NBD, '-t', '-s', '-f', 'qcow2', 'q'):
        with Client().ready() as c:
            assert c.do(nbd.WRITE, 512, 512, 1, b'n' * 512) == 0
            assert c.read(511, 3) == b'\2nn'
    with open('q', 'rb') as file:
        assert file.read() == before
    for word in 'old', 'snapshot.name=old', 'snapshot.id=1':
        with serve(VMM_NBD, '-t', '-l', word, '-f', 'qcow2', 'q'):
            with Client().ready() as c:
                assert c.read(0, 2) == b'\1\1'
                assert c.do(nbd.WRITE, 0, 1, 0, b'x') == nbd.EPERM
    raw()
    with serve(VMM_NBD, '-t', '-o', '513', '-f', 'raw', 'r'):
        with Client().ready() as c:
            assert c.read(0, 2) == b'\1\2'
            assert c.do(nbd.WRITE, 0, 2, 0, b'xy') == 0
    with open('r', 'rb') as file:
        assert file.read(516)[511:] == b'\xff\0xy\3'


@test('TCP, and sockets that somebody else has opened')
def _():
    raw()
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen()
    port = listener.getsockname()[1]
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    with subprocess.Popen(['sh', '-c', script, 'sh', VMM_NBD, '-f', 'raw', 'r'],
                          pass_fds=[listener.fileno()]) as p:
        listener.close()
        if NBDINFO:
            assert run(NBDINFO, ['--size', f'nbd://127.0.0.1:{port}'], True).stdout == f'{MIB}\n'
        else:
            socket.create_connection(('127.0.0.1', port)).close()
            p.terminate()
        assert p.wait(nbd.PATIENCE) == 0
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([VMM_NBD, '-b', '127.0.0.1', '-p', str(port), '-f', 'raw', 'r']) as p:
        done = None
        while done is None or done.returncode:
            assert p.poll() is None
            done = run(QEMU_IO, ['-r', '-f', 'raw', '-c', 'read -P 0 0 1', f'nbd://127.0.0.1:{port}'])
        assert p.wait(nbd.PATIENCE) == 0


@test('dirty bitmaps are told as qemu-nbd tells them')
def _():
    if not NBDINFO:
        return 'nbdinfo is not installed (package libnbd-bin)'
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '8M'], True)
    for name in 'one', 'two':
        run(QEMU, ['bitmap', '--add', 'q', name], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write 1M 100k', '-c', 'write 7M 1M', 'q'], True)
    run(QEMU, ['bitmap', '--disable', 'q', 'two'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write 0 1', 'q'], True)
    seen = []
    for tool in QEMU_NBD, VMM_NBD:
        with serve(tool, '-t', '-x', 'x', '-B', 'one', '-B', 'two', '-f', 'qcow2', 'q'):
            seen.append([info('--json'), info('--map=qemu:dirty-bitmap:one'),
                         info('--map=qemu:dirty-bitmap:two'), info('--map=qemu:dirty-bitmap:no')])
        with serve(tool, '-t', '-x', 'x', '-r', '-B', 'two', '-f', 'qcow2', 'q'):
            seen[-1].append(info('--map=qemu:dirty-bitmap:two'))
        kept = json.loads(run(QEMU, ['info', '--output=json', 'q'], True).stdout)
        seen[-1].append(kept['format-specific'])
        p = run(tool, ['-k', os.path.abspath('sock'), '-B', 'none', '-f', 'qcow2', 'q'])
        assert p.returncode == 1 and 'not found' in p.stderr, (tool, p.stderr)
    for theirs, ours in zip(*seen):
        assert theirs == ours, f'{theirs}\n--- vs\n{ours}'


@test('TLS: clients have to use it, with the right key, and see the same')
def _():
    os.mkdir('psk')
    os.mkdir('wrong')
    for folder, key in ('psk', '12' * 32), ('wrong', '34' * 32):
        with open(f'{folder}/keys.psk', 'w', encoding='ascii') as file:
            file.write(f'vm:{key}\n')
    raw(8 * MIB)
    creds = f'tls-creds-psk,id=t,endpoint=server,dir={os.getcwd()}/psk'
    with serve(VMM_NBD, '-t', '-e', '0', '--object', creds, '--tls-creds', 't', '-f', 'raw', 'r'):
        with Client() as c:
            assert c.go()[0][0] == nbd.ERR_TLS_REQD
            assert c.option(nbd.LIST)[0][0] == nbd.ERR_TLS_REQD
            assert c.option(nbd.STARTTLS, b'x')[0][0] == nbd.ERR_INVALID
            assert c.option(nbd.STARTTLS) == [(nbd.REP_ACK, b'')]
            c.send(b'no TLS at all' * 10)
            try:
                while True:
                    c.receive(1)  # an alert
            except nbd.Closed:
                pass
        with Client() as c:
            c.send(b'IHAVEOPT' + struct.pack('>II', nbd.EXPORT_NAME, 0))
            assert c.is_closed()
        for folder, status in ('wrong', 1), ('psk', 0):
            p = run(QEMU, ['convert', '--object',
                           f'tls-creds-psk,id=t,endpoint=client,username=vm,dir={folder}',
                           '--image-opts', 'driver=nbd,server.type=unix,tls-creds=t,server.path=' +
                           os.path.abspath('sock'), '-O', 'raw', 'out'])
            assert p.returncode == status, p.stderr
        run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'out'], True)
        if NBDCOPY:
            tls = f'nbds+unix://vm@/?socket={os.path.abspath("sock")}&tls-psk-file={os.path.abspath("psk/keys.psk")}'
            run(NBDCOPY, ['out', tls], True)
            os.unlink('out')
            run(NBDCOPY, [tls, 'out'], True)
            run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'out'], True)
    p = run(VMM_NBD, ['--tls-creds', 't', '-f', 'raw', 'r'])
    assert p.returncode == 1 and "'t'" in p.stderr, p.stderr


# Both programs say the same, and end alike.
ALIKE = '''
-e x r
-e -1 r
-o x r
--cache=foo r
--aio=foo r
--discard=foo r
--detect-zeroes=foo r
--detect-zeroes=unmap r
-n --cache=none r
r r
-f raw -o 2M r
-f qcow2 r
-f raw nobody
-k /nobody/s -f raw r
'''


@test("mistakes are answered in qemu-nbd's words")
def _():
    raw()
    for line in ALIKE.strip().splitlines():
        said = []
        for tool in QEMU_NBD, VMM_NBD:
            p = run(tool, line.split())
            text = re.sub(r'^(qemu|vmm)-nbd: ', 'nbd: ', p.stderr, flags=re.M)
            said.append((p.returncode, text.splitlines()[0]))
        assert said[0] == said[1], f'{line}:\n{said[0]}\n--- vs\n{said[1]}'


if not QEMU_NBD:
    print('1..0 # SKIP qemu-nbd is not installed (package qemu-utils)')
    sys.exit(0)
main()
