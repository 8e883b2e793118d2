#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Live snapshots of the machine: memory that changes between passes, others who come meanwhile, ends
before the end. A save is held at the write that a breakpoint of blkdebug names, so that no time
decides. Called with the paths of vmm and vmm-img; TAP on stdout."""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile

from qmp_client import Lines, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
PAGE, RAM = 4096, 0x200000
SCRATCH = 0x3ff  # COM1's scratch register


def img(*args):
    return subprocess.run([VMM_IMG] + list(args), check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line}).replace('\r', '')


class Machine:
    """A board with the disks 'a', whose image breakpoints are set in, and 'b'."""

    def __init__(self, v, work):
        self.v, self.work, self.tags = v, work, 0

    def fill(self, page, byte, pages=1):
        self.v.qtest(f'memset {RAM + page * PAGE:#x} {pages * PAGE} {byte:#x}')

    def byte(self, page, at=0):
        self.v.files[1].write(f'readb {RAM + page * PAGE + at:#x}\n')
        return int(self.v.files[1].readline().split()[1], 0)

    def must_have(self, **pages):
        found = {name: self.byte(int(name[1:])) for name in pages}
        assert found == pages, f'{found}, not {pages}'

    def hold(self):
        """The next write of the machine's state waits for go_on()."""
        self.tags += 1
        assert hmp(self.v, f'qemu-io a "break vmstate_save t{self.tags}"') == ''

    def held(self):
        said = hmp(self.v, f'qemu-io a "wait_break t{self.tags}"')
        assert said == '', said

    def go_on(self):
        said = hmp(self.v, f'qemu-io a "resume t{self.tags}"')
        assert said == f'Resuming request t{self.tags}\n' or said == '', said

    def step(self):
        """On to the next write."""
        before = self.tags
        self.hold()
        said = hmp(self.v, f'qemu-io a "resume t{before}"')
        self.held()
        return said

    def save(self, tag, **more):
        self.v.call('snapshot-save', {'job-id': 'j', 'tag': tag, 'vmstate': 'na',
                                      'devices': ['na', 'nb'], 'live': True, **more})

    def begin(self, tag):
        """A live save, which waits in the first write of its first pass."""
        self.hold()
        self.save(tag)
        while not self.job()['total-progress']:
            pass  # the disks are drained, which a command that waits would hold up
        self.held()

    def job(self):
        found = [j for j in self.v.call('query-jobs') if j['id'] == 'j']
        return found[0] if found else None

    def end(self, error=None):
        """Waits for the job's end."""
        while (job := self.job())['status'] != 'concluded':
            pass
        assert job.get('error') == error, f'{job}, expected {error!r}'
        self.v.call('job-dismiss', {'id': 'j'})

    def refused(self, line, why):
        said = hmp(self.v, line)
        assert why in said, f'{line}: {said!r}, expected {why!r}'

    def snapshots(self, disk):
        lines = img('snapshot', '-U', '-l', f'{self.work}/{disk}').splitlines()[2:]
        return [line.split()[1] for line in lines]


@contextlib.contextmanager
def machine(*words, keep=None):
    with tempfile.TemporaryDirectory(prefix='live-') as fresh:
        work = keep or fresh
        for name in 'ab':
            if not os.path.exists(f'{work}/{name}'):
                img('create', '-q', '-f', 'qcow2', f'{work}/{name}', '1M')
        args = ['-machine', 'pc', '-m', '64', '-nodefaults', '-serial', 'null', '-drive',
                'if=none,id=a,node-name=na,driver=qcow2,file.driver=blkdebug,'
                f'file.image.driver=file,file.image.filename={work}/a', '-drive',
                f'file={work}/b,if=none,id=b,node-name=nb', *words]
        with vm(args) as v:
            yield Machine(v, work)
        for name in 'ab':
            img('check', '-q', f'{work}/{name}')


BUSY = 'is busy: block device is in use by block job: snapshot-save'


@test('what changes between passes comes back')
def _():
    with machine() as m:
        m.fill(1, 1)
        m.fill(2, 2)
        m.fill(3, 3)
        m.v.qtest(f'outb {SCRATCH:#x} 0x11')
        m.begin('x')
        assert m.job()['status'] == 'running', m.job()
        m.fill(1, 0)  # it was written, and holds zeroes at the end
        m.fill(2, 22)
        m.fill(7, 7)  # it was a hole
        m.fill(8, 8)
        m.step()
        m.fill(8, 0)  # one pass wrote it
        m.fill(3, 33)
        m.v.qtest(f'outb {SCRATCH:#x} 0x22')
        m.go_on()
        m.end()
        for page in range(1, 9):
            m.fill(page, 99)
        m.v.qtest(f'outb {SCRATCH:#x} 0x99')
        assert hmp(m.v, 'loadvm x') == ''
        m.must_have(p0=0, p1=0, p2=22, p3=33, p4=0, p7=7, p8=0)
        m.v.files[1].write(f'inb {SCRATCH:#x}\n')
        assert int(m.v.files[1].readline().split()[1], 0) == 0x22


finish()
