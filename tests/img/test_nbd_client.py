#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks at NBD servers: vmm-img and vmm-io beside qemu-img and qemu-io, with other people's servers,
and with one that lies, dies and hangs. Called with the paths of vmm-img, vmm-io and vmm-nbd; TAP on
stdout."""
import contextlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

import nbdtest as nbd
from imgtest import QEMU, VMM, data_file, main, run, test
from nbdtest import random_commands, serve, uri

VMM_NBD = os.path.abspath(sys.argv.pop())
VMM_IO = os.path.abspath(sys.argv.pop())
QEMU_NBD = nbd.QEMU_NBD
QEMU_IO = shutil.which('qemu-io')
NBDKIT = shutil.which('nbdkit')
MIB = 1 << 20


@test('info, map, convert and compare: as qemu-img has them')
def _():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '8M'], True)
    run(QEMU_IO, ['-f', 'qcow2', '-c', 'write -P 1 1M 1M', '-c', 'write -z 4M 1M', 'q'], True)
    data_file('odd', MIB)
    with open('odd', 'ab') as file:
        file.write(b'tail' * 25)
    sock = os.path.abspath('sock')
    for options, image in (['-f', 'qcow2'], 'q'), (['-f', 'raw', '-r'], 'odd'):
        with serve(QEMU_NBD, '-t', '-e', '0', '-x', 'a b', *options, image):
            for name in (uri('a%20b'), f'nbd:unix:{sock}:exportname=a b',
                         'json:{"driver": "nbd", "export": "a b", "server": {"type": "unix", '
                         f'"path": "{sock}"}}}}',
                         f'json:{{"driver": "nbd", "export": "a b", "path": "{sock}"}}'):
                seen = []
                for tool in QEMU, VMM:
                    seen.append([run(tool, words + [name]).stdout for words in (
                        ['info'], ['info', '--output=json'], ['map', '--output=json'],
                        ['map'])] + [run(tool, ['convert', '-O', 'raw', name, 'out'], True).stdout])
                    with open('out', 'rb') as file:
                        seen[-1].append(file.read())
                for theirs, ours in zip(*seen):
                    assert theirs == ours, f'{name}:\n{theirs[:900]}\n--- vs\n{ours[:900]}'
                run(VMM, ['compare', name, 'out'], True)


@test('writing: random requests against a model; an image in an export')
def _():
    for server in QEMU_NBD, VMM_NBD:
        commands, model = random_commands(random.Random(9), 2 * MIB, 150)
        run(QEMU, ['create', '-q', '-f', 'raw', 'disk', '2M'], True)
        with serve(server, '-t', '-e', '0', '-f', 'raw', 'disk'):
            done = run(VMM_IO, ['-f', 'raw', uri()],
                       input=''.join(line + '\n' for line in commands))
            assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout + done.stderr
        with open('disk', 'rb') as file:
            assert file.read() == model, server
        data_file('r', MIB)
        with serve(server, '-t', '-e', '0', '-f', 'raw', 'disk'):
            run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', uri()], True)
            run(VMM, ['compare', '-f', 'raw', '-F', 'qcow2', 'r', uri()], True)
            run(QEMU, ['check', '-q', '-f', 'qcow2', uri()], True)
            p = run(VMM, ['create', '-f', 'raw', uri(), '3M'])
            assert p.returncode == 1 and 'Cannot grow NBD nodes' in p.stderr, p.stderr
            p = run(VMM, ['resize', '-f', 'raw', uri(), '+1M'])
            assert p.returncode == 1 and 'Cannot resize NBD nodes' in p.stderr, p.stderr
        os.unlink('disk')


REFUSED = [  # name, what the message has
    ('nbd+unix:///?socket=/nobody/s', 'No such file'), ('nbd://127.0.0.1:1/', 'Connection refused'),
    ('nbd:', 'nbd:'), ('nbd:127.0.0.1', 'HOST:PORT'), ('nbd:unix:', ''), ('nbd://', 'URI'),
    ('nbd+unix:///x', 'URI'), ('nbd+unix:///x?socket=', ''), ('nbd://h/x?y=z', 'URI'),
    ('nbd+vsock://1/x', 'URI'), ('nbds://h/x', 'tls-creds'), ('nbd://h:99999999/', ''),
    ('json:{"driver": "nbd"}', 'address missing'),
    ('json:{"driver": "nbd", "host": "h", "path": "p"}', 'same time'),
    ('json:{"driver": "nbd", "path": "p", "port": "1"}', 'port may not be used without host'),
    ('json:{"driver": "nbd", "path": "p", "tls-hostname": "h"}', 'tls-hostname not required'),
    ('json:{"driver": "nbd", "path": "p", "tls-creds": "none"}', 'none'),
    ('json:{"driver": "nbd", "server": {"type": "fd", "str": "0"}}', 'not supported'),
]


@test('what is refused, and how')
def _():
    for name, why in REFUSED:
        p = run(VMM, ['info', name])
        assert p.returncode == 1 and why in p.stderr, (name, p.stderr)
    data_file('r', MIB)
    with serve(VMM_NBD, '-t', '-r', '-e', '0', '-f', 'raw', 'r'):
        p = run(VMM, ['info', uri('other')])
        assert p.returncode == 1 and "no export named 'other'" in p.stderr, p.stderr
        p = run(VMM_IO, ['-f', 'raw', '-c', 'write 0 512', uri()])
        assert p.returncode == 1 and 'write permission' in p.stderr, p.stderr
        p = run(VMM, ['info', 'json:{"driver": "nbd", "x-dirty-bitmap": "qemu:dirty-bitmap:no", '
                      f'"path": "{os.path.abspath("sock")}"}}'])
        assert p.returncode == 1 and 'qemu:dirty-bitmap:no not found' in p.stderr, p.stderr


@test('TLS with a key that both sides have, and with another')
def _():
    for folder, key in ('psk', '12' * 32), ('wrong', '34' * 32):
        os.mkdir(folder)
        with open(f'{folder}/keys.psk', 'w', encoding='ascii') as file:
            file.write(f'vm:{key}\n')
    data_file('r', 4 * MIB)
    creds = f'tls-creds-psk,id=t,endpoint=server,dir={os.getcwd()}/psk'
    options = f'driver=nbd,tls-creds=t,server.type=unix,server.path={os.path.abspath("sock")}'
    for server in QEMU_NBD, VMM_NBD:
        with serve(server, '-t', '-e', '0', '--object', creds, '--tls-creds', 't', '-f', 'raw', 'r'):
            for folder, status in ('wrong', 1), ('psk', 0):
                p = run(VMM, ['convert', '--object', 'tls-creds-psk,id=t,endpoint=client,'
                              f'username=vm,dir={folder}', '--image-opts', options, '-O', 'raw',
                              'out'])
                assert p.returncode == status, p.stderr
            run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'out'], True)
            p = run(VMM, ['info', uri()])
            assert p.returncode == 1, p.stdout  # in clear
            os.unlink('out')


@test('TLS by certificates: the name is that of the host, or the one that is given; anonymous TLS')
def _():
    if not nbd.CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    nbd.certificates()
    data_file('r', 4 * MIB)
    where = f'driver=nbd,server.type=unix,server.path={os.path.abspath("sock")},tls-creds=t'

    def convert(creds, options):
        p = run(VMM, ['convert', *creds[:2], '--image-opts', options, '-O', 'raw', 'out'])
        if p.returncode == 0:
            run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'out'], True)
            os.unlink('out')
        return p

    fred = nbd.credentials('fred')
    for server in QEMU_NBD, VMM_NBD:
        with serve(server, '-t', '-e', '0', *nbd.credentials('server'), '-f', 'raw', 'r'):
            for name, error in (('disk.example', None), ('127.0.0.1', None),
                                ('other.example', 'Certificate does not match the hostname other')):
                p = convert(fred, f'{where},tls-hostname={name}')
                assert p.returncode == (1 if error else 0) and (error or '') in p.stderr, p.stderr
            p = convert(nbd.credentials('nobody'), f'{where},tls-hostname=disk.example')
            assert p.returncode == 1, p.stdout
            done = run(VMM_IO, [*fred[:2], '--image-opts', f'{where},tls-hostname=disk.example', '-c',
                                'write -P 7 1M 1M', '-c', 'flush', '-c', 'read -P 7 1M 1M', '-c',
                                'aio_write -P 8 0 2M', '-c', 'aio_write -P 9 2M 2M', '-c',
                                'aio_flush', '-c', 'read -P 8 0 2M', '-c', 'read -P 9 2M 2M'])
            assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout + done.stderr
        with serve(server, '-t', '-e', '0', *nbd.credentials('server', 'anon'), '-f', 'raw', 'r'):
            p = convert(nbd.credentials('fred', 'anon'), where)
            assert p.returncode == 0, p.stderr
        with serve(server, '-t', '-e', '0', '-f', 'raw', 'r'):
            p = convert(fred, f'{where},tls-hostname=disk.example')
            assert p.returncode == 1 and 'option 5 (starttls)' in p.stderr, p.stderr
    p = convert(fred, f'{where},tls-hostname=disk.example')
    assert p.returncode == 1 and 'Failed to connect' in p.stderr, p.stderr
    return None


@test('TLS of its own: the connection is lost, and made again')
def _():
    if not nbd.CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    nbd.certificates()
    data_file('r', 4 * MIB)
    args = ['-t', '-e', '0', *nbd.credentials('server'), '-f', 'raw', 'r']
    options = (f'driver=nbd,server.type=unix,server.path={os.path.abspath("sock")},tls-creds=t,'
               'tls-hostname=disk.example,reconnect-delay=30')
    io = None
    with serve(VMM_NBD, *args):
        io = subprocess.Popen([VMM_IO, *nbd.credentials('fred')[:2], '--image-opts', options],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        io.stdin.write('write -P 5 0 64k\nflush\nlength\n')
        io.stdin.flush()
        while '4 MiB' not in io.stdout.readline():
            assert io.poll() is None
    with serve(VMM_NBD, *args):
        out, _ = io.communicate('read -P 5 0 64k\nwrite -P 6 64k 64k\nread -P 6 64k 64k\nquit\n',
                                timeout=nbd.PATIENCE)
        assert io.returncode == 0 and 'failed' not in out and out.count('read 65536/65536') == 2, out
    return None


class Liar(threading.Thread):
    """A server of 1 MiB for one client after the other, whose answers a function gives."""

    def __init__(self, answer, size=MIB, flags=0xd):
        super().__init__(daemon=True)
        self.answer, self.size, self.flags = answer, size, flags
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind('liar')
        self.listener.listen()
        self.served = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(nbd.PATIENCE)
        os.unlink('liar')

    def run(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            with contextlib.suppress(OSError, EOFError, struct.error), connection:
                self.handshake(connection)
                self.served += 1
                while self.answer(self, connection, *self.request(connection)):
                    pass

    @staticmethod
    def receive(connection, length):
        data = b''
        while len(data) < length:
            part = connection.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def handshake(self, c):
        c.sendall(b'NBDMAGICIHAVEOPT\0\3')
        self.receive(c, 4)
        while True:
            _, option, length = struct.unpack('>QII', self.receive(c, 16))
            self.receive(c, length)
            if option == nbd.GO:
                info = struct.pack('>HQH', 0, self.size, self.flags)
                for kind, data in (nbd.REP_INFO, info), (nbd.REP_ACK, b''):
                    c.sendall(struct.pack('>QIII', 0x3e889045565a9, option, kind, len(data)) + data)
                return
            c.sendall(struct.pack('>QIII', 0x3e889045565a9, option, nbd.ERR_UNSUP, 0))

    def request(self, c):
        _, _, kind, cookie, offset, length = struct.unpack('>IHHQQI', self.receive(c, 28))
        if kind == nbd.DISC:
            raise EOFError
        if kind == nbd.WRITE:
            self.receive(c, length)
        return kind, cookie, offset, length


def reply(c, cookie, error=0, data=b'', magic=0x67446698):
    c.sendall(struct.pack('>IIQ', magic, error, cookie) + data)
    return True


def zeroes(liar, c, kind, cookie, offset, length):
    return reply(c, cookie, 0, bytes(length) if kind == nbd.READ else b'')


def dies(liar, c, kind, cookie, offset, length):
    if kind == nbd.READ:
        c.sendall(struct.pack('>IIQ', 0x67446698, 0, cookie) + bytes(length // 2))
    return False


@test('servers that die and lie: an error, never a hang and never other data')
def _():
    path = os.path.abspath('liar')
    name = f'nbd:unix:{path}'
    read, write = ['-r', '-f', 'raw', '-c', 'read 0 4k', name], ['-f', 'raw', '-c', 'write 0 4k', name]
    cases = [
        (zeroes, 0, ''), (dies, 1, 'Input/output error'),
        (lambda s, c, k, cookie, o, n: reply(c, cookie, 5), 1, 'Input/output error'),
        (lambda s, c, k, cookie, o, n: reply(c, cookie, 28), 1, 'No space left'),
        (lambda s, c, k, cookie, o, n: reply(c, cookie + 1, 0, bytes(n)), 1, 'Input/output error'),
        (lambda s, c, k, cookie, o, n: reply(c, cookie, 0, b'', 0x12345678), 1,
         'Input/output error'),
    ]
    for answer, status, why in cases:
        for command in read, write:
            with Liar(answer):
                p = run(VMM_IO, command)
                text = p.stdout + p.stderr
                assert p.returncode == status and why in text, (answer, command, p)
    for size in (1 << 63) - 1, (1 << 64) - 1:
        with Liar(zeroes, size=size):
            p = run(VMM_IO, read)
            assert p.returncode == 1 and p.stderr, p
    with Liar(zeroes, size=1000):
        p = run(VMM_IO, ['-f', 'raw', '-c', 'read -P 0 0 1k', '-c', 'write -P 0 512 512',
                         '-c', 'length', name])
        assert p.returncode == 0, p


@test('without reconnect-delay: an error, and the next request finds the server again')
def _():
    data_file('r', MIB)
    for server in QEMU_NBD, VMM_NBD:
        with serve(server, '-t', '-f', 'raw', 'r'):
            io = Shell()
            io.expect('read -P 0 0 0', 'read 0/0')
        assert 'failed' in io.command('read 0 512')
        with serve(server, '-t', '-f', 'raw', 'r'):
            while 'failed' in io.command('read 0 512'):
                pass
            io.close()


class Shell:
    """vmm-io, one line after the other."""

    def __init__(self, options=''):
        image = f'driver=raw,file.driver=nbd,file.path={os.path.abspath("sock")}{options}'
        self.process = subprocess.Popen([VMM_IO, '--image-opts', image], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        self.until(b'> ')

    def until(self, end):
        text = b''
        while not text.endswith(end):
            part = self.process.stdout.read(1)
            assert part, text
            text += part
        return text.decode()

    def begin(self, line):
        self.process.stdin.write(line.encode() + b'\n')

    def command(self, line):
        self.begin(line)
        return self.until(b'> ')

    def expect(self, line, text):
        said = self.command(line)
        assert text in said, f'{line}: {said}'

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        return self.process.wait(nbd.PATIENCE)


@test('reconnect-delay: requests wait for the server; a flush tells of writes that may be lost')
def _():
    data_file('r', MIB)
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r') as server:
        io = Shell(',file.reconnect-delay=60')
        io.expect('write -P 1 0 4k', 'wrote 4096')
        io.expect('flush', '')
        server.kill()
        server.wait()
        server.returncode = 0
    io.begin('read -P 1 0 4k')
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r') as server:
        said = io.until(b'> ')
        assert 'read 4096' in said and 'failed' not in said, said
        io.expect('flush', '')  # nothing was lost
        io.expect('write -P 2 0 4k', 'wrote 4096')
        server.kill()
        server.wait()
        server.returncode = 0
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r'):
        io.expect('read -P 2 0 4k', 'read 4096')
        said = io.command('flush')
        assert 'Input/output error' in said, said
        io.expect('write -P 3 0 4k', 'wrote 4096')
        assert 'error' not in io.command('flush')
        assert io.close() == 0
    with open('r', 'rb') as file:
        assert file.read(4096) == b'\3' * 4096
    with serve(VMM_NBD, '-t', '-f', 'raw', 'r') as server:
        io = Shell(',file.reconnect-delay=1')
        server.terminate()
    io.expect('read 0 512', 'Input/output error')
    io.close()


@test('open-timeout: the first connection is tried again')
def _():
    data_file('r', MIB)
    image = f'driver=raw,file.driver=nbd,file.open-timeout=60,file.path={os.path.abspath("sock")}'
    with subprocess.Popen([VMM, 'convert', '--image-opts', image, '-O', 'raw', 'out']) as p:
        with serve(VMM_NBD, '-f', 'raw', 'r') as server:
            assert p.wait(nbd.PATIENCE) == 0
            assert server.wait(nbd.PATIENCE) == 0
    run(QEMU, ['compare', '-f', 'raw', '-F', 'raw', 'r', 'out'], True)


@test('a server that never answers keeps nobody from ending')
def _():
    got = threading.Event()

    def silent(liar, c, kind, cookie, offset, length):
        got.set()
        liar.receive(c, 1)  # until the client goes
        return False

    with Liar(silent):
        with serve(VMM_NBD, '-t', '-f', 'raw', f'nbd:unix:{os.path.abspath("liar")}') as server:
            with nbd.Client() as client:
                client.ready().request(nbd.WRITE, 0, 4096, data=bytes(4096))
                assert got.wait(nbd.PATIENCE)
                server.send_signal(signal.SIGTERM)
                server.wait(nbd.PATIENCE)
                server.returncode = 0


@test("nbdkit's errors and delays")
def _():
    if not NBDKIT:
        return 'nbdkit is not installed (package nbdkit)'
    name = f'nbd:unix:{os.path.abspath("kit")}'
    for words, command, status in (
            (['memory', '4M'], 'write -P 5 1M 2M', 0),
            (['--filter=delay', 'memory', '4M', 'rdelay=50ms', 'wdelay=50ms'], 'write 0 1M', 0),
            (['--filter=error', 'memory', '4M', 'error-pwrite=ENOSPC', 'error-pwrite-rate=100%'],
             'write 0 1M', 1),
            (['--filter=error', 'memory', '4M', 'error-pread=EIO', 'error-pread-rate=100%'],
             'read 0 1M', 1),
            (['--filter=blocksize-policy', 'memory', '4M', 'blocksize-minimum=4096',
              'blocksize-preferred=4096', 'blocksize-maximum=64k', 'blocksize-error-policy=error'],
             'write -P 7 513 300k', 0)):
        with subprocess.Popen([NBDKIT, '-f', '-U', 'kit', *words], stderr=subprocess.PIPE,
                              text=True) as server:
            try:
                nbd.wait_for_socket(server, 'kit')
                p = run(VMM_IO, ['-f', 'raw', '-c', command, '-c',
                                 command.replace('write', 'read').replace('-z ', ''), name])
                assert p.returncode == status, (words, p)
            finally:
                server.terminate()
        os.unlink('kit')


if not QEMU_NBD:
    print('1..0 # SKIP qemu-nbd is not installed (package qemu-utils)')
    sys.exit(0)
main()
