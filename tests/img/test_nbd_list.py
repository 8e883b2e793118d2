#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vmm-nbd --list beside qemu-nbd's, of honest servers and of others; TLS by certificates, and who may
come in by them. Called with the paths of vmm-img and vmm-nbd; TAP on stdout."""
import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading

import nbdtest as nbd
from imgtest import QEMU, main, run, test
from nbdtest import CERTTOOL, certificates, credentials as creds, serve

VMM_NBD = os.path.abspath(sys.argv.pop())
QEMU_NBD = nbd.QEMU_NBD
MIB = 1 << 20


def listed(tool, *args, path='sock'):
    where = ['-k', os.path.abspath(path)] if path else []
    p = run(tool, ['-L', *where, *args])
    return p.returncode, p.stdout, re.sub(r'^(qemu|vmm)-nbd: ', 'nbd: ', p.stderr, flags=re.M)


def images():
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '8M'], True)
    run(QEMU, ['bitmap', '--add', 'q', 'bits'], True)
    with open('r', 'wb') as file:
        file.truncate(MIB + 700)


SERVED = [
    ['-f', 'qcow2', '-A', '-B', 'bits', '-x', 'a name', '-D', 'a text', 'q'],
    ['-r', '-f', 'raw', 'r'],
    ['-f', 'raw', '-e', '3', 'r'],
]


@test('the list of either server is the same by either client')
def _():
    images()
    for options in SERVED:
        seen = []
        for server in QEMU_NBD, VMM_NBD:
            with serve(server, '-t', *options):
                seen += [listed(client) for client in (QEMU_NBD, VMM_NBD)]
        assert seen[0][0] == 0 and 'exports available: 1' in seen[0][1], seen[0]
        assert all(s == seen[0] for s in seen), f'{options}: {seen}'


@test('by TCP, to the address and port that are given')
def _():
    images()
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
    server = subprocess.Popen([VMM_NBD, '-t', '-b', '127.0.0.1', '-p', port, '-f', 'raw', 'r'])
    try:
        nbd_up = False
        while not nbd_up:
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 5):
                nbd_up = True
            assert server.poll() is None
        for where in ['-b', '127.0.0.1', '-p', port], ['-b', 'localhost', '-p', port], ['-p', port]:
            seen = [listed(tool, *where, path=None) for tool in (QEMU_NBD, VMM_NBD)]
            assert seen[0] == seen[1] and seen[0][0] == 0, seen
    finally:
        server.terminate()
        server.wait(nbd.PATIENCE)
    seen = [listed(tool, '-p', port, path=None) for tool in (QEMU_NBD, VMM_NBD)]
    assert seen[0] == seen[1] and seen[0][0] == 1 and 'Connection refused' in seen[0][2], seen


# Both programs say the same, and end alike.
ALIKE = '''
-L r
-L -x exp
-L -D x
-L -o 1
-L -f raw
-L -A
-L -B x
-L -l snap
-L -n
-L --cache=none
-L --aio=threads
-L --discard=on
-L --fork
-L -d
-L -c /dev/nbd0
-L -k /nobody/s
-L -k /nobody/s -r -t -s -v -e 2 --image-opts --pid-file=x --detect-zeroes=on
-L --tls-hostname x
-L --tls-authz x
--tls-authz x -f raw r
--tls-hostname x -f raw r
-L --tls-creds no
-L --object tls-creds-anon,id=t,endpoint=server --tls-creds t
-L --object tls-creds-anon,id=t,endpoint=client --tls-creds t --tls-authz x
--object tls-creds-anon,id=t,endpoint=server --tls-creds t --tls-hostname x -f raw r
--object tls-creds-anon,id=t,endpoint=server --tls-creds t -c /dev/nbd0 r
--object authz-simple,id=a r
--object authz-list,id=a,policy=maybe r
'''


@test("mistakes are answered in qemu-nbd's words")
def _():
    images()
    for line in ALIKE.strip().splitlines():
        said = []
        for tool in QEMU_NBD, VMM_NBD:
            p = run(tool, line.split())
            text = re.sub(r"^(qemu|vmm)-nbd: (object '[a-z-]+': )?", 'nbd: ', p.stderr, flags=re.M)
            said.append((p.returncode, p.stdout, text.splitlines()[0].split('; it accepts')[0]))
        assert said[0] == said[1], f'{line}:\n{said[0]}\n--- vs\n{said[1]}'


# A server that says anything.

GREETING = b'NBDMAGICIHAVEOPT\0\3'


def reply(option, kind, data=b''):
    return struct.pack('>QIII', 0x3e889045565a9, option, kind, len(data)) + data


def names(option, *texts):
    return b''.join(reply(option, nbd.REP_SERVER, struct.pack('>I', len(t)) + t) for t in texts) + \
        reply(option, nbd.REP_ACK)


def info(option, size=1 << 20, flags=1, least=1, best=4096, most=1 << 25, more=b''):
    return reply(option, nbd.REP_INFO, struct.pack('>HQH', 0, size, flags)) + \
        reply(option, nbd.REP_INFO, struct.pack('>HIII', 3, least, best, most)) + more + \
        reply(option, nbd.REP_ACK)


def meta(option, data):
    """As a server of before 'qemu:' contexts were told unasked."""
    asked = b'qemu:' in data
    return reply(option, nbd.REP_META, b'\0\0\0\0' + (b'qemu:x' if asked else b'base:allocation')) + \
        reply(option, nbd.REP_ACK)


class Server(threading.Thread):
    """One client. 'answers' has bytes, or a function of the option's data, for each option; None
    ends the connection."""

    def __init__(self, greeting=GREETING, **answers):
        super().__init__(daemon=True)
        self.greeting = greeting
        self.answers = {nbd.STRUCTURED: reply(nbd.STRUCTURED, nbd.REP_ACK),
                        nbd.LIST: names(nbd.LIST, b'a'), nbd.INFO: info(nbd.INFO),
                        nbd.LIST_META: lambda data: meta(nbd.LIST_META, data),
                        **{getattr(nbd, k): v for k, v in answers.items()}}
        self.listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink('sock')
        self.listener.bind('sock')
        self.listener.listen()
        self.listener.settimeout(nbd.PATIENCE)

    def run(self):
        with self.listener, self.listener.accept()[0] as c, contextlib.suppress(OSError, EOFError):
            c.sendall(self.greeting)
            self.receive(c, 4)
            while True:
                _, option, length = struct.unpack('>QII', self.receive(c, 16))
                data = self.receive(c, length)
                answer = self.answers.get(option, reply(option, nbd.ERR_UNSUP))
                answer = answer(data) if callable(answer) else answer
                if answer is None or option == nbd.ABORT:
                    return
                c.sendall(answer)

    @staticmethod
    def receive(c, length):
        data = b''
        while len(data) < length:
            part = c.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def from_server(tool, greeting, answers):
    server = Server(greeting, **answers)
    server.start()
    seen = listed(tool)
    server.join(nbd.PATIENCE)
    return seen


def refusal(option, number, text=b''):
    return reply(option, 0x80000000 + number, text)


# Where both clients say the same.
SAME = [
    {},
    {'STRUCTURED': refusal(nbd.STRUCTURED, 1)},
    {'STRUCTURED': refusal(nbd.STRUCTURED, 2, b'no')},
    {'LIST': names(nbd.LIST)},
    {'LIST': names(nbd.LIST, b'a', b'', b'c' * 4096)},
    {'LIST': reply(nbd.LIST, nbd.REP_SERVER, b'\0\0\0\1aand a text') + reply(nbd.LIST, 1)},
    *({'LIST': refusal(nbd.LIST, n, text)} for n in (1, 2, 3, 4, 5, 6, 7, 99)
      for text in (b'', b'why not')),
    *({'INFO': refusal(nbd.INFO, n, b'so')} for n in (1, 2, 3, 4, 6, 7, 8, 9)),
    {'INFO': info(nbd.INFO, flags=0)},
    {'INFO': info(nbd.INFO, flags=0xffff, size=1 << 63)},
    {'INFO': info(nbd.INFO, least=3)},
    {'INFO': info(nbd.INFO, least=0)},
    {'INFO': info(nbd.INFO, least=512, best=1)},
    {'INFO': info(nbd.INFO, best=4097)},
    {'INFO': info(nbd.INFO, least=512, best=512, most=1)},
    {'INFO': info(nbd.INFO, least=512, size=1000)},
    {'INFO': info(nbd.INFO, more=reply(nbd.INFO, nbd.REP_INFO, b'\0\1x') +
                  reply(nbd.INFO, nbd.REP_INFO, b'\0\x63x'))},
    {'INFO': reply(nbd.INFO, nbd.REP_ACK)},
    {'LIST_META': reply(nbd.LIST_META, nbd.REP_ACK)},
    *({'LIST_META': refusal(nbd.LIST_META, n)} for n in (1, 2, 6)),
    {'LIST_META': reply(nbd.LIST_META, nbd.REP_META, b'abc')},
    {'LIST': None}, {'INFO': None},
]
# Where both refuse, each in its own words.
BROKEN = [
    {'LIST': reply(nbd.LIST, nbd.REP_INFO, b'x')}, {'LIST': reply(nbd.LIST, 77)},
    {'LIST': reply(nbd.LIST, nbd.REP_SERVER, b'x')}, {'LIST': reply(nbd.LIST, nbd.REP_ACK, b'x')},
    {'LIST': reply(nbd.LIST, nbd.REP_SERVER, b'\0\0\0\x64x')},
    {'LIST': names(nbd.LIST, b'n' * 5000)}, {'LIST': reply(nbd.INFO, nbd.REP_ACK)},
    {'LIST': b'x' * 20},
    {'LIST': struct.pack('>QIII', 0x3e889045565a9, nbd.LIST, nbd.REP_SERVER, 1 << 31)},
    {'INFO': reply(nbd.INFO, nbd.REP_INFO, b'x')}, {'INFO': reply(nbd.INFO, nbd.REP_INFO, b'\0\0')},
    {'INFO': reply(nbd.INFO, nbd.REP_INFO, b'\0\3x')},
    {'INFO': reply(nbd.INFO, 55)}, {'LIST_META': reply(nbd.LIST_META, nbd.REP_SERVER, bytes(4))},
    {'LIST_META': reply(nbd.LIST_META, nbd.REP_ACK, b'x')},
    {'STRUCTURED': reply(nbd.STRUCTURED, nbd.REP_ACK, b'x')},
    {'STRUCTURED': reply(nbd.STRUCTURED, nbd.REP_INFO)},
]
GREETINGS = [
    b'NBDMAGIC' + struct.pack('>QQHH', 0x00420281861253, 4096, 0, 3) + bytes(124),
    b'NBDMAGICIHAVEOPT\0\0', b'NBDMAGICIHAVEOPT\0\2', b'NBDMAGICIHAVEOPT\0\7',
    b'XBDMAGICIHAVEOPT\0\3', b'NBDMAGICIHAVEOPX\0\3',
]


@test('what servers say that refuse, know less, or break the rules')
def _():
    for greeting, answers in [(GREETING, a) for a in SAME] + [(g, {}) for g in GREETINGS]:
        seen = [from_server(tool, greeting, answers) for tool in (QEMU_NBD, VMM_NBD)]
        assert seen[0] == seen[1], f'{greeting} {answers}:\n{seen[0]}\n--- vs\n{seen[1]}'
    for answers in BROKEN:
        status, out, err = from_server(VMM_NBD, GREETING, answers)
        assert (status, out) == (1, '') and err.startswith('nbd: '), (answers, status, out, err)
    for answers in ({'LIST': names(nbd.LIST, b'\33[2J\xff\x7f')}, {'LIST': refusal(nbd.LIST, 2, b'\33[31m')}):
        _, out, err = from_server(VMM_NBD, GREETING, answers)
        assert '\33' not in out + err and '?[' in out + err, (out, err)


@test('a server that goes on and on: what is kept of it is bounded')
def _():
    def exports(count, text):
        return reply(nbd.LIST, nbd.REP_SERVER, b'\0\0\0\1a' + text) * count + reply(nbd.LIST, 1)
    things = reply(nbd.INFO, nbd.REP_INFO, b'\0\1x') * 65537
    contexts = reply(nbd.LIST_META, nbd.REP_META, bytes(4) + b'c' * 4096) * 16000
    for answers, text in (({'LIST': exports(65537, b'')}, 'lists more than 65536 exports'),
                          ({'LIST': exports(16000, b't' * 4096)}, 'takes more than 64 MiB'),
                          ({'LIST_META': contexts}, 'takes more than 64 MiB'),
                          ({'INFO': things}, 'more than 65536 things of one export')):
        status, out, err = from_server(VMM_NBD, GREETING, answers)
        assert (status, out) == (1, '') and text in err, (status, out[:200], err)
    # The largest lists that make sense are read.
    answers = {'LIST': exports(4000, b't' * 4096), 'INFO': reply(nbd.INFO, nbd.ERR_UNSUP)}
    status, out, err = from_server(VMM_NBD, GREETING, answers)
    assert status == 0 and out.startswith('exports available: 4000\n'), (status, out[:200], err)
    # U+009B begins a sequence that a terminal obeys, as ESC [ does.
    status, out, err = from_server(VMM_NBD, GREETING, {'LIST': names(nbd.LIST, b'\xc2\x9b2J')})
    assert status == 0 and "export: '?2J'" in out, (status, out, err)


@test('TLS: the list by certificates, the name in the certificate, and a server in clear')
def _():
    if not CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    certificates()
    for server in QEMU_NBD, VMM_NBD:
        with serve(server, '-t', '-e', '0', *creds('server'), '-f', 'raw', 'r'):
            for options in ([*creds('fred'), '--tls-hostname', 'disk.example'],
                            [*creds('fred'), '--tls-hostname', '127.0.0.1'],
                            [*creds('fred'), '--tls-hostname', 'other.example'], creds('fred'),
                            creds('fred', more=',verify-peer=off'), []):
                seen = [listed(client, *options) for client in (QEMU_NBD, VMM_NBD)]
                assert seen[0] == seen[1], f'{server} {options}: {seen}'
                good = '--tls-hostname' in options and 'other.example' not in options or \
                    'verify-peer=off' in str(options)
                assert seen[0][0] == (0 if good else 1), (options, seen[0])
        with serve(server, '-t', '-e', '0', *creds('server', 'anon'), '-f', 'raw', 'r'):
            seen = [listed(client, *creds('fred', 'anon')) for client in (QEMU_NBD, VMM_NBD)]
            assert seen[0] == seen[1] and seen[0][0] == 0, seen
        with serve(server, '-t', '-e', '0', '-f', 'raw', 'r'):
            seen = [listed(client, *creds('fred'), '--tls-hostname', 'disk.example')
                    for client in (QEMU_NBD, VMM_NBD)]
            assert seen[0] == seen[1] and seen[0][0] == 1, seen
    return None


LISTS = [  # objects, who may come in
    (['authz-simple,id=a,identity=O=Disks\\,, Inc,,CN=fred'], 'fred'),
    (['authz-simple,id=a,identity=CN=fred'], ''),
    (['authz-list,id=a'], ''),
    (['authz-list,id=a,policy=allow'], 'fred bob'),
    (['authz-list,id=a,policy=deny,rules.0.match=*CN=b*,rules.0.policy=allow,rules.0.format=glob'],
     'bob'),
    (['authz-list,id=a,policy=deny,rules.0.match=*CN=b*,rules.0.policy=allow'], ''),
    (['authz-list,id=a,policy=allow,rules.0.match=*CN=b*,rules.0.policy=deny,rules.0.format=glob,'
      'rules.1.match=*,rules.1.policy=deny,rules.1.format=exact'], 'fred'),
    (['authz-list,id=a,rules.0.match=*fred,rules.0.policy=deny,rules.0.format=glob,'
      'rules.1.match=*,rules.1.policy=allow,rules.1.format=glob'], 'bob'),
    ([], ''),
    (['secret,id=a,data=x'], ''),
]


def who_comes(server, objects):
    options = [o for text in objects for o in ('--object', text)]
    with serve(server, '-t', '-e', '0', *options, *creds('server'), '--tls-authz', 'a', '-f', 'raw',
               'r') as p:
        came = [who for who in ('fred', 'bob')
                if listed(QEMU_NBD, *creds(who), '--tls-hostname', 'disk.example')[0] == 0]
        assert listed(QEMU_NBD)[0] == 1, 'in clear'
        assert p.poll() is None
    return ' '.join(came)


@test('who may come in: as with qemu-nbd, by the name in the certificate')
def _():
    if not CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    certificates()
    for objects, expected in LISTS:
        for server in QEMU_NBD, VMM_NBD:
            came = who_comes(server, objects)
            assert came == expected, f'{server} {objects}: {came!r}, expected {expected!r}'
    return None


def rules(**of):
    text = json.dumps({'policy': 'deny',
                       'rules': [{'match': f'*CN={who}', 'format': 'glob', 'policy': policy}
                                 for who, policy in of.items()]})
    with open('list.new', 'w', encoding='ascii') as file:
        file.write(text)
    os.rename('list.new', 'list')


@test('a list in a file, which changes while the server runs')
def _():
    if not CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    certificates()

    def comes(who):
        return listed(VMM_NBD, *creds(who), '--tls-hostname', 'disk.example')[0] == 0

    for refresh in 'on', 'off':
        rules(fred='allow')
        with serve(VMM_NBD, '-t', '-e', '0', '--object',
                   f'authz-listfile,id=a,filename={os.path.abspath("list")},refresh={refresh}',
                   *creds('server'), '--tls-authz', 'a', '-f', 'raw', 'r'):
            assert comes('fred') and not comes('bob')
            rules(bob='allow')
            new = refresh == 'on'
            assert comes('fred') != new and comes('bob') == new, refresh
            for text in '', '{"rules": []', '{"policy": "maybe"}', '[]', '{"rules": [{}]}':
                with open('list', 'w', encoding='ascii') as file:
                    file.write(text)
                assert comes('fred') != new and not comes('bob'), f'{refresh}: {text}'
            os.unlink('list')
            assert comes('fred') != new and not comes('bob'), refresh
    for text, error in (('[]', 'expected: object'), ('{"policy": "maybe"}', "'maybe'"), ('{', ''),
                        ('{"rules": [{"match": "x"}]}', "'rules[0].policy'"),
                        ('{"other": 1}', "'other'"), (None, 'No such file')):
        if text is not None:
            with open('list', 'w', encoding='ascii') as file:
                file.write(text)
        p = run(VMM_NBD, ['--object', 'authz-listfile,id=a,filename=list', 'r'])
        assert p.returncode == 1 and error in p.stderr and 'list' in p.stderr, p.stderr
        with contextlib.suppress(FileNotFoundError):
            os.unlink('list')
    return None


@test('rules that make no sense')
def _():
    for words, error in (('match=x', "'rules[0].policy' is missing"),
                         ('match=x,rules.0.policy=no', "does not accept value 'no'"),
                         ('match=x,rules.0.policy=allow,rules.0.format=no', "accept value 'no'"),
                         ('match=x,rules.0.policy=allow,rules.0.more=1', "'rules[0].more'")):
        for tool in VMM_NBD, QEMU_NBD:
            p = run(tool, ['--object', f'authz-list,id=a,rules.0.{words}', '-f', 'raw', 'r'])
            assert p.returncode == 1, f'{tool} {words}'
        p = run(VMM_NBD, ['--object', f'authz-list,id=a,rules.0.{words}', '-f', 'raw', 'r'])
        assert error in p.stderr, p.stderr


@test('credentials by which nobody is known refuse a list of who may come in')
def _():
    if not CERTTOOL:
        return 'certtool is not installed (package gnutls-bin)'
    certificates()
    for options in creds('server', 'anon'), creds('server', more=',verify-peer=off'):
        p = run(VMM_NBD, ['-k', os.path.abspath('sock'), *options, '--tls-authz', 'a', '-f', 'raw',
                          'r'])
        assert p.returncode == 1 and "'tls-authz' goes by the client's certificate" in p.stderr, \
            p.stderr
    return None


if not QEMU_NBD:
    print('1..0 # SKIP qemu-nbd is not installed (package qemu-utils)')
    sys.exit(0)
main()
