#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mirrors of disks over QMP and HMP: words and events, beside QEMU's, and what is in the images
afterwards. Called with the paths of vmm and vmm-img; TAP on stdout."""
import os
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])


def img(*args):
    return subprocess.run([VMM_IMG] + list(args), check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def node(name, path, driver='raw', **more):
    options = {'driver': driver, 'node-name': name, 'file.driver': 'file', 'file.filename': path,
               **more}
    return ['-blockdev', ','.join(f'{k}={v}' for k, v in options.items())]


def content(path, seed, length=1 << 20):
    with open(path, 'wb') as f:
        f.write(b'\0' * 100000 + bytes((i * seed) & 255 for i in range(300000)))
        f.truncate(length)


def board(work):
    content(f'{work}/a', 7)
    content(f'{work}/base', 3)
    for name, size in ('t', '1M'), ('longer', '2M'), ('ro', '1M'):
        img('create', '-q', '-f', 'raw', f'{work}/{name}', size)
    img('create', '-q', '-f', 'qcow2', '-b', f'{work}/base', '-F', 'raw', f'{work}/top')
    return (['-S', '-machine', 'pc', '-m', '64', '-nodefaults'] + node('a', f'{work}/a') +
            node('t', f'{work}/t') + node('longer', f'{work}/longer') +
            node('ro', f'{work}/ro', **{'read-only': 'on'}) +
            ['-device', 'virtio-blk-pci,drive=a,id=v', '-drive',
             f'file={work}/top,format=qcow2,if=none,id=d0', '-device',
             'virtio-blk-pci,drive=d0'])


class Said:
    """What a program answers and tells, without what depends on the time."""

    def __init__(self, v):
        self.v = v
        self.list = []

    def qmp(self, command, **arguments):
        arguments = {k.replace('_', '-'): x for k, x in arguments.items()}
        reply = self.v.raw(command, arguments)
        self.list.append((command, arguments,
                          reply.get('return', reply.get('error', {}).get('desc'))))

    def until(self, event):
        self.v.wait(event)
        while not any(e['event'] == 'JOB_STATUS_CHANGE' and e['data']['status'] in
                      ('ready', 'null') for e in self.v.events):
            self.v.call('query-status')
        self.told()

    def told(self):
        events = [(e['event'], e['data']) for e in self.v.events]
        self.v.events.clear()
        for name, data in events:
            if name.startswith(('JOB_', 'BLOCK_JOB_')):
                self.list.append((name, {k: x for k, x in data.items() if k != 'offset'}))

    def end(self):
        self.v.wait('BLOCK_JOB_COMPLETED')
        while self.v.call('query-jobs'):
            pass
        self.told()


def commands(v):
    said = Said(v)
    qmp = said.qmp

    def mirror(device='a', target='t', sync='full', **more):
        qmp('blockdev-mirror', device=device, target=target, sync=sync, **more)

    mirror()
    mirror(job_id='j', device='nope')
    mirror(job_id='j', target='nope')
    for key, value in (('granularity', 100), ('granularity', 1000), ('granularity', 128 << 20),
                       ('buf-size', -1), ('sync', 'bitmap'), ('sync', 'incremental'),
                       ('replaces', 'nope'), ('replaces', 't'), ('job-id', '1j'),
                       ('sync', 'some'), ('copy-mode', 'x')):
        mirror(**{'job_id': 'j', key.replace('-', '_'): value})
    v.events.clear()
    mirror(job_id='j')
    said.until('BLOCK_JOB_READY')
    qmp('query-jobs')
    mirror(job_id='k', target='longer')
    qmp('blockdev-del', node_name='a')
    qmp('block-job-pause', device='j')
    qmp('block-job-cancel', device='j')
    qmp('block-job-resume', device='j')
    v.events.clear()
    while v.call('query-jobs')[0]['status'] != 'ready':
        pass
    v.events.clear()
    qmp('block-job-cancel', device='j')
    said.end()
    for mode in 'background', 'write-blocking':
        target, source = ('t', 'a') if mode == 'background' else ('a', 't')
        mirror(device=source, target=target, job_id='j', copy_mode=mode, granularity=512)
        said.until('BLOCK_JOB_READY')
        qmp('block-job-complete', device='j')
        said.end()
    mirror(job_id='j', target='longer')
    said.end()
    qmp('drive-mirror', device='d0', target='x', sync='full', replaces='a')
    qmp('drive-mirror', device='nope', target='x', sync='full')
    return said.list


@test('the commands answer as QEMU does', skip=None if QEMU else 'QEMU is not installed')
def _():
    answers = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work, vm(board(work), binary, binary == VMM) as v:
            answers.append(commands(v))
    for want, have in zip(*answers):
        assert want == have, f'{have}, QEMU: {want}'
    assert len(answers[0]) == len(answers[1])


def wait(v, job, *statuses):
    while True:
        found = [j['status'] for j in v.call('query-jobs') if j['id'] == job]
        if not found or found[0] in statuses:
            return


def same(a, b):
    img('compare', '-q', '-U', a, b)


@test('the copy is the same, and the disk is there')
def _():
    with tempfile.TemporaryDirectory() as work:
        with vm(board(work)) as v:
            for n, (sync, fmt) in enumerate((('full', 'raw'), ('full', 'qcow2'), ('top', 'qcow2'),
                                             ('none', 'qcow2'))):
                path = f'{work}/copy{n}'
                v.call('drive-mirror', {'device': 'd0', 'target': path, 'sync': sync,
                                        'format': fmt, 'job-id': f'j{n}'})
                wait(v, f'j{n}', 'ready')
                v.call('block-job-complete', {'device': f'j{n}'})
                wait(v, f'j{n}')
                disk, = [d for d in v.call('query-block') if d['device'] == 'd0']
                assert disk['inserted']['file'] == path and disk['inserted']['drv'] == fmt, disk
                assert not v.call('query-block-jobs')
        for n in range(4):
            same(f'{work}/top', f'{work}/copy{n}')
        info = img('info', f'{work}/copy2')
        assert 'backing file' not in info, info  # its source had none any more
        info = img('info', f'{work}/copy3')
        assert f'backing file: {work}/copy2' in info, info


@test('drive_mirror of HMP; an unplug, and the end, while it runs')
def _():
    with tempfile.TemporaryDirectory() as work:
        with vm(board(work)) as v:
            def hmp(line):
                return v.call('human-monitor-command', {'command-line': line}).strip()
            assert hmp(f'drive_mirror -f d0 {work}/new qcow2') == ''
            wait(v, 'd0', 'ready')
            said = hmp('info block-jobs')
            assert said.startswith('Type mirror, device d0: Completed '), said
            said = hmp(f'drive_mirror -n d0 {work}/new qcow2')
            assert said == ("Error: Node 'd0' is busy: block device is in use by block job: "
                            'mirror'), said
            assert hmp('block_job_complete d0') == ''
            wait(v, 'd0')
            assert hmp(f'drive_mirror d0 {work}/another') == ''
            wait(v, 'd0', 'ready')
            said = hmp('drive_mirror nope x')
            assert said == "Error: Cannot find device='nope' nor node-name='nope'", said
            v.call('device_del', {'id': 'v'})
            v.call('quit')
            assert v.process.wait(30) == 0
        same(f'{work}/top', f'{work}/new')
        same(f'{work}/top', f'{work}/another')


finish()
