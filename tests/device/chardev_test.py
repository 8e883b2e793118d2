#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""chardev-add of sockets that take their time, and other commands that wait: the program does not.
Called with the path of vmm; TAP on stdout."""
import base64
import os
import socket

from qmp_client import Lines, finish, test, vm

BOARD = ['-machine', 'none', '-nodefaults', '-chardev', 'socket,path=other,id=o,server=on,wait=off',
         '-mon', 'chardev=o,mode=control']


def send(v, command, arguments):
    v.files[0].write(f'{{"execute":"{command}","arguments":{arguments}}}\r\n')


class Other:
    """A second monitor."""

    def __init__(self, v):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(f'{v.dir}/other')
        self.file = Lines(self.socket)
        self.file.readline()
        self.say('qmp_capabilities')

    def ask_until_listening(self, path):
        """The monitor answers at least thrice while the other's command waits."""
        asked = 0
        while asked < 3 or not os.path.exists(path):
            answer = self.say('query-name')
            assert answer == '{"return": {}}\r\n', answer
            asked += 1

    def say(self, command):
        self.file.write(f'{{"execute":"{command}"}}\r\n')
        return self.answer()

    def answer(self):
        """Events may come at any time: that of the start does on a busy host."""
        line = self.file.readline()
        while '"event"' in line:
            line = self.file.readline()
        return line


def reply(v):
    v.sockets[0].settimeout(60)
    line = v.files[0].readline()
    while '"event"' in line:
        line = v.files[0].readline()
    return line


def add_server(v, other):
    """Begins to add 'c', a server that waits for its client."""
    send(v, 'chardev-add', '{"id":"c","backend":{"type":"socket","data":{"wait":true,'
         '"addr":{"type":"unix","data":{"path":"c"}}}}}')
    other.ask_until_listening(f'{v.dir}/c')


def add_client(v, port):
    """Begins to add 'c', a client of a server on this host."""
    send(v, 'chardev-add', '{"id":"c","backend":{"type":"socket","data":{"server":false,'
         f'"addr":{{"type":"inet","data":{{"host":"127.0.0.1","port":"{port}"}}}}}}}}}}')


def quit_meanwhile(v, other):
    other.say('quit')
    assert "chardev 'c' was not opened: the program ends" in reply(v)
    status = v.process.wait(30)
    assert status == 0, f'exit status {status}: {v.said()}'


@test('a server that waits for its client')
def _():
    with vm(BOARD) as v:
        other = Other(v)
        add_server(v, other)
        client = socket.socket(socket.AF_UNIX)
        client.connect(f'{v.dir}/c')
        assert reply(v) == '{"return": {}}\r\n'
        assert '"unix:c,server=on"' in other.say('query-chardev')
        client.close()


@test('the program ends while a server waits for its client')
def _():
    with vm(BOARD) as v:
        other = Other(v)
        add_server(v, other)
        quit_meanwhile(v, other)
        assert not os.path.exists(f'{v.dir}/c'), 'the socket is still there'


@test('a server that waits is removed by another monitor')
def _():
    with vm(BOARD) as v:
        other = Other(v)
        add_server(v, other)
        other.file.write('{"execute":"chardev-remove","arguments":{"id":"d"}}\r\n')
        assert "Chardev 'd' not found" in other.answer()
        other.file.write('{"execute":"chardev-remove","arguments":{"id":"c"}}\r\n')
        assert other.answer() == '{"return": {}}\r\n'
        assert "chardev 'c' was not opened: 'chardev-remove' came first" in reply(v)
        assert not os.path.exists(f'{v.dir}/c'), 'the socket is still there'
        v.call('chardev-add', {'id': 'c', 'backend': {'type': 'null', 'data': {}}})


@test('an id that another command has taken meanwhile')
def _():
    with vm(BOARD) as v:
        other = Other(v)
        add_server(v, other)
        other.file.write('{"execute":"chardev-add","arguments":'
                         '{"id":"c","backend":{"type":"null","data":{}}}}\r\n')
        assert other.say('query-name') == '{"return": {}}\r\n'  # the answer to chardev-add
        assert other.answer() == '{"return": {}}\r\n'
        client = socket.socket(socket.AF_UNIX)
        client.connect(f'{v.dir}/c')
        assert "Duplicate ID 'c' for chardev" in reply(v)


def full_server():
    """A server whose backlog is full, and the clients in there: the next one gets no answer."""
    server = socket.socket()
    server.bind(('127.0.0.1', 0))
    server.listen(0)
    clients = []
    for _ in range(4):
        clients.append(socket.socket())
        clients[-1].setblocking(False)
        clients[-1].connect_ex(server.getsockname())
    return server, clients


@test('a client whose server does not answer yet')
def _():
    server, clients = full_server()
    port = server.getsockname()[1]
    with vm(BOARD) as v:
        other = Other(v)
        add_client(v, port)
        for _ in range(3):
            assert other.say('query-name') == '{"return": {}}\r\n'
        assert '"c"' not in other.say('query-chardev')
        server.close()
        for c in clients:
            c.close()
        assert f"Failed to connect to '127.0.0.1:{port}': Connection refused" in reply(v)
        assert other.say('query-name') == '{"return": {}}\r\n'


@test('the program ends while a client waits for its server')
def _():
    server, clients = full_server()
    port = server.getsockname()[1]
    with vm(BOARD) as v:
        other = Other(v)
        add_client(v, port)
        assert other.say('query-name') == '{"return": {}}\r\n'
        quit_meanwhile(v, other)
    server.close()
    for c in clients:
        c.close()


@test('a client that is refused, and one that is let in')
def _():
    with socket.socket() as server, vm(BOARD) as v:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
        backend = {'type': 'socket', 'data': {'server': False, 'addr': {
            'type': 'inet', 'data': {'host': '127.0.0.1', 'port': str(port)}}}}
        v.refuse('chardev-add', {'id': 'c', 'backend': backend},
                 f"Failed to connect to '127.0.0.1:{port}': Connection refused")
        server.listen(1)
        v.call('chardev-add', {'id': 'c', 'backend': backend})
        name, = [c['filename'] for c in v.call('query-chardev') if c['label'] == 'c']
        assert name.endswith(f' <-> 127.0.0.1:{port}'), name
        v.call('chardev-remove', {'id': 'c'})



SERIAL = ['-machine', 'pc', *BOARD[2:]] + ['-chardev', 'ringbuf,id=c', '-device', 'isa-serial,chardev=c,id=uart',
                  '-chardev', 'null,id=muxed,mux=on']
RING = {'type': 'ringbuf', 'data': {'size': 64}}


def out(v, text):
    for c in text:
        v.qtest(f'outb 0x3f8 {ord(c)}')


@test('pmemsave to a pipe that nobody reads yet')
def _():
    with vm(['-machine', 'pc', *BOARD[2:], '-m', '4']) as v:
        other = Other(v)
        os.mkfifo(f'{v.dir}/pipe')
        send(v, 'pmemsave', '{"val":0,"size":3145729,"filename":"pipe"}')
        for _ in range(3):
            assert other.say('query-name') == '{"return": {}}\r\n'
        with open(f'{v.dir}/pipe', 'rb') as pipe:
            assert len(pipe.read()) == 3145729
        assert reply(v) == '{"return": {}}\r\n'


@test('chardev-change: a serial port goes on with another backend')
def _():
    with vm(SERIAL) as v:
        out(v, 'one')
        v.call('chardev-change', {'id': 'c', 'backend': {'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': 's'}}}}})
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(f'{v.dir}/s')
        client.send(b'in')
        said = ''
        while len(said) < 2:  # the guest polls its line status
            if int(v.qtest('inb 0x3fd'), 16) & 1:
                said += chr(int(v.qtest('inb 0x3f8'), 16))
        assert said == 'in', said
        out(v, 'two')  # now that the client has been accepted
        assert client.recv(3, socket.MSG_WAITALL) == b'two'
        v.call('chardev-change', {'id': 'c', 'backend': RING})
        assert client.recv(1) == b'', 'the old one is closed'
        out(v, 'three')
        assert v.call('ringbuf-read', {'device': 'c', 'size': 9}) == 'three'
        assert [x for x in v.call('query-chardev') if x['label'] == 'c'][0]['filename'] == 'ringbuf'


@test('chardev-change: what the old backend has not taken yet goes to the new one')
def _():
    with vm(['-machine', 'pc', *BOARD[2:], '-chardev', 'socket,path=s,server=on,wait=off,id=c',
             '-device', 'isa-debugcon,chardev=c']) as v:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(f'{v.dir}/s')
        while {'label': 'c', 'filename': 'unix:s,server=on', 'frontend-open': True} not in \
                v.call('query-chardev'):
            pass  # the client has not been accepted yet
        sent = [n * n % 251 for n in range(2000)]  # a socket's buffer is full after hundreds
        for byte in sent:
            v.qtest(f'outb 0xe9 {byte}')
        v.call('chardev-change', {'id': 'c', 'backend': {'type': 'ringbuf', 'data': {'size': 4096}}})
        v.qtest('outb 0xe9 65')
        early = b''
        while piece := client.recv(4096):
            early += piece
        late = base64.b64decode(
            v.call('ringbuf-read', {'device': 'c', 'size': 4096, 'format': 'base64'}))
        assert 0 < len(early) < len(sent), len(early)
        assert early + late == bytes(sent) + b'A', f'{len(early)} and {len(late)} bytes'


@test('chardev-change: what is refused leaves everything as it is')
def _():
    with vm(SERIAL) as v:
        null = {'type': 'null', 'data': {}}
        for name, backend, why in (
                ('no', null, "Chardev 'no' does not exist"),
                ('m', null, 'Chardev user does not support chardev hotswap'),
                ('muxed', null, 'Mux device hotswap not supported yet'),
                ('c', {'type': 'file', 'data': {'out': 'no/such'}}, "Could not open 'no/such'"),
                ('c', {'type': 'ringbuf', 'data': {'size': 63}}, 'size of ringbuf chardev must be')):
            reply_ = v.raw('chardev-change', {'id': name, 'backend': backend})
            assert why in reply_['error']['desc'], reply_
        labels = sorted(x['label'] for x in v.call('query-chardev'))
        out(v, 'x')
        assert v.call('ringbuf-read', {'device': 'c', 'size': 9}) == 'x'
        assert 'c, changed' not in labels, labels
        hmp = v.call('human-monitor-command', {'command-line': 'chardev-change c null,mux=on'})
        assert hmp == 'Error: Mux device hotswap not supported yet\r\n', hmp
        hmp = v.call('human-monitor-command', {'command-line': 'chardev-change c null'})
        assert hmp == '', hmp
        hmp = v.call('human-monitor-command', {'command-line': 'chardev-change c'})
        assert 'expected the id' in hmp, hmp
        hmp = v.call('human-monitor-command', {'command-line': 'chardev-change'})
        assert 'expected the id' in hmp, hmp


def change_to_server(v, other):
    """Begins to make 'c' a server that waits for its client."""
    send(v, 'chardev-change', '{"id":"c","backend":{"type":"socket","data":{"wait":true,'
         '"addr":{"type":"unix","data":{"path":"s"}}}}}')
    other.ask_until_listening(f'{v.dir}/s')


@test('chardev-change: another change comes first while the new backend waits')
def _():
    with vm(SERIAL) as v:
        other = Other(v)
        change_to_server(v, other)
        other.file.write('{"execute":"chardev-change","arguments":'
                         '{"id":"c","backend":{"type":"null","data":{}}}}\r\n')
        assert other.answer() == '{"return": {}}\r\n'
        client = socket.socket(socket.AF_UNIX)
        client.connect(f'{v.dir}/s')
        assert "Chardev 'c' was changed or removed by another command" in reply(v)


@test('chardev-change: the wait for the new backend ends with chardev-remove')
def _():
    for board, stays in ((SERIAL, True), (BOARD + ['-chardev', 'null,id=c'], False)):
        with vm(board) as v:
            other = Other(v)
            change_to_server(v, other)
            other.file.write('{"execute":"chardev-remove","arguments":{"id":"c"}}\r\n')
            assert other.answer() == '{"return": {}}\r\n'
            assert "was not opened: 'chardev-remove' came first" in reply(v)
            assert not os.path.exists(f'{v.dir}/s'), 'the socket is still there'
            assert ('c' in [x['label'] for x in v.call('query-chardev')]) == stays
            if stays:
                out(v, 'x')
                assert v.call('ringbuf-read', {'device': 'c', 'size': 9}) == 'x'
                v.refuse('chardev-remove', {'id': 'c'}, "Chardev 'c' is busy")


finish()
