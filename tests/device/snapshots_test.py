#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of a running machine's disks, internal and external, and transactions of them: the
commands' words, what they return and what is in the images afterwards. Called with the paths of vmm and vmm-img; TAP on stdout."""
import os
import re
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
CREATE, DELETE = 'blockdev-snapshot-internal-sync', 'blockdev-snapshot-delete-internal-sync'


def img(*args):
    return subprocess.run([VMM_IMG] + list(args), check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def board(work):
    img('create', '-q', '-f', 'qcow2', f'{work}/a', '1M')
    img('create', '-q', '-f', 'qcow2', f'{work}/ro', '1M')
    img('create', '-q', '-f', 'raw', f'{work}/r', '1M')
    return ['-S', '-machine', 'pc', '-m', '64', '-nodefaults', '-drive',
            f'file={work}/a,if=none,id=d0,node-name=n0', '-device', 'virtio-blk-pci,drive=d0',
            '-drive', f'file={work}/r,format=raw,if=none,id=r0', '-drive',
            f'file={work}/ro,if=none,id=ro,read-only=on', '-drive',
            'if=none,id=cd,media=cdrom', '-device', 'ide-cd,drive=cd']


def names(text):
    """The id and the name of each snapshot in a list."""
    lines = [line.split() for line in text.replace('\r', '').splitlines()]
    return [words[:2] for words in lines if len(words) > 4 and words[0].isdigit()]


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line})


def commands(v):
    """Answers that do not depend on the time."""
    said = []

    def qmp(command, **arguments):
        reply = v.raw(command, arguments)
        kept = reply.get('return', reply.get('error', {}).get('desc'))
        if isinstance(kept, dict):
            kept = {k: x for k, x in kept.items() if not k.startswith('date')}
        said.append((command, arguments, kept))

    qmp(CREATE, device='d0', name='one')
    qmp(CREATE, device='d0', name='one')
    qmp(CREATE, device='n0', name='two')
    qmp(CREATE, device='d0', name='')
    for device in 'nope', 'r0', 'cd', 'ro':
        qmp(CREATE, device=device, name='x')
    qmp(CREATE, device='d0')
    for line in ('snapshot_blkdev_internal d0 three', 'snapshot_blkdev_internal d0 three',
                 'snapshot_blkdev_internal nope x', 'snapshot_delete_blkdev_internal d0 nope',
                 'snapshot_delete_blkdev_internal d0 three 9',
                 'snapshot_delete_blkdev_internal d0 three 3',
                 'snapshot_delete_blkdev_internal nope three'):
        said.append((line, hmp(v, line)))
    said.append(names(hmp(v, 'info snapshots')))
    qmp(DELETE, device='d0')
    qmp(DELETE, device='d0', id='1', name='two')
    qmp(DELETE, device='d0', id='77')
    qmp(DELETE, device='d0', name='nope')
    qmp(DELETE, device='nope', name='x')
    qmp(DELETE, device='cd', name='x')
    qmp(DELETE, device='d0', id='1')
    qmp(DELETE, device='d0', id='2', name='two')
    said.append(names(hmp(v, 'info snapshots')))
    qmp(CREATE, device='d0', name='last')
    return said


@test('the commands answer as QEMU does', skip=None if QEMU else 'QEMU is not installed')
def _():
    answers = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work, vm(board(work), binary, binary == VMM) as v:
            answers.append(commands(v))
    for want, have in zip(*answers):
        assert want == have, f'{have}, QEMU: {want}'
    assert names('1 a b c d') and ['1', 'one'] in answers[0][16], answers[0][16]


@test('what was made is in the image')
def _():
    with tempfile.TemporaryDirectory() as work:
        with vm(board(work)) as v:
            commands(v)
            v.call(CREATE, {'device': 'd0', 'name': 'more'})
            node, = [n for n in v.call('query-named-block-nodes') if n['node-name'] == 'n0']
            assert [s['name'] for s in node['image']['snapshots']] == ['last', 'more'], node
            v.refuse(DELETE, {'device': 'r0', 'name': 'x'}, "Block format 'raw' used by device "
                     "'r0' does not support internal snapshots")
        assert names(img('snapshot', '-l', f'{work}/a')) == [['1', 'last'], ['2', 'more']]
        img('check', f'{work}/a')


SYNC, CHANGE = 'blockdev-snapshot-sync', 'change-backing-file'


def external_board(work):
    img('create', '-q', '-f', 'raw', f'{work}/oraw', '1M')
    img('create', '-q', '-f', 'qcow2', f'{work}/ov', '1M')
    return board(work) + ['-blockdev', 'driver=qcow2,node-name=ov,backing=,'
                          f'file.driver=file,file.filename={work}/ov', '-blockdev',
                          f'driver=raw,node-name=rawov,file.driver=file,file.filename={work}/oraw']


def external(v, work):
    said = []

    def qmp(command, **arguments):
        arguments = {k.replace('_', '-'): x for k, x in arguments.items()}
        reply = v.raw(command, arguments)
        kept = reply.get('return', reply.get('error', {}).get('desc'))
        said.append((command, arguments, re.sub('#block[0-9]+', '#block', str(kept))))

    def transaction(*actions, **properties):
        actions = [{'type': a, 'data': {k.replace('_', '-'): x for k, x in data.items()}}
                   for a, data in actions]
        qmp('transaction', actions=actions, **({'properties': properties} if properties else {}))

    qmp(SYNC, snapshot_file=f'{work}/o1')
    for device in 'nope', 'cd':
        qmp(SYNC, device=device, snapshot_file=f'{work}/o1')
    qmp(SYNC, node_name='n0', snapshot_file=f'{work}/o1')
    for name in 'n0', 'd0':
        qmp(SYNC, device='d0', snapshot_file=f'{work}/o1', snapshot_node_name=name)
    qmp(SYNC, device='d0', snapshot_file=f'{work}/a')
    qmp(SYNC, device='d0', snapshot_file=f'{work}/o1', snapshot_node_name='s1')
    for form in 'raw', 'nope':
        qmp(SYNC, device='d0', snapshot_file=f'{work}/o2', format=form)
    qmp(SYNC, device='d0', snapshot_file=f'{work}/oraw', format='raw', mode='existing')
    qmp(SYNC, device='d0', snapshot_file=f'{work}/nofile', mode='existing')
    qmp(SYNC, device='d0', snapshot_file=f'{work}/nodir/x')
    qmp(SYNC, device='d0', snapshot_file=f'{work}/o2', mode='nope')
    qmp(SYNC, device='d0', snapshot_file=f'{work}/o2', snapshot_node_name='#x')
    qmp(SYNC, device='ro', snapshot_file=f'{work}/o3')
    qmp(SYNC, device='r0', snapshot_file=f'{work}/o4')
    for line in ('snapshot_blkdev d0', f'snapshot_blkdev nope {work}/x',
                 f'snapshot_blkdev d0 {work}/o5', f'snapshot_blkdev d0 {work}/o6 raw',
                 f'snapshot_blkdev -n d0 {work}/nofile'):
        said.append((line, hmp(v, line)))
    for node, overlay in (('nope', 'ov'), ('d0', 'nope'), ('d0', 'rawov'), ('ro', 'd0'),
                          ('s1', 'ov'), ('ov', 'ov')):
        qmp('blockdev-snapshot', node=node, overlay=overlay)
    transaction()
    transaction(('abort', {}))
    transaction(('abort', {}), **{'completion-mode': 'individual'})
    transaction((SYNC, {'device': 'd0', 'snapshot_file': f'{work}/o7'}),
                **{'completion-mode': 'grouped'})
    transaction((CREATE, {'device': 'd0', 'name': 'o8'}),
                (CREATE, {'device': 'rawov', 'name': 'o'}))
    transaction((CREATE, {'device': 'd0', 'name': 'o8'}),
                (SYNC, {'device': 'd0', 'snapshot_file': f'{work}/o9'}),
                ('blockdev-snapshot', {'node': 'd0', 'overlay': 'ov'}))
    for device, image, name in (('d0', 's1', 'zz'), ('d0', 'n0', 'zz'), ('d0', 'nope', 'zz'),
                                ('nope', 'n0', 'zz'), ('cd', 'n0', 'zz'), ('s1', 's1', 'zz'),
                                ('r0', 's1', 'zz'), ('d0', 's1', 'z' * 2000)):
        qmp(CHANGE, device=device, image_node_name=image, backing_file=name)
    return said


@test('external snapshots and transactions answer as in QEMU', None if QEMU else 'no QEMU')
def _():
    answers = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work, \
                vm(external_board(work), binary, binary == VMM) as v:
            answers.append([str(x).replace(work, 'W') for x in external(v, work)])
    for want, have in zip(*answers):
        assert want == have, f'{have}, QEMU: {want}'
    assert any('busy: node is used' in x for x in answers[0]), answers[0]


@test('the overlays are what QEMU makes of them')
def _():
    with tempfile.TemporaryDirectory() as work:
        with vm(external_board(work)) as v:
            external(v, work)
            info, = [b['inserted'] for b in v.call('query-block') if b['device'] == 'd0']
            assert (info['node-name'], info['backing_file_depth']) == ('ov', 4), info
            chain = [n for n in v.call('query-named-block-nodes') if n['node-name'] in 's1 n0']
            assert all(n['ro'] for n in chain) and len(chain) == 2, chain
        assert 'backing file: zz (actual path' in img('info', f'{work}/o1')
        assert f'backing file: {work}/o5\nbacking file format: qcow2\n' in img('info', f'{work}/o9')
        assert 'backing file format: raw\n' in img('info', f'{work}/o4')
        for image in 'a', 'o1', 'o5', 'o9', 'ov', 'o3', 'o4':
            img('check', f'{work}/{image}')
        for image in 'o2', 'o6', 'o7':
            assert not os.path.exists(f'{work}/{image}'), image


@test('a relative name is one from the folder of the overlay')
def _():
    with vm(['-machine', 'none']) as v:
        img('create', '-q', '-f', 'qcow2', f'{v.dir}/base', '1M')
        os.mkdir(f'{v.dir}/sub')
        for i, overlay in enumerate(['sub/o', 'sub/../p']):
            v.call('blockdev-add', {'driver': 'qcow2', 'node-name': f'b{i}', 'read-only': True,
                                    'file': {'driver': 'file', 'filename': 'base'}})
            v.call(SYNC, {'node-name': f'b{i}', 'snapshot-file': overlay,
                          'snapshot-node-name': f'o{i}'})
        assert f'backing file: {v.dir}/base\n' in img('info', f'{v.dir}/sub/o')
        assert 'backing file: base ' in img('info', f'{v.dir}/p'), img('info', f'{v.dir}/p')


finish()
