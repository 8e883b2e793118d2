#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dirty bitmaps over QMP: the commands' words, beside QEMU's. Called with the paths of vmm and
vmm-img; TAP on stdout."""
import os
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])


def board(work):
    for name, fmt in ('a', 'raw'), ('b', 'raw'), ('q', 'qcow2'):
        subprocess.run([VMM_IMG, 'create', '-q', '-f', fmt, f'{work}/{name}', '1M'], check=True)
    return ['-S', '-machine', 'pc', '-m', '64', '-nodefaults', '-drive',
            f'file={work}/a,format=raw,if=none,id=d0,node-name=a', '-blockdev',
            f'driver=raw,node-name=b,file.driver=file,file.filename={work}/b', '-blockdev',
            f'driver=qcow2,node-name=q,file.driver=file,file.filename={work}/q', '-drive',
            'if=none,id=cd,media=cdrom']


def commands(v):
    said = []

    def qmp(command, **arguments):
        reply = v.raw(command, arguments)
        said.append((command, arguments, reply.get('return', reply.get('error', {}).get('desc'))))

    def bitmap(what, node, name, **more):
        qmp('block-dirty-bitmap-' + what, node=node, name=name, **more)

    def shown():
        nodes = {n['node-name']: n for n in v.call('query-named-block-nodes', {'flat': True})}
        for name in 'abq':
            if name in nodes:
                said.append((name, nodes[name].get('dirty-bitmaps')))

    def merge(node, target, *bitmaps):
        qmp('block-dirty-bitmap-merge', node=node, target=target, bitmaps=list(bitmaps))

    for node in 'a', 'a', 'd0', 'nope', 'cd':
        bitmap('add', node, 'b0')
    bitmap('add', 'd0', 'second')
    bitmap('add', 'a', '')
    for granularity in 0, 256, 3000, 1 << 31:
        bitmap('add', 'a', f'g{granularity}', granularity=granularity)
    bitmap('add', 'a', 'off', granularity=512, disabled=True)
    bitmap('add', 'a', 'stored', persistent=True)
    bitmap('add', 'b', 'b0', persistent=False)
    bitmap('add', 'q', 'x' * 1024)
    bitmap('add', 'q', 'x' * 1023, granularity=1024)
    shown()
    qmp('block_resize', **{'node-name': 'b', 'size': 2 << 20})
    for what in 'clear', 'disable', 'enable', 'remove':
        for node, name in ('a', 'nope'), ('nope', 'b0'), ('cd', 'b0'), ('d0', 'b0'):
            bitmap(what, node, name)
    bitmap('disable', 'a', 'second')
    bitmap('enable', 'a', 'off')
    merge('a', 'second', 'off', {'node': 'a', 'name': 'g2147483648'})
    merge('a', 'second', 'second')
    merge('a', 'second', 'off', 'nope')
    merge('a', 'nope', 'off')
    merge('nope', 'second', 'off')
    merge('a', 'second', {'node': 'nope', 'name': 'off'})
    merge('a', 'second', {'node': 'b', 'name': 'b0'})
    merge('b', 'b0', {'node': 'a', 'name': 'off'})
    merge('a', 'second', {'name': 'off'})
    for name in 'second', 'nope', 'off':
        qmp('x-debug-block-dirty-bitmap-sha256', node='a', name=name)
    said.append([d.get('inserted', {}).get('dirty-bitmaps') for d in v.call('query-block')])
    shown()
    qmp('blockdev-del', **{'node-name': 'q'})
    shown()
    return said


@test('the commands answer as QEMU does', skip=None if QEMU else 'QEMU is not installed')
def _():
    answers = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work, vm(board(work), binary, binary == VMM) as v:
            said = commands(v)
        # What a disk has grown by is dirty here, and clean in QEMU.
        said = [s for s in said if s[0] != 'b']
        answers.append(said)
    for want, have in zip(*answers):
        assert want == have, f'{have}, QEMU: {want}'
    assert len(answers[0]) == len(answers[1])
    assert len(answers[0][-1][1]) == 3, answers[0][-1]


@test('what a disk has grown by is dirty')
def _():
    with tempfile.TemporaryDirectory() as work, vm(board(work)) as v:
        v.call('block-dirty-bitmap-add', {'node': 'b', 'name': 'b0'})
        v.call('block_resize', {'node-name': 'b', 'size': 3 << 20})
        node, = [n for n in v.call('query-named-block-nodes') if n['node-name'] == 'b']
        assert node['dirty-bitmaps'][0]['count'] == 2 << 20, node
        reply = v.call('block-dirty-bitmap-merge', {'node': 'b', 'target': 'b0', 'bitmaps': []})
        assert reply == {}, reply


finish()
