#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Block exports and the NBD server of a running machine: the commands' words beside QEMU's, and what
clients get while the graph changes under them. Called with the paths of vmm and vmm-img; TAP on
stdout."""
import json
import os
import re
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'img'))
import nbdtest as nbd  # noqa: E402
from nbdtest import Client  # noqa: E402

VMM_IMG = os.path.abspath(sys.argv[2])
MIB = 1 << 20


def board(work):
    for name, fmt in ('a', 'qcow2'), ('b', 'raw'), ('c', 'raw'):
        subprocess.run([VMM_IMG, 'create', '-q', '-f', fmt, f'{work}/{name}', '4M'], check=True)
    return ['-S', '-machine', 'pc', '-m', '64', '-nodefaults', '-object', 'iothread,id=io0',
            '-drive', f'file={work}/a,if=none,id=d0,node-name=n0', '-device',
            'virtio-blk-pci,drive=d0,share-rw=on,id=disk',
            '-blockdev', f'driver=raw,node-name=b,file.driver=file,file.filename={work}/b',
            '-blockdev', 'driver=raw,node-name=ro,read-only=on,file.driver=file,'
            f'file.filename={work}/c', '-drive', 'if=none,id=cd,media=cdrom', '-device',
            'ide-cd,drive=cd']


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line})


def start(v, path):
    return v.raw('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': path}}})


def commands(v, work):
    """Answers that do not depend on paths."""
    said = []

    def keep(command, reply):
        kept = reply.get('return', reply.get('error', {}).get('desc')) \
            if isinstance(reply, dict) else reply
        said.append((command, re.sub('#block[0-9]+', '#block', json.dumps(kept, sort_keys=True)).replace(work, 'W')))

    def qmp(command, **arguments):
        arguments = {k.replace('_', '-'): x for k, x in arguments.items()}
        keep((command, arguments), v.raw(command, arguments))

    path = f'{work}/s'
    qmp('nbd-server-stop')
    qmp('nbd-server-add', device='d0')
    qmp('block-export-add', type='nbd', id='e0', node_name='n0')
    keep('start', start(v, path))
    keep('start', start(v, path))
    qmp('nbd-server-start', addr={'type': 'unix', 'data': {'path': '/nobody/s'}})
    qmp('nbd-server-add', device='nope')
    qmp('nbd-server-add', device='d0')
    qmp('nbd-server-add', device='d0')
    qmp('nbd-server-add', device='n0', name='other', description='text')
    qmp('nbd-server-add', device='ro', writable=True)
    qmp('block-export-add', type='nbd', id='e0', node_name='nope')
    qmp('block-export-add', type='nbd', id='e0', node_name='ro', writable=True)
    qmp('block-export-add', type='nbd', id='1x', node_name='b')
    qmp('block-export-add', type='nbd', id='e0', node_name='b', name='d0')
    qmp('block-export-add', type='nbd', id='e0', node_name='b', name='b', iothread='nope')
    qmp('block-export-add', type='nbd', id='e0', node_name='b', iothread='io0', writable=True)
    qmp('block-export-add', type='nbd', id='e0', node_name='b', name='x')
    qmp('block-export-add', type='nbd', id='e1', node_name='b', name='y', bitmaps=['none'])
    qmp('query-block-exports')
    qmp('nbd-server-remove', name='nope')
    qmp('nbd-server-remove', name='other')
    qmp('block-export-del', id='nope')
    qmp('block-export-del', id='ro', mode='hard')
    for line in ('nbd_server_add d0 more', 'nbd_server_add nope', 'nbd_server_add -w b third',
                 'nbd_server_remove nope', 'nbd_server_remove third', 'nbd_server_remove -f more',
                 'nbd_server_start -w unix:x', 'nbd_server_start unix:x', 'nbd_server_stop',
                 'nbd_server_stop'):
        keep(line, hmp(v, line))
    qmp('query-block-exports')
    keep('start', hmp(v, f'nbd_server_start -a unix:{work}/s2'))
    said.append([(e['id'], e['type']) for e in v.call('query-block-exports')])
    keep('stop', hmp(v, 'nbd_server_stop'))
    qmp('query-block-exports')
    said.append(sorted(e['data']['id'] for e in v.events if e['event'] == 'BLOCK_EXPORT_DELETED'))
    said.append([os.path.exists(f'{work}/{name}') for name in ('s', 's2')])
    return said


@test('the commands answer as QEMU does', skip=None if QEMU else 'QEMU is not installed')
def _():
    answers = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work, vm(board(work), binary, binary == VMM) as v:
            answers.append(commands(v, work))
    for want, have in zip(*answers):
        assert want == have, f'{have}, QEMU: {want}'


def served(v, work, **options):
    path = f'{work}/s'
    assert start(v, path) == {'return': {}}
    v.call('block-export-add', {'type': 'nbd', 'id': 'e0', 'node-name': 'b', 'writable': True,
                                **{k.replace('_', '-'): x for k, x in options.items()}})
    return path


@test('an export in use: its node stays, and its length; clients go on while others change the graph')
def _():
    for options in {}, {'iothread': 'io0'}:
        with tempfile.TemporaryDirectory() as work, vm(board(work)) as v:
            path = served(v, work, **options)
            with Client(path).with_structured().ready('b') as c:
                assert c.do(nbd.WRITE, 0, 4096, 0, b'x' * 4096) == 0
                v.refuse('blockdev-del', {'node-name': 'b'}, "Node b is in use by export 'e0'")
                v.refuse('block-export-del', {'id': 'e0'}, "export 'e0' still in use: mode 'hard' "
                         "sends its clients away")
                if options:
                    v.refuse('object-del', {'id': 'io0'},
                             "object 'io0' is in use, can not be deleted")
                reply = v.raw('block_resize', {'node-name': 'b', 'size': MIB})
                assert 'export' in reply['error']['desc'], reply
                subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2', f'{work}/o', '4M'],
                               check=True)
                for i in range(30):
                    c.request(nbd.WRITE, 8192 * (i + 1), 4096, cookie=i, data=bytes([i]) * 4096)
                v.call('blockdev-add', {'driver': 'qcow2', 'node-name': 'o', 'backing': None,
                                        'file': {'driver': 'file', 'filename': f'{work}/o'}})
                v.call('blockdev-snapshot', {'node': 'b', 'overlay': 'o'})
                for i in range(30):
                    assert c.simple()[0] == 0
                assert v.call('query-block-exports')[0]['node-name'] == 'o'
                for i in range(30):
                    assert c.read(8192 * (i + 1), 4096) == bytes([i]) * 4096
                assert c.do(nbd.WRITE, 0, 1, 0, b'o') == 0
                with open(f'{work}/b', 'rb') as file:
                    assert file.read(1) == b'x', 'written below the overlay'
                v.call('block-export-del', {'id': 'e0', 'mode': 'hard'})
                assert c.is_closed()
                v.wait('BLOCK_EXPORT_DELETED')
            assert v.call('query-block-exports') == []
            v.call('object-del', {'id': 'io0'})


@test('bitmaps of an export are busy, and tell what was written')
def _():
    with tempfile.TemporaryDirectory() as work, vm(board(work)) as v:
        v.call('block-dirty-bitmap-add', {'node': 'b', 'name': 'bits'})
        path = served(v, work, bitmaps=['bits'], allocation_depth=True)
        v.refuse('block-dirty-bitmap-remove', {'node': 'b', 'name': 'bits'},
                 "Bitmap 'bits' is currently in use by another operation and cannot be used")
        with Client(path).with_structured() as c:
            names = [b'base:allocation', b'qemu:allocation-depth', b'qemu:dirty-bitmap:bits']
            assert [body[4:] for _, body in c.meta(nbd.LIST_META, 'b')[:-1]] == names
            assert [body[4:] for _, body in c.meta(nbd.LIST_META, 'b', 'qemu:')[:-1]] == names[1:]
            chosen = c.meta(nbd.SET_META, 'b', 'qemu:dirty-bitmap:bits')
            number = int.from_bytes(chosen[0][1][:4], 'big')
            c.ready('b')
            assert c.do(nbd.WRITE, 65536 * 3 + 5, 10, 0, b'0123456789') == 0
            assert c.do(nbd.ZEROES, 65536 * 9, 131072, 0) == 0
            c.request(nbd.STATUS, 1000, 20 * 65536)
            (kind, body), = c.chunks()
            numbers = [int.from_bytes(body[i:i + 4], 'big') for i in range(0, len(body), 4)]
            assert kind == 5 and numbers[0] == number
            assert list(zip(numbers[1::2], numbers[2::2])) == [
                (3 * 65536 - 1000, 0), (65536, 1), (5 * 65536, 0), (131072, 1),
                (9 * 65536 + 1000, 0)], numbers
        v.call('nbd-server-stop')
        v.call('block-dirty-bitmap-remove', {'node': 'b', 'name': 'bits'})


@test('who may come in: objects, and a server that could not tell')
def _():
    with tempfile.TemporaryDirectory() as work, vm(board(work)) as v:
        rule = {'match': '*CN=fred', 'format': 'glob', 'policy': 'allow'}
        v.call('object-add', {'qom-type': 'authz-list', 'id': 'a', 'policy': 'deny',
                              'rules': [rule]})
        v.call('object-add', {'qom-type': 'authz-simple', 'id': 's', 'identity': 'CN=fred'})
        v.refuse('object-add', {'qom-type': 'authz-list', 'id': 'b', 'rules': [{**rule, 'x': 1}]},
                 "Parameter 'rules[0].x' is unexpected")
        v.refuse('object-add', {'qom-type': 'authz-list', 'id': 'b', 'rules': rule},
                 "Invalid parameter type for 'rules', expected: array")
        assert v.call('qom-get', {'path': '/objects/a', 'property': 'policy'}) == 'deny'
        assert v.call('qom-get', {'path': '/objects/a', 'property': 'rules'}) == [rule]
        addr = {'type': 'unix', 'data': {'path': f'{work}/s'}}
        v.refuse('nbd-server-start', {'addr': addr, 'tls-authz': 'a'},
                 "'tls-authz' needs 'tls-creds': without TLS nobody says who he is")
        v.call('object-add', {'qom-type': 'tls-creds-anon', 'id': 't', 'endpoint': 'server'})
        reply = v.raw('nbd-server-start', {'addr': addr, 'tls-creds': 't', 'tls-authz': 'a'})
        assert 'tls-creds-x509 with verify-peer=on' in reply['error']['desc'], reply
        for name in 'a', 's', 't':
            v.call('object-del', {'id': name})


def media(binary, work):
    """What becomes of exports, and of their clients, when disks lose their media."""
    seen = []
    with vm(board(work) + ['-drive', f'file={work}/c,if=none,id=x,format=raw,media=cdrom', '-device',
                           'ide-cd,drive=x,id=tray'], binary, binary == VMM) as v:
        path = f'{work}/s'
        assert start(v, path) == {'return': {}}

        def state():
            seen.append(sorted(e['id'] for e in v.call('query-block-exports')))

        def add(device, **options):
            v.call('nbd-server-add', {'device': device, **options})

        for change in (('eject', {'id': 'tray', 'force': True}),
                       ('blockdev-change-medium', {'id': 'tray', 'filename': f'{work}/c',
                                                   'format': 'raw'}),
                       ('eject', {'id': 'tray', 'force': True})):
            v.call('blockdev-change-medium', {'id': 'tray', 'filename': f'{work}/c',
                                              'format': 'raw'})
            add('x')
            add('d0', writable=True)
            medium = next(b['inserted']['node-name'] for b in v.call('query-block')
                          if b['device'] == 'x')
            v.call('block-export-add', {'type': 'nbd', 'id': 'kept', 'node-name': medium,
                                        'name': 'kept'})
            state()
            with Client(path).ready('x') as c, Client(path).ready('kept') as other, \
                    Client(path).ready('d0') as third:
                assert c.read(0, 512) == other.read(0, 512) == bytes(512)
                v.events.clear()
                v.call(*change)
                assert c.is_closed()
                v.wait('BLOCK_EXPORT_DELETED')
                assert other.read(512, 512) == bytes(512), 'the node has gone under its export'
                assert third.do(nbd.WRITE, 0, 512, 0, b'd' * 512) == 0
                state()
            for name in 'kept', 'd0':
                v.events.clear()
                v.call('block-export-del', {'id': name, 'mode': 'hard'})
                v.wait('BLOCK_EXPORT_DELETED')
        add('d0', writable=True)
        with Client(path).ready('d0') as c:
            assert c.read(0, 512) == b'd' * 512
            v.events.clear()
            assert hmp(v, 'drive_del d0') == ''
            assert c.is_closed()
            v.wait('BLOCK_EXPORT_DELETED')
        state()
    return seen


@test('an export of a drive goes with the medium, and one of a node does not')
def _():
    answers = []
    for binary in [QEMU, VMM] if QEMU else [VMM]:
        with tempfile.TemporaryDirectory() as work:
            answers.append(media(binary, work))
    with_drive, without = ['d0', 'kept', 'x'], ['d0', 'kept']
    assert answers == [[with_drive, without] * 3 + [[]]] * len(answers), answers


@test('quit with clients, and with requests on their way')
def _():
    for options in {}, {'iothread': 'io0'}:
        with tempfile.TemporaryDirectory() as work, vm(board(work)) as v:
            path = served(v, work, **options)
            clients = [Client(path).ready('b') for _ in range(5)] + [Client(path)]
            for c in clients[:-1]:
                for i in range(20):
                    c.request(nbd.WRITE, 65536 * i, 65536, cookie=i, data=b'q' * 65536)
            v.call('quit')
            assert v.process.wait(60) == 0
            assert not os.path.exists(path)
            for c in clients:
                c.sock.close()


finish()
