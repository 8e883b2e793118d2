# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of NBD share: servers that are started and ended, and a client that may send
anything."""
import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess

QEMU_NBD = shutil.which('qemu-nbd')
CERTTOOL = shutil.which('certtool')
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
EPERM, EIO, EINVAL, ENOSPC, ENOTSUP = 1, 5, 22, 28, 95
(EXPORT_NAME, ABORT, LIST, _, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META) = range(1, 11)
REP_ACK, REP_SERVER, REP_INFO, REP_META = range(1, 5)
ERR_UNSUP, ERR_POLICY, ERR_INVALID = (0x80000000 + n for n in (1, 2, 3))
ERR_TLS_REQD, ERR_UNKNOWN, ERR_TOO_BIG = 0x80000005, 0x80000006, 0x80000009
PATIENCE = 60


@contextlib.contextmanager
def serve(tool, *args, path='sock'):
    """A server that listens on a socket in this folder. What it leaves behind is an error."""
    if os.path.exists(path):
        os.unlink(path)
    with subprocess.Popen([tool, '-k', os.path.abspath(path), *args], stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True) as p:
        try:
            wait_for_socket(p, path)
            yield p
        finally:
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    p.kill()
                    raise
        if p.returncode not in (0, -signal.SIGTERM):
            raise AssertionError(f'{args}: {p.returncode}\n{p.stderr.read()}')


def wait_for_socket(process, path):
    """The server listens when the path is there and somebody can connect; it hears nothing of a
    look at /proc/net/unix."""
    wanted = ' ' + os.path.abspath(path)
    while True:
        with open('/proc/net/unix', encoding='utf-8') as sockets:
            # The flag __SO_ACCEPTCON: it listens.
            if any(line.rstrip().endswith(wanted) and line.split()[3] == '00010000'
                   for line in sockets):
                return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f'the server has ended: {process.stderr.read()}')


def wait_gone(pid):
    """Until a process that is no child of this one has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], PATIENCE)[0], f'process {pid} goes on'
    os.close(fd)


def uri(name='', path='sock'):
    return f'nbd+unix:///{name}?socket={os.path.abspath(path)}'


class Closed(OSError):
    """The server has closed the connection."""


class Client:
    """A connection, which says what the test says."""

    def __init__(self, path='sock', flags=3):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.structured = False
        greeting = self.receive(18)
        assert greeting == b'NBDMAGICIHAVEOPT\0\3', greeting
        self.send(struct.pack('>I', flags))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def receive(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                part = self.sock.recv(length - len(data))
            except ConnectionResetError as e:
                raise Closed from e
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def is_closed(self):
        try:
            self.receive(1)
        except Closed:
            return True
        return False

    def is_silent(self, seconds=0.1):
        return not select.select([self.sock], [], [], seconds)[0]

    def option(self, number, data=b''):
        """Replies [(type, data)] up to the last one."""
        self.send(b'IHAVEOPT' + struct.pack('>II', number, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] != REP_ACK and replies[-1][0] < 0x80000000:
            magic, option, kind, length = struct.unpack('>QIII', self.receive(20))
            assert magic == 0x3e889045565a9 and option == number, (magic, option)
            replies.append((kind, self.receive(length)))
        return replies

    def go(self, name='', option=GO, infos=()):
        data = string(name) + struct.pack(f'>H{len(infos)}H', len(infos), *infos)
        return self.option(option, data)

    def meta(self, option, name, *queries):
        return self.option(option, string(name) + struct.pack('>I', len(queries)) +
                           b''.join(string(query) for query in queries))

    def with_structured(self):
        assert self.option(STRUCTURED) == [(REP_ACK, b'')]
        self.structured = True
        return self

    def ready(self, name=''):
        replies = self.go(name)
        assert replies[-1][0] == REP_ACK, replies
        return self

    def request(self, kind, offset=0, length=0, flags=0, cookie=1, data=b''):
        self.send(struct.pack('>IHHQQI', 0x25609513, flags, kind, cookie, offset, length) + data)

    def simple(self, length=0):
        """(error, cookie, data)"""
        magic, error, cookie = struct.unpack('>IIQ', self.receive(16))
        assert magic == 0x67446698, hex(magic)
        return error, cookie, self.receive(length) if error == 0 else b''

    def chunks(self):
        """[(type, data)] of one structured reply"""
        found = []
        while True:
            magic, flags, kind, cookie, length = struct.unpack('>IHHQI', self.receive(20))
            assert magic == 0x668e33ef, hex(magic)
            found.append((kind, self.receive(length)))
            if flags & 1:
                return found

    def do(self, kind, offset=0, length=0, flags=0, data=b''):
        """The error of a request."""
        self.request(kind, offset, length, flags, 1, data)
        return self.simple(length if kind == READ else 0)[0]

    def read(self, offset, length, flags=0):
        self.request(READ, offset, length, flags)
        if not self.structured:
            error, _, data = self.simple(length)
            assert error == 0, error
            return data
        data = bytearray(length)
        covered = 0
        for kind, body in self.chunks():
            at = struct.unpack('>Q', body[:8])[0] - offset if len(body) >= 8 else 0
            if kind == 1:
                data[at:at + len(body) - 8] = body[8:]
                covered += len(body) - 8
            elif kind == 2:
                covered += struct.unpack('>I', body[8:])[0]
            else:
                raise AssertionError((kind, body))
        assert covered == length, (covered, length)
        return bytes(data)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack('>I', len(data)) + data


def random_commands(rnd, size, count):
    """Commands of qemu-io, which read what must be there, and the content afterwards."""
    model = bytearray(size)
    commands = []
    for _ in range(count):
        length = rnd.choice([1, 512, 4096, 65536, 200000])
        at = rnd.randrange(size - length)
        value = rnd.randrange(1, 256)
        kind = rnd.choice(['write', 'write -f', 'write -z', 'write -z -u', 'read', 'flush'])
        if kind == 'read':
            value = model[at]
            same = next((i for i in range(at, at + length) if model[i] != value), at + length) - at
            commands.append(f'read -P {value} {at} {same}')
        elif kind == 'flush':
            commands.append('flush')
        elif ' -z' in kind:
            commands.append(f'{kind} {at} {length}')
            model[at:at + length] = bytes(length)
        else:
            commands.append(f'{kind} -P {value} {at} {length}')
            model[at:at + length] = bytes([value]) * length
    return commands, model


CERTIFICATES = r'''
set -e
key() { certtool --generate-privkey --key-type ecdsa --outfile $1; }
key ca-key; key key
printf 'cn = ca\nca\ncert_signing_key\nexpiration_days = 100\n' >t
certtool --generate-self-signed --load-privkey ca-key --template t --outfile ca
# NAME LINE...
cert() { name=$1; shift
  { echo "cn = $name"; echo 'organization = Disks, Inc'; echo signing_key
    echo 'expiration_days = 100'; for l; do echo "$l"; done; } >t
  certtool --generate-certificate --load-ca-certificate ca --load-ca-privkey ca-key \
    --load-privkey key --template t --outfile $name.pem; }
cert server 'dns_name = disk.example' 'ip_address = 127.0.0.1' tls_www_server
cert fred tls_www_client; cert bob tls_www_client
for who in server fred bob nobody; do
  mkdir $who; ln -s ../ca $who/ca-cert.pem
  test $who = nobody && continue
  end=client; test $who = server && end=server
  ln -s ../$who.pem $who/$end-cert.pem; ln -s ../key $who/$end-key.pem
done
'''


def certificates():
    """A CA's, for a server and for two clients, each in its folder; and an image, 'r'."""
    subprocess.run(['sh', '-c', CERTIFICATES], check=True, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE)
    with open('r', 'wb') as file:
        file.truncate(1 << 20)


def credentials(who, kind='x509', more=''):
    end = 'server' if who == 'server' else 'client'
    where = f',dir={os.path.abspath(who)}' if kind == 'x509' else ''
    return ['--object', f'tls-creds-{kind},id=t,endpoint={end}{where}{more}', '--tls-creds', 't']
