#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Live snapshots of the machine: memory that changes meanwhile, others who come meanwhile, ends before
the end. A save is held at a write to the image, by a breakpoint of blkdebug, or by job-pause, so
that no time decides. Called with the paths of vmm and vmm-img; TAP on stdout."""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile

from qmp_client import finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
PAGE, RAM = 4096, 0x200000
SCRATCH = 0x3ff  # COM1's scratch register
BUSY = 'is busy: block device is in use by block job: snapshot-save'


def img(*args, check=True):
    done = subprocess.run([VMM_IMG] + list(args), stdout=subprocess.PIPE, text=True, check=False)
    assert not check or done.returncode == 0, f'{args}: status {done.returncode}'
    return done.stdout


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line}).replace('\r', '')


class Machine:
    """A board with the disks 'a', whose image breakpoints are set in, and 'b'."""

    def __init__(self, v, work):
        self.v, self.work, self.tags = v, work, 0

    def ask(self, line):
        """A qtest command that answers with a number."""
        self.v.files[1].write(line + '\n')
        return int(self.v.files[1].readline().split()[1], 0)

    def fill(self, page, byte, pages=1):
        self.v.qtest(f'memset {RAM + page * PAGE:#x} {pages * PAGE} {byte:#x}')

    def must_have(self, **pages):
        found = {name: self.ask(f'readb {RAM + int(name[1:]) * PAGE + 77:#x}') for name in pages}
        assert found == pages, f'{found}, not {pages}'

    def hold(self):
        """The next write of the machine's state waits for go_on()."""
        self.tags += 1
        said = hmp(self.v, f'qemu-io a "break vmstate_save t{self.tags}"')
        assert said == '', said

    def go_on(self, tag=None, job='j'):
        """Waits until a write is held, and lets it go; False: there is none any more."""
        while hmp(self.v, f'qemu-io a "resume t{tag or self.tags}"') != '':
            if not self.job(job) or self.job(job)['status'] == 'concluded':
                return False
        return True

    def save(self, tag, **more):
        self.v.call('snapshot-save', {'job-id': 'j', 'tag': tag, 'vmstate': 'na',
                                      'devices': ['na', 'nb'], 'live': True, **more})

    def begin(self, tag):
        """A live save that waits in the first write of its first pass."""
        self.hold()
        self.save(tag)
        self.has_begun('j')

    def has_begun(self, job):
        while not (found := self.job(job)) or not found['total-progress']:
            assert not found or found['status'] != 'concluded', found
        # The disks are not drained now, so that a command may wait.
        said = hmp(self.v, f'qemu-io a "wait_break t{self.tags}"')
        assert said == '', said

    def job(self, job):
        found = [j for j in self.v.call('query-jobs') if j['id'] == job]
        return found[0] if found else None

    def pause(self):
        """False: the job is over instead."""
        if 'error' in self.v.raw('job-pause', {'id': 'j'}):
            return False
        while (status := self.job('j')['status']) not in ('paused', 'concluded'):
            pass
        return status == 'paused'

    def begin_paused(self, tag):
        """A live save that is paused in its first pass, with nothing in flight."""
        self.begin(tag)
        self.v.call('job-pause', {'id': 'j'})
        assert self.go_on()
        while self.job('j')['status'] != 'paused':
            pass

    def end(self):
        """Waits for the job's end; its error, or None."""
        while (job := self.job('j'))['status'] != 'concluded':
            pass
        self.v.call('job-dismiss', {'id': 'j'})
        return job.get('error')

    def snapshots(self, disk):
        return sorted(line.split()[1]
                      for line in img('snapshot', '-U', '-l', f'{self.work}/{disk}').splitlines()[2:])

    def must_have_snapshots(self, *names):
        found = [self.snapshots('a'), self.snapshots('b')]
        assert found == [sorted(names)] * 2, f'{found}, not {names}'


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix='live-') as work:
        for name in 'ab':
            img('create', '-q', '-f', 'qcow2', f'{work}/{name}', '1M')
        yield work


@contextlib.contextmanager
def machine(work, *words):
    args = ['-machine', 'pc', '-m', '64', '-nodefaults', '-serial', 'null', '-drive',
            'if=none,id=a,node-name=na,driver=qcow2,file.driver=blkdebug,'
            f'file.image.driver=file,file.image.filename={work}/a', '-drive',
            f'file={work}/b,if=none,id=b,node-name=nb,driver=qcow2', *words]
    with vm(args) as v:
        yield Machine(v, work)


@contextlib.contextmanager
def one(*words):
    """A machine with fresh disks, which are sound in the end."""
    with folder() as work:
        with machine(work, *words) as m:
            yield m
        for name in 'ab':
            img('check', '-q', f'{work}/{name}')


@test('what changes meanwhile comes back')
def _():
    with one() as m:
        for page in 1, 2, 3:
            m.fill(page, page)
        m.v.qtest(f'outb {SCRATCH:#x} 0x11')
        m.begin('x')
        m.fill(1, 0)
        m.fill(2, 22)
        m.fill(7, 7)  # it was a hole
        m.v.call('job-pause', {'id': 'j'})
        assert m.go_on()
        while m.job('j')['status'] != 'paused':
            pass
        m.fill(3, 33)
        m.fill(8, 8)
        m.v.qtest(f'outb {SCRATCH:#x} 0x22')
        m.v.call('job-resume', {'id': 'j'})
        assert m.end() is None
        for page in range(1, 9):
            m.fill(page, 99)
        m.v.qtest(f'outb {SCRATCH:#x} 0x99')
        assert hmp(m.v, 'loadvm x') == ''
        m.must_have(p0=0, p1=0, p2=22, p3=33, p4=0, p7=7, p8=8)
        assert m.ask(f'inb {SCRATCH:#x}') == 0x22
        said = m.v.said()
        assert 'stopping for about ' in said and 'the guest stood still for ' in said, said


@test('a guest that writes all the time is stopped in the end')
def _():
    with one() as m:
        m.fill(0, 1, 8192)
        m.begin('x')
        assert m.go_on()
        last = 1
        while last < 250 and m.pause():
            last += 1
            m.fill(0, last, 8192)
            m.v.call('job-resume', {'id': 'j'})
        assert m.end() is None
        assert last < 250, 'it did not come to an end'
        m.fill(0, 0, 8192)
        assert hmp(m.v, 'loadvm x') == ''
        m.must_have(p0=last, p8191=last, p8192=0)


@test('others are refused by name, and the machine is free')
def _():
    with one('-device', 'virtio-blk-pci,drive=b,id=blk') as m:
        v = m.v
        assert hmp(v, 'savevm old') == ''
        m.fill(5, 5)
        m.begin_paused('x')
        for line in ('savevm y', 'savevm -live y', 'loadvm old', 'delvm old', 'block_resize a 2M',
                     'block_resize b 2M', 'qemu-io a "truncate 2M"'):
            said = hmp(v, line)
            assert (BUSY in said or "is in use" in said
                    or "gets another length by 'block_resize'" in said), (line, said)
        v.refuse('snapshot-save', {'job-id': 'j', 'tag': 'y', 'vmstate': 'na', 'devices': ['na']},
                 "Job ID 'j' already in use")
        for command, arguments in (
                ('blockdev-snapshot-internal-sync', {'device': 'a', 'name': 'y'}),
                ('drive-backup', {'device': 'b', 'target': f'{m.work}/t', 'sync': 'full'})):
            said = v.raw(command, arguments)
            assert BUSY in said['error']['desc'], said
        v.call('device_add', {'driver': 'virtio-net-pci', 'id': 'nic', 'addr': '7'})
        m.fill(6, 6)
        for line in 'stop', 'cont', 'system_reset', 'stop', 'cont', 'qemu-io b "write -P 7 0 64k"':
            hmp(v, line)
        v.call('job-resume', {'id': 'j'})
        assert m.end() is None
        for page in 5, 6:
            m.fill(page, 99)
        assert hmp(v, 'loadvm x') == ''
        m.must_have(p5=5, p6=6)
        assert hmp(v, 'loadvm old') != ''  # which has no such card
        m.must_have(p5=5, p6=6)
        m.must_have_snapshots('old', 'x')


@test('a disk of the name that is there is replaced, once the new one is complete')
def _():
    with one() as m:
        for value in 1, 2, 3:
            m.fill(1, value)
            hmp(m.v, 'savevm -live x')
        m.must_have_snapshots('x')
        m.fill(1, 9)
        assert hmp(m.v, 'loadvm x') == ''
        m.must_have(p1=3)
        m.save('x')
        assert m.end() == "Snapshot 'x' already exists in one or more devices"
        m.must_have_snapshots('x')


@test('cancelled, it leaves nothing, and what it would have replaced is there')
def _():
    with one() as m:
        m.fill(1, 1)
        assert hmp(m.v, 'savevm x') == ''
        m.fill(0, 3, 4096)
        for _ in range(3):
            m.begin('y')
            m.v.call('job-cancel', {'id': 'j'})
            assert m.go_on()
            assert m.end() == 'the job was cancelled'
        size = os.stat(f'{m.work}/a').st_size
        assert size < 3 * 4096 * PAGE, size  # one takes the room that another has given back
        m.must_have_snapshots('x')
        m.must_have(p1=3)
        assert hmp(m.v, 'loadvm x') == ''
        m.must_have(p0=0, p1=1)


@test('quit ends it, and the older snapshot is there')
def _():
    with folder() as work:
        with machine(work) as m:
            m.fill(1, 1)
            assert hmp(m.v, 'savevm old') == ''
            m.begin_paused('x')
            m.v.call('quit')
            assert m.v.process.wait(30) == 0, m.v.said()
        with machine(work, '-loadvm', 'old') as m:
            m.must_have(p1=1)
            m.must_have_snapshots('old')
        for name in 'ab':
            img('check', '-q', f'{work}/{name}')


@test('killed at any write, it leaves a sound image')
def _():
    for writes in 0, 2, 5, 9:
        with folder() as work:
            with machine(work) as m:
                m.fill(1, 1)
                m.fill(100, 1, 3000)
                assert hmp(m.v, 'savevm old') == ''
                m.fill(1, 2)
                m.begin('x')
                for _ in range(writes):
                    m.fill(200, 2, 20)
                    m.hold()
                    if not m.go_on(m.tags - 1):
                        break
                m.v.process.kill()
                m.v.process.wait(30)
            with machine(work, '-loadvm', 'old') as m:
                m.must_have(p1=1, p200=1)
                # Complete, or not there.
                assert m.snapshots('b') in (['old'], ['old', 'x'])
                if 'x' in m.snapshots('a') and 'x' in m.snapshots('b'):
                    assert hmp(m.v, 'loadvm x') == ''
                    m.must_have(p1=2)
                hmp(m.v, 'savevm -live x')
                m.must_have_snapshots('old', 'x')
            for name in 'ab':
                img('check', '-q', '-r', 'leaks', f'{work}/{name}')


@test('a disk that fails')
def _():
    with one() as m:
        m.fill(1, 1)
        assert hmp(m.v, 'savevm old') == ''
        failed = 0
        for event in ('vmstate_save', 'write_aio', 'l2_alloc_write', 'flush_to_disk',
                      'l1_grow_write_table', 'pwritev'):
            img('create', '-q', '-f', 'qcow2', f'{m.work}/c', '1M')
            m.v.call('blockdev-add', {'driver': 'qcow2', 'node-name': 'nc', 'file': {
                'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': f'{m.work}/c'},
                'inject-error': [{'event': event, 'errno': 28, 'once': True}]}})
            m.save('x', vmstate='nc', devices=['nc', 'na', 'nb'])
            error = m.end()
            if error is None:
                m.must_have_snapshots('old', 'x')
                assert hmp(m.v, 'delvm x') == ''
            else:
                failed += 1
                assert 'No space left' in error, (event, error)
            m.must_have_snapshots('old')
            assert m.snapshots('c') == []
            m.v.call('blockdev-del', {'node-name': 'nc'})
            img('check', '-q', f'{m.work}/c')
        assert failed >= 4, failed
        assert hmp(m.v, 'loadvm old') == ''
        m.must_have(p1=1)


class Terminal:
    """A client of an HMP monitor."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(30)
        self.got = ''

    def type(self, text):
        self.socket.sendall(text.encode())

    def read(self, until):
        """What comes up to a text."""
        while until not in self.got:
            piece = self.socket.recv(4096).decode()
            assert piece, self.got
            self.got += piece.replace('\r', '')
        said, _, self.got = self.got.partition(until)
        return said


@test('at a monitor: lengths, Ctrl-C, another monitor')
def _():
    with one('-chardev', 'socket,id=h,path=hmp,server=on,wait=off', '-mon', 'chardev=h') as m:
        m.fill(1, 1)
        user = Terminal(f'{m.v.dir}/hmp')
        user.read('(qemu) ')
        user.type('savevm -live x\n')
        lines = user.read('(qemu) ').splitlines()
        assert lines[1].startswith('stopping for about ') and lines[1].endswith(' ms'), lines
        assert lines[2].startswith('the guest stood still for ') and len(lines) == 3, lines
        for cancel in 'Ctrl-C', 'job_cancel':
            m.hold()
            user.type('savevm -live x\n')
            m.has_begun('savevm')
            if cancel == 'Ctrl-C':
                user.type('info vers\x03')
                m.v.call('query-status')  # the loop has turned
            else:
                assert hmp(m.v, 'job_cancel savevm') == ''
            assert m.go_on(job='savevm')
            said = user.read('(qemu) ')
            assert 'Error: the job was cancelled' in said and 'info' not in said, said
        # A plain save is no job for others. It is cancelled or complete. What is typed behind it
        # is kept.
        m.fill(1, 7, 12000)
        user.type('savevm y\n')
        while m.v.call('query-status')['status'] != 'save-vm' and m.snapshots('b') == ['x']:
            assert m.v.call('query-jobs') == []
        user.type('\x03info kvm\n')
        cancelled = 'Error: the job was cancelled' in user.read('(qemu) ')
        assert 'kvm support: ' in user.read('(qemu) ')
        if not cancelled:
            assert hmp(m.v, 'delvm y') == ''
        m.must_have_snapshots('x')
        assert hmp(m.v, 'loadvm x') == ''


finish()
