#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs of a machine's disks over QMP and HMP: what is answered, which events come, and what is in
the images afterwards, as with QEMU. Called with the paths of vmm and vmm-img; TAP on stdout."""
import json
import os
import re
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
VMM_IO = os.path.join(os.path.dirname(VMM_IMG), 'vmm-io')
NO_QEMU = None if QEMU else 'QEMU is not installed'


def img(*args):
    return subprocess.run([VMM_IMG] + list(args), check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def chain(work):
    """Four images, each over the one before, of growing length; and what the last one shows."""
    below = None
    for name, size, commands in (
            ('a', '3M', ['write -P 1 0 1M']), ('b', '3M', ['write -P 2 512k 1M']),
            ('c', '4M', ['write -P 3 2M 1M', 'write -z 640k 64k']),
            ('d', '5M', ['write -P 4 2560k 1M', 'write -P 5 3900k 512k'])):
        backing = ['-b', below, '-F', 'qcow2'] if below else []
        subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2'] + backing + [name, size],
                       cwd=work, check=True)
        words = [w for c in commands for w in ('-c', c)]
        subprocess.run([VMM_IO, '-f', 'qcow2'] + words + [name], cwd=work, check=True,
                       stdout=subprocess.DEVNULL)
        below = name
    subprocess.run([VMM_IMG, 'convert', '-O', 'raw', 'd', 'shown'], cwd=work, check=True)
    subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2', 'empty', '1M'], cwd=work, check=True)


def backing_names(work):
    """Of each image: the backing file's name and format."""
    names = {}
    for name in 'abcd':
        info = json.loads(subprocess.run([VMM_IMG, 'info', '--output=json', name], cwd=work,
                                         check=True, stdout=subprocess.PIPE).stdout)
        names[name] = info.get('backing-filename'), info.get('backing-filename-format')
    return names


def check_images(work, top='d'):
    for name in 'abcd':
        subprocess.run([VMM_IMG, 'check', '-q', name], cwd=work, check=True)
    subprocess.run([VMM_IMG, 'compare', '-q', '-f', 'qcow2', '-F', 'raw', top, 'shown'], cwd=work,
                   check=True)


class Talk:
    """Commands to a machine, and what came of them, as far as it does not depend on time."""

    def __init__(self, v):
        self.v, self.said = v, []

    def qmp(self, command, **arguments):
        arguments = {k.replace('_', '-'): x for k, x in arguments.items()}
        reply = self.v.raw(command, arguments)
        kept = reply.get('return', reply.get('error'))
        self.said.append((command, arguments, kept))

    def hmp(self, line):
        self.said.append((line, self.v.call('human-monitor-command', {'command-line': line})))

    def until(self, status):
        """All events of jobs until one has this status."""
        while True:
            job = [e for e in self.v.events if 'JOB' in e['event']]
            if any(e['data'].get('status') == status for e in job):
                break
            self.v.events.append(json.loads(self.v.files[0].readline()))
        self.said.append([(e['event'], sorted(e['data'].items())) for e in job])
        self.v.events.clear()


def both(talk, top='d'):
    """The same with QEMU and vmm, each on its own chain; gives both records."""
    records = []
    for binary in QEMU, VMM:
        with tempfile.TemporaryDirectory() as work:
            here = os.getcwd()
            chain(work)
            os.chdir(work)
            try:
                args = ['-S', '-machine', 'none', '-nodefaults', '-drive',
                        f'file={work}/d,if=none,id=d0,node-name=top', '-blockdev',
                        'driver=qcow2,node-name=n1,file.driver=file,file.filename='
                        f'{work}/empty']
                with vm(args, binary, binary == VMM) as v:
                    t = Talk(v)
                    talk(t, work)
                t.said.append([(n, os.path.basename(f) if f else f, x)
                               for n, (f, x) in sorted(backing_names(work).items())])
                check_images(work, top)
                records.append(json.loads(json.dumps(t.said).replace(work, 'WORK')))
            finally:
                os.chdir(here)
    return records


def same(talk):
    for want, have in zip(*both(talk)):
        assert want == have, f'{have}, QEMU: {want}'


@test('verbs in every state that a user sees', skip=NO_QEMU)
def _():
    def talk(t, work):
        t.qmp('query-jobs')
        t.hmp('info block-jobs')
        t.qmp('block-stream', device='d0', speed=1)
        t.qmp('block-job-pause', device='d0')
        t.until('paused')
        t.qmp('query-block-jobs')
        t.qmp('query-jobs')
        t.hmp('info block-jobs')
        for command in 'pause', 'cancel', 'complete':
            t.qmp(f'block-job-{command}', device='d0')
        for command in 'finalize', 'dismiss', 'complete':
            t.qmp(f'job-{command}', id='d0')
        for command in 'finalize', 'dismiss':
            t.qmp(f'block-job-{command}', id='d0')
            t.qmp(f'block-job-{command}', id='nope')
            t.qmp(f'job-{command}', id='nope')
        t.qmp('block-job-set-speed', device='d0', speed=-1)
        t.qmp('block-job-set-speed', device='d0', speed=2)
        for line in ('block_job_complete d0', 'block_job_cancel nope', 'block_job_cancel d0',
                     'block_job_pause d0', 'block_job_set_speed d0 1'):
            t.hmp(line)
        t.qmp('block-job-resume', device='d0')
        t.until('running')
        t.qmp('block-job-resume', device='d0')
        t.hmp('block_job_resume d0')
        t.qmp('block-job-cancel', device='d0')
        t.until('null')
        t.qmp('query-jobs')
    # The progress is a matter of time only at the end.
    want, have = both(talk)
    for a, b in zip(want, have):
        if 'BLOCK_JOB_CANCELLED' not in str(a):
            assert a == b, f'{b}, QEMU: {a}'


@test('finalized and dismissed by hand', skip=NO_QEMU)
def _():
    def talk(t, work):
        t.qmp('block-stream', device='d0', auto_finalize=False, auto_dismiss=False)
        t.until('pending')
        t.qmp('query-jobs')
        t.qmp('query-block-jobs')
        for command in 'pause', 'resume', 'complete', 'dismiss':
            t.qmp(f'job-{command}', id='d0')
        t.qmp('job-finalize', id='d0')
        t.until('concluded')
        t.qmp('query-jobs')
        for command in 'pause', 'cancel', 'finalize':
            t.qmp(f'job-{command}', id='d0')
        t.qmp('job-dismiss', id='d0')
        t.until('null')
        t.qmp('query-jobs')
    same(talk)


@test('what a job uses is not taken away', skip=NO_QEMU)
def _():
    def talk(t, work):
        t.qmp('block-stream', device='d0', speed=1)
        t.qmp('block-stream', device='d0', speed=1)
        t.qmp('block-stream', device='d0', job_id='j2')
        t.qmp('block_resize', device='d0', size=1 << 27)
        t.qmp('eject', device='d0')
        t.qmp('job-cancel', id='d0')
    same(talk)


@test('refused', skip=NO_QEMU)
def _():
    def talk(t, work):
        for arguments in (
                {'device': 'n1'}, {'device': 'n1', 'job-id': '1x'}, {'device': 'nope'},
                {'device': 'd0', 'base': 'nope'}, {'device': 'd0', 'base-node': 'nope'},
                {'device': 'd0', 'base': 'a', 'base-node': 'b'},
                {'device': 'd0', 'base': 'a', 'bottom': 'b'}, {'device': 'd0', 'base-node': 'top'},
                {'device': 'd0', 'backing-file': 'a'}, {'device': 'd0', 'bottom': 'n1'},
                {'device': 'd0', 'on-error': 'x'}, {'device': 'd0', 'speed': -1}):
            t.qmp('block-stream', **arguments)
        for arguments in (
                {'device': 'nope'}, {'device': 'd0', 'top': 'nope'},
                {'device': 'd0', 'top': f'{work}/b', 'base': f'{work}/c'},
                {'device': 'd0', 'top': f'{work}/b', 'base': f'{work}/b'},
                {'device': 'd0', 'top': f'{work}/b', 'base-node': 'top'},
                {'device': 'd0', 'top': f'{work}/b', 'top-node': 'top'},
                {'device': 'd0', 'backing-file': 'x', 'base': f'{work}/a'},
                {'device': 'd0', 'top': f'{work}/c', 'speed': -1}):
            t.qmp('block-commit', **arguments)
    same(talk)


RUNS = {'block-stream': [{}, {'base': 'WORK/a'}, {'base': 'WORK/b', 'filter-node-name': 'f'},
                         {'base': 'WORK/c', 'backing-file': './c'}],
        'block-commit': [{'top': 'WORK/c'}, {'top': 'WORK/c', 'base': 'WORK/b',
                                             'filter-node-name': 'f', 'backing-file': './b'},
                         {'top': 'WORK/b', 'base': 'WORK/a', 'job-id': 'j'}]}

for command, runs in RUNS.items():
    for run in runs:
        @test(f'{command} {run}', skip=NO_QEMU)
        def _():
            def talk(t, work):
                arguments = {k: x.replace('WORK', work) for k, x in run.items()}
                t.qmp(command, device='d0', **arguments)
                t.until('null')
            same(talk)


@test('block-commit of the active image', skip=NO_QEMU)
def _():
    def talk(t, work):
        t.qmp('block-commit', device='d0', base=f'{work}/b')
        t.until('ready')
        t.qmp('job-complete', id='d0')
        t.until('null')
    for want, have in zip(*both(talk, 'b')):
        # How much there is to do is estimated in other ways.
        want, have = (re.sub(r'"(len|offset)", \d+', r'"\1"', json.dumps(x)) for x in (want, have))
        assert want == have, f'{have}, QEMU: {want}'


@test('the end of the program ends a job, and leaves the chain as it was')
def _():
    with tempfile.TemporaryDirectory() as work:
        chain(work)
        before = backing_names(work)
        with vm(['-S', '-machine', 'none', '-nodefaults', '-drive',
                 f'file={work}/d,if=none,id=d0,node-name=top']) as v:
            v.call('block-stream', {'device': 'd0', 'speed': 1})
            v.refuse('blockdev-del', {'node-name': 'top'},
                     "Node 'd0' is busy: block device is in use by block job: stream")
            v.call('block-job-pause', {'device': 'd0'})
            v.call('quit')
            v.wait('BLOCK_JOB_CANCELLED')
        assert backing_names(work) == before
        check_images(work)


@test('a disk of -drive that is unplugged ends its job; one of -blockdev does not')
def _():
    with tempfile.TemporaryDirectory() as work:
        chain(work)
        with vm(['-S', '-machine', 'pc', '-nodefaults', '-drive', f'file={work}/d,if=none,id=d0',
                 '-device', 'virtio-blk-pci,drive=d0,id=disk']) as v:
            v.call('block-stream', {'device': 'd0', 'speed': 1})
            v.call('device_del', {'id': 'disk'})
            v.call('system_reset')
            v.wait('DEVICE_DELETED')
            v.wait('BLOCK_JOB_CANCELLED')
        check_images(work)


@test("HMP's commit: into the backing file, and the image is empty", skip=NO_QEMU)
def _():
    def talk(t, work):
        for line in ('commit nope', 'commit n1', 'commit d0', 'commit d0', 'commit all',
                     'info block-jobs'):
            t.hmp(line)
        t.qmp('query-jobs')
        # What the image holds is in the base now; new writes go into the image.
        t.hmp('qemu-io d0 "map"')
        t.hmp('qemu-io d0 "write -P 9 1M 64k"')
        t.hmp('qemu-io d0 "write -z 3M 64k"')
        t.hmp('commit all')
        t.hmp('qemu-io d0 "read -P 9 1M 64k"')
        t.hmp('qemu-io d0 "read -P 0 3M 64k"')
        t.hmp('qemu-io d0 "write -P 2 1M 64k"')  # what the chain is compared with
        t.hmp('qemu-io d0 "write -P 4 3M 64k"')
        t.qmp('block-stream', device='d0', speed=1)
        t.until('running')
        t.hmp('commit d0')
        t.qmp('block-job-cancel', device='d0')
        t.until('null')
    want, have = both(talk)
    for a, b in zip(want, have):
        # QEMU prints qemu-io's output on its own stdout; "Error: " is a detached monitor's.
        a, b = (str(x).replace('Error: ', '') for x in (a, b))
        if 'qemu-io' in b:
            assert 'failed' not in b and 'rror' not in b, b
            assert 'map' not in b or '5 MiB (0x500000) bytes not allocated' in b, b
        elif 'BLOCK_JOB_CANCELLED' not in a:
            assert a == b, f'{b}, QEMU: {a}'


finish()
