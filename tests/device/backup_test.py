#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Backups of a running machine's disks: the commands' words, the events, and what is in the images
afterwards, beside QEMU's. Called with the paths of vmm, vmm-img and vmm-io; TAP on stdout."""
import os
import re
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG, VMM_IO = os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
BLOCKDEV, DRIVE = 'blockdev-backup', 'drive-backup'
SIZE = 4 << 20


def img(*args):
    return subprocess.run([VMM_IMG] + list(args), check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def board(work):
    img('create', '-q', '-f', 'qcow2', f'{work}/b', str(SIZE))
    subprocess.run([VMM_IO, '-c', 'write -q -P 3 0 1M', '-c', 'write -q -P 4 2M 64k', f'{work}/b'],
                   check=True)
    img('create', '-q', '-f', 'qcow2', '-b', f'{work}/b', '-F', 'qcow2', f'{work}/a')
    subprocess.run([VMM_IO, '-c', 'write -q -P 1 128k 192k', f'{work}/a'], check=True)
    img('create', '-q', '-f', 'raw', f'{work}/r', str(SIZE))
    args = ['-S', '-machine', 'pc', '-m', '64', '-nodefaults', '-drive',
            f'file={work}/a,if=none,id=d0,node-name=n0', '-device', 'virtio-blk-pci,drive=d0',
            '-drive', f'file={work}/r,format=raw,id=r0,if=none', '-drive',
            'if=none,id=cd,media=cdrom', '-device', 'ide-cd,drive=cd']
    for name, size in ('t1', SIZE), ('t2', SIZE // 2), ('t3', SIZE):
        img('create', '-q', '-f', 'qcow2', f'{work}/{name}', str(size))
        args += ['-blockdev', f'driver=qcow2,node-name={name},file.driver=file,'
                 f'file.filename={work}/{name}']
    return args


def hyphens(arguments):
    return {k.replace('_', '-'): x for k, x in arguments.items()}


class Session:
    """What was said: answers, and events of jobs' ends."""

    def __init__(self, v):
        self.v = v
        self.said = []

    def qmp(self, command, **arguments):
        reply = self.v.raw(command, hyphens(arguments))
        kept = reply.get('return', reply.get('error', {}).get('desc'))
        self.said.append((command, arguments, kept))
        return 'return' in reply

    def hmp(self, line):
        self.said.append((line, self.v.call('human-monitor-command', {'command-line': line})))

    def ends(self, *jobs):
        """Until the jobs are gone; what their last events say, in the order of names."""
        for job in jobs:
            while self.v.raw('query-jobs')['return']:
                pass
            end = [e for e in self.v.events if e['event'].startswith('BLOCK_JOB_C') and
                   e['data']['device'] == job]
            self.said.append((end[-1]['event'], end[-1]['data']))

    def backup(self, command, *jobs, **arguments):
        if self.qmp(command, **arguments):
            self.ends(*(jobs or ('d0',)))


def refusals(s):
    good = {'device': 'd0', 'target': 't1', 'sync': 'full'}
    for change in ({'device': 'nope'}, {'target': 'nope'}, {'device': 'cd'}, {'target': 't2'},
                   {'target': 'n0'}, {'sync': 'x'}, {'sync': 'bitmap'}, {'sync': 'incremental'},
                   {'sync': 'incremental', 'bitmap': 'x'}, {'bitmap': 'x'}, {'bitmap': 'b0'},
                   {'sync': 'none', 'bitmap': 'b0', 'bitmap_mode': 'always'},
                   {'bitmap': 'b0', 'bitmap_mode': 'never'},
                   {'sync': 'incremental', 'bitmap': 'b0', 'bitmap_mode': 'never'},
                   {'bitmap_mode': 'never'}, {'speed': -1}, {'x_perf': {'max-workers': 0}},
                   {'x_perf': {'max-chunk': -1}}, {'x_perf': {'max-chunk': 1024}},
                   {'target': 'r0', 'compress': True}, {'job_id': '0x'},
                   {'filter_node_name': 'n0'}, {'device': 't3'}):
        s.qmp(BLOCKDEV, **{**good, **change})


def session(v, work):
    s = Session(v)
    s.qmp('block-dirty-bitmap-add', node='d0', name='b0')
    refusals(s)
    s.qmp(BLOCKDEV, device='d0', target='t1', sync='full', auto_finalize=False)
    v.wait('BLOCK_JOB_PENDING')
    s.qmp(BLOCKDEV, device='d0', target='t3', sync='full')
    s.qmp(BLOCKDEV, device='t1', target='t3', sync='full', job_id='j2')
    s.qmp('blockdev-snapshot-sync', device='d0', snapshot_file=f'{work}/oo')
    s.qmp('block_resize', device='d0', size=1 << 20)
    s.qmp('job-finalize', id='d0')
    s.ends('d0')
    s.backup(DRIVE, device='d0', target=f'{work}/top', sync='top')
    s.backup(DRIVE, device='d0', target=f'{work}/raw', sync='full', format='raw')
    s.backup(DRIVE, device='d0', target=f'{work}/small', sync='full', compress=True)
    s.backup(DRIVE, 'jj', device='n0', target=f'{work}/full', sync='full', job_id='jj')
    s.backup(DRIVE, device='d0', target=f'{work}/nofile', sync='full', mode='existing')
    s.backup(DRIVE, device='d0', target=f'{work}/x', sync='full', format='nope')
    s.qmp(DRIVE, device='d0', target=f'{work}/none', sync='none')
    s.qmp('block-job-pause', device='d0')
    s.qmp('block-job-cancel', device='d0')
    s.qmp('block-job-cancel', device='d0', force=True)
    s.ends('d0')
    s.backup(BLOCKDEV, device='d0', target='t3', sync='incremental', bitmap='b0')
    for line in 'drive_backup d0 W/h1 qcow2', 'drive_backup -f -c d0 W/h2':
        s.hmp(line.replace('W', work))
        s.ends('d0')
    s.hmp(f'drive_backup -n d0 {work}/nofile2')
    s.hmp(f'drive_backup nope {work}/nofile2')
    both = [{'type': BLOCKDEV, 'data': {'device': d, 'job-id': j, 'target': t, 'sync': 'full'}}
            for d, j, t in (('d0', 'g1', 't1'), ('r0', 'g2', 't3'))]
    if s.qmp('transaction', actions=both, properties={'completion-mode': 'grouped'}):
        s.ends('g1', 'g2')
    s.qmp('transaction', actions=both + [{'type': 'abort', 'data': {}}])
    s.qmp('query-jobs')
    return s.said


IMAGES = ('top', 'raw', 'small', 'full', 'none', 'h1', 'h2', 't1')


def compare_images(work):
    for name in IMAGES:
        img('compare', '-q', f'{work}/a', f'{work}/{name}')
        if name != 'raw':
            img('check', '-q', f'{work}/{name}')
    img('compare', '-q', f'{work}/r', f'{work}/t3')
    return [re.sub('disk size.*\\n', '', img('info', f'{work}/{n}')) for n in IMAGES]


@test('the commands answer as QEMU does, and the images are the same',
      None if QEMU else 'no qemu-system-x86_64')
def _():
    answers, infos = [], []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work:
            with vm(board(work), binary, binary == VMM) as v:
                answers.append([str(x).replace(work, 'W') for x in session(v, work)])
            infos.append([x.replace(work, 'W') for x in compare_images(work)])
    for want, have in zip(*answers):
        assert sorted(want) == sorted(have), f'{have}, QEMU: {want}'
    assert infos[0] == infos[1], infos
    assert len(answers[0]) == len(answers[1]) > 40


finish()
