#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VNC servers, as viewers and browsers find them. The screen is a monitor's text console.
Called with the path of vmm; TAP on stdout."""
import ctypes
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from qmp_client import VMM, finish, test, vm
from rfb import EXTENDED_KEY, POINTER_MOTION, RAW, RETURN, Viewer, WebSocket

sys.path.insert(0, f'{os.path.dirname(os.path.realpath(__file__))}/../guest')
from pictures import difference, read_ppm, without_fourth  # noqa: E402

try:
    ctypes.CDLL('libvncserver.so.1')
except OSError:
    print('1..0 # SKIP libvncserver1 is not installed')
    sys.exit(0)

NOVNC = '/usr/share/novnc/vnc.html'
LOSS = 8  # of 255: what JPEG files of the best quality may differ by


def board(vnc='127.0.0.1:0,to=99', *more):
    return ['-machine', 'none', '-nodefaults', '-vnc', vnc, '-monitor', 'vc', *more]


def port(v, index=0, server=0):
    return int(v.call('query-vnc-servers')[server]['server'][index]['service'])


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line})


def refuse(v, command, arguments, part):
    reply = v.raw(command, arguments)
    assert part in reply.get('error', {}).get('desc', ''), reply


def fails(words, part):
    done = subprocess.run([VMM, '-accel', 'qtest', *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode and part in done.stderr, (words, done)


def clients(v):
    return len(v.call('query-vnc')['clients'])


def has_text(row):
    return lambda viewer: any(viewer.line(row)) if viewer.height >= 16 * (row + 1) else False


def same_picture(*viewers):
    """By changes alone, so that a tile which was lost stays lost."""
    for viewer in viewers:
        viewer.settle()
    return all(viewer.pixels == viewers[0].pixels for viewer in viewers)


@test('a monitor on the screen: it is drawn, takes keys, and each viewer sees all of it')
def _():
    with vm(board()) as v:
        a = Viewer(port(v))
        a.until(has_text(0))
        assert (a.width, a.height) == (640, 384)
        a.type('info name\n')
        a.until(has_text(2))
        b = Viewer(port(v))
        b.until(has_text(2))
        wait_for(lambda: same_picture(a, b))
        b.type('info status\n')
        for viewer in (a, b):
            viewer.until(has_text(3))
        wait_for(lambda: same_picture(a, b))
        a.close()
        wait_for(lambda: clients(v) == 1)
        b.close()


@test('the first picture that a viewer gets is the screen, of its size')
def _():
    with vm(board()) as v:
        a = Viewer(port(v))
        assert (a.width, a.height) == (640, 384)  # at once: not all viewers can be told later
        a.until(has_text(0))
        for _ in range(3):
            b = Viewer(port(v), encodings=(RAW,))
            b.request(False)
            b.update()
            assert has_text(0)(b)
            b.close()
        a.close()


@test('keys by number reach the console too, and Ctrl-Alt-2 shows another screen')
def _():
    with vm(board('127.0.0.1:0,to=99', '-chardev', 'vc,id=second,cols=40,rows=10', '-mon',
                  'second')) as v:
        a = Viewer(port(v))
        seen = []
        a.request(False)
        while EXTENDED_KEY not in seen:
            seen += a.update()
        a.until(has_text(0))
        first = (a.width, a.height)
        for keysym, number, down in ((0xffe3, 0x1d, 1), (0xffe9, 0x38, 1), (0x32, 0x03, 1),
                                     (0x32, 0x03, 0), (0xffe9, 0x38, 0), (0xffe3, 0x1d, 0)):
            a.numbered_key(keysym, number, down)
        a.until(lambda viewer: (viewer.width, viewer.height) != first)
        sizes = {(640, 384), (320, 160)}
        assert {first, (a.width, a.height)} == sizes
        a.close()


@test('a server for one device shows no other screen')
def _():
    with vm(['-machine', 'pc', '-nodefaults', '-device', 'VGA,id=front', '-monitor', 'vc', '-vnc',
             '127.0.0.1:0,to=99,display=front']) as v:
        a = Viewer(port(v))
        a.settle()
        first = (a.width, a.height)
        assert first != (640, 384)
        for keysym, number, down in ((0xffe3, 0x1d, 1), (0xffe9, 0x38, 1), (0x32, 0x03, 1)):
            a.numbered_key(keysym, number, down)
        a.settle()
        assert (a.width, a.height) == first
        a.close()


@test('events and queries say who looks')
def _():
    with vm(board('127.0.0.1:0,to=99,websocket=on,id=front')) as v:
        a = Viewer(port(v, 0))
        wait_for(lambda: clients(v) == 1)
        server, = v.call('query-vnc-servers')
        assert server['id'] == 'front' and server['auth'] == 'none'
        assert [s['websocket'] for s in server['server']] == [False, True]
        here = str(a.socket.getsockname()[1])
        assert server['clients'][0] == {'host': '127.0.0.1', 'service': here, 'family': 'ipv4',
                                        'websocket': False}
        assert 'default' not in hmp(v, 'info vnc') and f'127.0.0.1:{here}' in hmp(v, 'info vnc')
        a.close()
        wait_for(lambda: clients(v) == 0)
        wait_for(lambda: v.call('query-name') == {} and
                 any(e['event'] == 'VNC_DISCONNECTED' for e in v.events))
        told = [e for e in v.events if e['event'].startswith('VNC_')]
        assert [e['event'] for e in told] == ['VNC_CONNECTED', 'VNC_INITIALIZED',
                                              'VNC_DISCONNECTED']
        assert all(e['data']['client']['service'] == here for e in told)
    with vm(['-machine', 'none', '-nodefaults', '-vnc', 'none']) as v:
        assert v.call('query-vnc') == {'enabled': False, 'clients': []}
        assert v.call('query-vnc-servers') == []
        refuse(v, 'set_password', {'protocol': 'vnc', 'password': 'x'}, 'there is no VNC server')


@test('passwords: none set, set, wrong, expired, of a secret')
def _():
    with vm(board('127.0.0.1:0,to=99,password=on')) as v:
        assert v.call('query-vnc')['auth'] == 'vnc'
        assert not Viewer(port(v), password='').allowed
        v.call('set_password', {'protocol': 'vnc', 'password': 'opensesame'})
        assert Viewer(port(v), password='opensesame').allowed
        assert Viewer(port(v), password='opensesa').allowed  # eight characters count
        assert not Viewer(port(v), password='opensesA').allowed
        assert not Viewer(port(v), password='').allowed
        v.call('expire_password', {'protocol': 'vnc', 'time': 'now'})
        assert not Viewer(port(v), password='opensesa').allowed
        v.call('expire_password', {'protocol': 'vnc', 'time': '+100'})
        assert Viewer(port(v), password='opensesa').allowed
        v.call('change-vnc-password', {'password': 'other'})
        assert Viewer(port(v), password='other').allowed
        hmp(v, 'set_password vnc third keep')
        assert Viewer(port(v), password='third').allowed
        for line in ('set_password vnc fourth -d default', 'change vnc password fourth',
                     'set_password vnc fourth -d default keep'):
            assert hmp(v, line) == ''
        assert 'no VNC server' in hmp(v, 'set_password vnc x -d nobody')
        assert hmp(v, 'expire_password vnc now -d default') == ''
        assert not Viewer(port(v), password='fourth').allowed
        assert 'give the password as well' in hmp(v, 'change vnc password')
        refuse(v, 'expire_password', {'protocol': 'vnc', 'time': 'soon'}, "'soon' is no time")
        refuse(v, 'set_password', {'protocol': 'vnc', 'password': 'x', 'connected': 'disconnect'},
                 "parameter 'connected' must be 'keep' when 'protocol' is 'vnc'")
    with vm(['-object', 'secret,id=s,data=hidden'] +
            board('127.0.0.1:0,to=99,password-secret=s')) as v:
        assert Viewer(port(v), password='hidden').allowed
        assert not Viewer(port(v), password='nothing').allowed
    with vm(board()) as v:
        refuse(v, 'set_password', {'protocol': 'vnc', 'password': 'x'}, 'asks for no password')


def give(v, descriptor, **arguments):
    """add_client's reply, for a descriptor that goes along with getfd."""
    words = json.dumps({'execute': 'getfd', 'arguments': {'fdname': 'viewer'}}) + '\n'
    socket.send_fds(v.sockets[0], [words.encode()], [descriptor])
    while 'event' in (reply := json.loads(v.files[0].readline())):
        v.events.append(reply)
    assert reply == {'return': {}}, reply
    return v.raw('add_client', {'protocol': 'vnc', 'fdname': 'viewer', **arguments})


@test('a viewer that is connected already')
def _():
    with vm(board('127.0.0.1:0,to=99,password=on,connections=2')) as v:
        v.call('set_password', {'protocol': 'vnc', 'password': 'right'})
        viewers, ours = [], []
        for arguments, password, kinds in (({}, 'right', b'\2'), ({'skipauth': True}, None, b'\1'),
                                           ({'skipauth': False}, None, None)):
            here, there = socket.socketpair()
            reply = give(v, there.fileno(), **arguments)
            there.close()
            if kinds is None:
                assert 'as many viewers as it may' in reply['error']['desc'], reply
                assert here.recv(1) == b'', 'it is closed'
                here.close()
                continue
            assert reply == {'return': {}}, reply
            viewers.append(Viewer(here, password=password))
            assert viewers[-1].kinds == kinds and viewers[-1].allowed, viewers[-1].kinds
            ours.append(here)
        assert same_picture(*viewers)
        wait_for(lambda: clients(v) == 2)
        for here in ours:
            here.close()
        wait_for(lambda: not clients(v))
        # A wrong password is asked for, and not let in.
        here, there = socket.socketpair()
        assert give(v, there.fileno()) == {'return': {}}
        there.close()
        assert not Viewer(here, password='wrong').allowed
        here.close()

        def refused(part, descriptor, **arguments):
            reply = give(v, descriptor, **arguments)
            assert part in reply['error']['desc'], reply
            refuse(v, 'add_client', {'protocol': 'vnc', 'fdname': 'viewer'},
                   "File descriptor named 'viewer' has not been found")

        with open('/dev/null', 'rb') as null, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            for descriptor in null.fileno(), datagrams.fileno():
                refused('the descriptor is no stream socket', descriptor)
            refused("protocol 'x' is invalid", null.fileno(), protocol='x')
            refused('SPICE is not in use', null.fileno(), protocol='spice')
            refused("'tls' is for SPICE", null.fileno(), tls=True)
    with vm(['-machine', 'none', '-nodefaults']) as v, open('/dev/null', 'rb') as null:
        assert 'no VNC server' in give(v, null.fileno())['error']['desc']


def greeted(p):
    """A connection that was offered its security types, and these."""
    s = socket.create_connection(('127.0.0.1', p))
    s.settimeout(30)
    assert len(s.recv(12, socket.MSG_WAITALL)) == 12
    s.sendall(b'RFB 003.008\n')
    return s, s.recv(s.recv(1)[0], socket.MSG_WAITALL)


@test('a password that is asked for')
def _():
    with vm(board('127.0.0.1:0,to=99,password=on', '-monitor', 'unix:mon.sock,server=on,wait=off')
            ) as v, socket.socket(socket.AF_UNIX) as s:
        s.connect(f'{v.dir}/mon.sock')
        said = b''

        def until(part):
            nonlocal said
            while part not in said:
                said += s.recv(4096)

        until(b'(qemu) ')
        s.sendall(b'change vnc password\n')
        until(b'Password: ')
        s.sendall(b'hush\x7fzzz\x15hush!\x08\n')
        s.sendall(b'info history\n')
        until(b"'info history'")
        assert b'hush' not in said and b'****' in said, said
        assert Viewer(port(v), password='hush').allowed
        said = b''
        s.sendall(b'change vnc password\n')
        until(b'Password: ')
        s.sendall(b'\x03')
        until(b'give the password as well')
        assert Viewer(port(v), password='hush').allowed


@test('a server without a password does not open the one with it')
def _():
    with vm(board('127.0.0.1:0,to=99,password=on,id=closed', '-vnc',
                  '127.0.0.1:0,to=99,id=open')) as v:
        closed, kinds = greeted(port(v, 0, 0))
        assert kinds == b'\2'
        there, kinds = greeted(port(v, 0, 1))
        assert kinds == b'\1'
        closed.sendall(b'\1')
        assert closed.recv(1) == b''
        closed, kinds = greeted(port(v, 0, 0))
        assert kinds == b'\2'
        there.sendall(b'\1')
        assert there.recv(4, socket.MSG_WAITALL) == b'\0\0\0\0'
        closed.sendall(b'\2')
        assert len(closed.recv(16, socket.MSG_WAITALL)) == 16
        closed.sendall(bytes(16))
        assert closed.recv(8, socket.MSG_WAITALL)[:4] == b'\0\0\0\1'


@test('viewers of older versions')
def _():
    def answer(p, version, *says):
        s = socket.create_connection(('127.0.0.1', p))
        s.settimeout(30)
        got = [s.recv(12, socket.MSG_WAITALL)]
        s.sendall(version)
        for n, say in says:
            got.append(s.recv(n, socket.MSG_WAITALL))
            s.sendall(say)
        got.append(s.recv(4, socket.MSG_WAITALL))
        return got[1:]

    with vm(board()) as v:
        size = struct.pack('>HH', 640, 384)
        assert answer(port(v), b'RFB 003.003\n', (4, b'\1'))[0] == b'\0\0\0\1'
        assert answer(port(v), b'RFB 003.005\n', (4, b'\1'))[0] == b'\0\0\0\1'
        assert answer(port(v), b'RFB 003.007\n', (2, b'\1\1'))[0] == b'\1\1'
        assert len(answer(port(v), b'RFB 003.889\n', (4, b'\1'))[1]) == len(size)
        for bad in (b'RFB 004.000\n', b'RFB 003.-08\n', b'RFB xxx.yyy\n'):
            assert answer(port(v), bad) in ([b''], [b'\0\0\0\1'])
    with vm(board('127.0.0.1:0,to=99,password=on')) as v:
        v.call('set_password', {'protocol': 'vnc', 'password': 'abc'})
        for version, first in ((b'RFB 003.003\n', (4, b'')), (b'RFB 003.007\n', (2, b'\2'))):
            got = answer(port(v), version, first, (16, bytes(16)))
            assert got[0] in (b'\0\0\0\2', b'\1\2') and got[2] == b'\0\0\0\1', got


@test('a viewer that asks for a smaller picture is dropped, and nothing else')
def _():
    with vm(board()) as v:
        a = Viewer(port(v))
        a.until(has_text(0))
        for kind in (8, 15):
            b = Viewer(port(v))
            b.send(struct.pack('>BBH', kind, 2, 0))
            b.ended()
            b.close()
            wait_for(lambda: clients(v) == 1)
        a.type('info name\n')
        a.until(has_text(2))


@test('who wants to be alone: share=')
def _():
    with vm(board()) as v:
        a = Viewer(port(v))
        wait_for(lambda: clients(v) == 1)
        alone = Viewer(port(v), shared=False)
        assert a.ended()
        alone.until(has_text(0))
        b = Viewer(port(v))
        assert alone.ended()
        b.until(has_text(0))
    with vm(board('127.0.0.1:0,to=99,share=force-shared')) as v:
        a = Viewer(port(v))
        assert Viewer(port(v), shared=False).ended()
        a.until(has_text(0))
    with vm(board('127.0.0.1:0,to=99,share=ignore,connections=2')) as v:
        a, b = Viewer(port(v)), Viewer(port(v), shared=False)
        a.until(has_text(0))
        b.until(has_text(0))
        third = socket.create_connection(('127.0.0.1', port(v)))
        assert third.recv(1) == b''


def stalled_viewer(v):
    """Has seen the screen, asks for more than a socket holds, and reads none of it."""
    viewer = Viewer(port(v))
    viewer.until(has_text(0))
    for _ in range(100):
        viewer.request(False)
    return viewer


@test('a viewer that reads nothing delays no other, and is dropped')
def _():
    with vm(board()) as v:
        stalled = stalled_viewer(v)
        other = Viewer(port(v))
        for i in range(20):
            other.type('info name\n')
            other.until(has_text(2 + i))
        wait_for(lambda: clients(v) == 1)
        wait_for(lambda: 'a viewer that took nothing for 5 s was dropped' in v.said())
        other.type('info status\n')
        before = bytes(other.pixels)
        other.until(lambda viewer: viewer.pixels != before)


@test('viewers that say nonsense, or nothing')
def _():
    with vm(board('127.0.0.1:0,to=99,websocket=on')) as v:
        for p in (port(v, 0), port(v, 1)):
            for text in (b'\0' * 100, b'RFB 003.008\n\1\1' + b'\xff' * 2000, b'RFB 999.999\n',
                         b'GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n', b'\x16\x03\x01',
                         b'RFB 003.003\n\1' + b'\2' + b'\0\xff\xff' + b'\1' * 100):
                s = socket.create_connection(('127.0.0.1', p))
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
                s.close()
        silent = socket.create_connection(('127.0.0.1', port(v)))
        a = Viewer(port(v))
        a.until(has_text(0))
        # A message of the key event's that is of another kind, and an unknown message.
        b = Viewer(port(v))
        b.send(struct.pack('>BBH', 255, 7, 0))
        assert b.ended()
        c = Viewer(port(v))
        c.send(b'\xf9' * 10)
        assert c.ended()
        a.pointer(10, 10, 0xff)
        a.numbered_key(0, 0xffffffff, 1)
        a.type('info name\n')
        a.until(has_text(2))
        silent.close()


@test('the program ends while viewers look')
def _():
    with vm(board()) as v:
        a = Viewer(port(v))
        a.until(has_text(0))
        stalled = stalled_viewer(v)
        silent = socket.create_connection(('127.0.0.1', port(v)))
        # A part of the greeting, after which libvncserver itself would look for the rest for ever.
        parts = [socket.create_connection(('127.0.0.1', port(v))) for _ in range(3)]
        for n, part in enumerate(parts):
            part.sendall(b'RFB'[:n + 1])
            assert part.recv(4) == b'RFB '
        v.call('quit')
        assert v.process.wait(30) == 0, v.said()
        assert a.ended()
        silent.close()


def fetch(p, request):
    with socket.create_connection(('127.0.0.1', p)) as s:
        s.settimeout(30)
        s.sendall(request)
        data = b''
        while part := s.recv(65536):
            data += part
        return data


@test('a browser: noVNC\'s page and nothing else, then a WebSocket')
def _():
    with vm(board('127.0.0.1:0,to=99,websocket=on')) as v:
        plain, web = port(v, 0), port(v, 1)
        assert web - plain == 5700 - 5900
        head = fetch(web, b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        assert head.startswith(b'HTTP/1.1 302 ') and b'Location: /vnc.html?' in head
        for path in ('/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '//etc/passwd', '/no-such',
                     '/app/../../../etc/passwd', '/.', '/app', '/%00', '/vnc.html%00.js'):
            answer = fetch(web, f'GET {path} HTTP/1.1\r\n\r\n'.encode())
            assert answer.startswith(b'HTTP/1.1 404 '), (path, answer)
        assert fetch(web, b'POST / HTTP/1.1\r\n\r\n').startswith(b'HTTP/1.1 400 ')
        page = fetch(web, b'GET /vnc.html?x=y HTTP/1.1\r\n\r\n')
        if os.path.exists(NOVNC):
            with open(NOVNC, 'rb') as f:
                assert page.startswith(b'HTTP/1.1 200 ') and page.endswith(f.read())
            assert b'Content-Type: text/javascript' in fetch(
                web, b'GET /core/rfb.js HTTP/1.1\r\n\r\n')
        else:
            assert page.startswith(b'HTTP/1.1 404 ') and b"'novnc'" in page
        a = Viewer(web, web=True)
        a.until(has_text(0))
        a.type('info name\n')
        a.until(has_text(2))
        assert v.call('query-vnc')['clients'][0]['websocket'] is True
        b = Viewer(web, web=True, shared=False)
        assert a.ended()
        b.until(has_text(2))
        # The other way round neither port speaks.
        assert Viewer(plain).allowed
        with socket.create_connection(('127.0.0.1', plain)) as s:
            s.sendall(b'GET / HTTP/1.1\r\n\r\n')
            try:
                assert not s.recv(100).startswith(b'HTTP/1.1 2')
            except ConnectionResetError:
                pass


def novnc_in(folder):
    """A program that starts vmm where /usr/share is this folder's, or why there can be none."""
    path = f'{folder}/vmm'
    with open(path, 'w', encoding='utf-8') as script:
        script.write('#!/bin/sh\nexec unshare --mount --map-root-user sh -c \'mount --bind '
                     f'{folder}/share /usr/share && exec "$0" "$@"\' {VMM} "$@"\n')
    os.chmod(path, 0o755)
    done = subprocess.run([path, '-version'], capture_output=True, text=True, check=False)
    return (None, f'no mount namespace: {done.stderr.strip()}') if done.returncode else (path, None)


with tempfile.TemporaryDirectory(prefix='novnc-') as elsewhere:
    page = f'{elsewhere}/share/novnc'
    os.makedirs(page)
    wrapper, reason = novnc_in(elsewhere)

    @test('links out of noVNC\'s folder lead nowhere, and only files are read', skip=reason)
    def _():
        for name, text in (('vnc.html', 'the page'), ('../secret', 'not yours')):
            with open(f'{page}/{name}', 'w', encoding='ascii') as f:
                f.write(text)
        for name, target in (('inside', 'vnc.html'), ('file', '../secret'), ('folder', '..'),
                             ('absolute', '/etc/passwd'), ('twice', 'absolute'),
                             ('circle', 'circle')):
            os.symlink(target, f'{page}/{name}')
        os.mkfifo(f'{page}/pipe')
        os.mkdir(f'{page}-2')  # its name begins as the folder's
        os.symlink('../novnc-2/secret', f'{page}/beside')
        shutil.copy(f'{elsewhere}/share/secret', f'{page}-2')
        with vm(board('127.0.0.1:0,to=99,websocket=on'), wrapper) as v:
            web = port(v, 1)
            for path in ('/vnc.html', '/inside'):
                assert fetch(web, f'GET {path} HTTP/1.1\r\n\r\n'.encode()).endswith(b'the page')
            for path in ('/file', '/folder/secret', '/absolute', '/twice', '/circle', '/pipe',
                         '/folder', '/beside'):
                answer = fetch(web, f'GET {path} HTTP/1.1\r\n\r\n'.encode())
                assert answer.startswith(b'HTTP/1.1 404 '), (path, answer)


def refused_origin(p, origin):
    with socket.create_connection(('127.0.0.1', p)) as s:
        s.settimeout(30)
        try:
            WebSocket(s, p, origin)
        except AssertionError as e:
            return '403 Forbidden' in str(e)
        return False


@test('a page of another host has no way in without a password')
def _():
    with vm(board('127.0.0.1:0,to=99,websocket=on')) as v:
        assert refused_origin(port(v, 1), 'example.org')
        assert refused_origin(port(v, 1), 'localhost.example.org')
        assert not refused_origin(port(v, 1), 'LOCALHOST')
    with vm(board('127.0.0.1:0,to=99,websocket=on,password=on')) as v:
        assert not refused_origin(port(v, 1), 'example.org')


def upgrade(to, *headers):
    lines = ['GET /a HTTP/1.1', 'Host: localhost', 'Upgrade: websocket', *headers, '', '']
    with socket.create_connection(('127.0.0.1', to)) as s:
        s.sendall('\r\n'.join(lines).encode())
        return s.recv(4096)


@test('requests for a WebSocket: the key is answered, and headers count once')
def _():
    key, version = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'
    accept = b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='  # RFC 6455, 1.3
    with vm(board('127.0.0.1:0,to=99,websocket=on')) as v:
        web = port(v, 1)
        assert accept in upgrade(web, key, version)
        assert accept in upgrade(web, key, version, 'GET /b HTTP/1.1', 'Host: b', 'Origin: http://localhost',
                                 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==')
        assert b'Sec-WebSocket-Protocol: binary' in upgrade(
            web, key, version, 'Sec-WebSocket-Protocol: binary, base64')
        for headers in ((version,), (key,), (key, 'Sec-WebSocket-Version: 8'),
                        ('Sec-WebSocket-Key: short', version)):
            answer = upgrade(web, *headers)
            assert answer.startswith(b'HTTP/1.1 400 '), (headers, answer)


@test('addresses: to=, in use, UNIX, reverse, several servers')
def _():
    with vm(board('127.0.0.1:0,to=99')) as v:
        taken = port(v) - 5900
        fails(board(f'127.0.0.1:{taken}'),
              f'-vnc 127.0.0.1:{taken}: use another display, or to=N to try those up to N: Failed '
              f'to listen on 127.0.0.1:{port(v)}: Address already in use')
        fails(board('unix:/nowhere/v'), '-vnc unix:/nowhere/v: Failed to bind socket')
        fails(board(f'127.0.0.1:{taken},to={taken}'), 'Address already in use')
        with vm(board(f'127.0.0.1:{taken},to=99')) as w:
            assert port(w) - 5900 > taken
    with vm(board('unix:v.sock')) as v:
        info = v.call('query-vnc')
        assert info['family'] == 'unix' and info['service'] == 'v.sock'
        a = Viewer(f'{v.dir}/v.sock')
        a.until(has_text(0))
        v.call('quit')
        v.process.wait(30)
        assert not os.path.exists(f'{v.dir}/v.sock')
    with vm(board('unix:v.sock')) as v:
        os.unlink(f'{v.dir}/v.sock')
        with open(f'{v.dir}/v.sock', 'w', encoding='ascii'):
            pass
        v.call('quit')
        v.process.wait(30)
        assert os.path.exists(f'{v.dir}/v.sock')  # something else by now
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        listening.listen(1)
        where = f'127.0.0.1:{listening.getsockname()[1]}'
        with vm(board(f'{where},reverse=on')) as v:
            a = Viewer(listening.accept()[0])
            a.until(has_text(0))
    with vm(board('127.0.0.1:0,to=99', '-vnc', '127.0.0.1:0,to=99,id=two,password=on')) as v:
        assert [s['auth'] for s in v.call('query-vnc-servers')] == ['none', 'vnc']
        v.call('set_password', {'protocol': 'vnc', 'password': 'x', 'display': 'two'})
        assert Viewer(port(v, server=1), password='x').allowed
        for words, error in ((['-vnc', ':0,tls-creds=t'], 'VeNCrypt'),
                             (['-vnc', 'nowhere'], 'expected HOST:DISPLAY'),
                             (['-vnc', ':70000'], 'out of range'),
                             (['-vnc', 'unix:x,websocket=on'], 'a browser cannot connect'),
                             (['-vnc', ':0,nonsense=1'], 'nonsense'),
                             (['-vnc', ':0,display=none'], "Device 'none' not found"),
                             (['-display', 'gtk'], 'vncviewer'),
                             (['-display', 'vnc'], '-display vnc=:0'),
                             (['-display', 'other'], 'no such display'),
                             (['-k', 'xx'], 'en-us')):
            fails(['-machine', 'none', '-nodefaults'] + words, error)


@test('a viewer without key numbers: characters by the keyboard layout')
def _():
    with vm(board('127.0.0.1:0,to=99', '-k', 'de')) as v:
        a = Viewer(port(v), encodings=(RAW, POINTER_MOTION))
        a.until(lambda viewer: any(viewer.pixels))
        a.type('info name')
        a.key(RETURN)
        a.key(0xdf)  # a letter that only this layout has
        a.until(lambda viewer: any(viewer.line(2)))


missing = [name for name in ('vncsnapshot', 'djpeg') if not shutil.which(name)]


@test('vncsnapshot takes the picture that is on the screen',
      skip=missing and f'{missing[0]} is not installed')
def _():
    with vm(board('127.0.0.1:0,to=99,password=on')) as v:
        v.call('set_password', {'protocol': 'vnc', 'password': 'opensesa'})
        a = Viewer(port(v), password='opensesa')
        a.until(has_text(0))
        a.type('info name\n')
        a.until(has_text(2))
        a.settle()
        # The password, as vncpasswd's files have it: DES by a key that never changes.
        with open(f'{v.dir}/password', 'wb') as f:
            f.write(bytes.fromhex('a7090ced1058efdc'))
        done = subprocess.run(['vncsnapshot', '-passwd', f'{v.dir}/password', '-nojpeg',
                               f'127.0.0.1::{port(v)}', f'{v.dir}/picture.jpg'],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done
        ppm = subprocess.run(['djpeg', '-ppm', f'{v.dir}/picture.jpg'], capture_output=True,
                             check=True).stdout
        here = without_fourth(bytes(a.pixels))
        swapped = bytearray(len(here))
        for colour in range(3):
            swapped[colour::3] = here[2 - colour::3]
        assert difference(read_ppm(ppm), (a.width, a.height, bytes(swapped))) <= LOSS


finish()
