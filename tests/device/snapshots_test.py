#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Internal snapshots of a running machine's disks: the commands' words, what they return and what
is in the images afterwards. Called with the paths of vmm and vmm-img; TAP on stdout."""
import os
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


finish()
