#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP's commands for disks: what they print, line by line against QEMU's. Called with the paths of vmm and vmm-img; TAP on stdout."""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
IMAGES = tempfile.TemporaryDirectory(prefix='hmp-block-')


def img(*args):
    subprocess.run([VMM_IMG, *args], check=True, stdout=subprocess.DEVNULL)


def make_images():
    """Once; each program gets a copy. 'top' has a chain, whose images name each other without a
    folder, and whose data is more than a job copies before it looks at its limit."""
    with open(f'{IMAGES.name}/data', 'wb') as f:
        f.write(b'data' * (2 << 18))
        f.truncate(4 << 20)
    img('convert', '-f', 'raw', '-O', 'qcow2', f'{IMAGES.name}/data', f'{IMAGES.name}/base')
    os.unlink(f'{IMAGES.name}/data')
    for name, size in {'ex': '4M', 'plug': '1M', 'ro': '1M'}.items():
        img('create', '-q', '-f', 'qcow2', f'{IMAGES.name}/{name}', size)
    for name, below in {'mid': 'base', 'top': 'mid'}.items():
        img('create', '-q', '-f', 'qcow2', '-b', below, '-F', 'qcow2', f'{IMAGES.name}/{name}')
    for name, size in {'raw': '1M', 'iso': '1M', 'iso2': '2M'}.items():
        with open(f'{IMAGES.name}/{name}', 'wb') as f:
            f.truncate(int(size[:-1]) << 20)


make_images()

D0 = ['-drive', 'file=W/top,if=none,id=d0,node-name=n0', '-device', 'virtio-blk-pci,drive=d0,id=v0']
R0 = ['-drive', 'file=W/raw,format=raw,if=none,id=r0,cache=none,detect-zeroes=on']
RO = ['-drive', 'file=W/ro,if=none,id=ro,read-only=on,cache=writethrough']
CD = ['-drive', 'if=none,id=cd,media=cdrom', '-device', 'ide-cd,drive=cd,id=cd0']
CDF = ['-drive', 'file=W/iso,format=raw,if=none,id=cdf,media=cdrom', '-device',
       'ide-cd,drive=cdf,id=cd1']
BN = ['-blockdev', 'driver=qcow2,node-name=bn,file.driver=file,file.filename=W/ex,'
      'file.node-name=bf']
ALL = D0 + R0 + RO + CD + CDF + BN


class Program:
    """One of the two, on images of its own."""

    def __init__(self, v, work):
        self.v, self.work = v, work

    def jobs(self):
        return self.v.call('query-block-jobs')

    def until(self, happened):
        while not happened():
            time.sleep(0.01)

    def run(self, line):
        """The answer to a line of HMP. '@ready', '@paused', '@idle' wait for that state of the jobs; '@jobs' is what QMP says of them."""
        if line == '@ready':
            self.until(lambda: all(j['ready'] for j in self.jobs()))
        elif line == '@paused':
            self.until(lambda: all(j['status'] == 'paused' for j in self.jobs()))
        elif line == '@idle':
            self.until(lambda: not self.v.call('query-jobs'))
        elif line == '@jobs':
            return str([{k: j[k] for k in ('type', 'device', 'len', 'offset', 'paused', 'ready')}
                        for j in self.jobs()])
        elif line == '@exports':
            return str([(e['id'], e['node-name'][:6]) for e in self.v.call('query-block-exports')])
        else:
            text = self.v.call('human-monitor-command',
                               {'command-line': line.replace('W/', f'{self.work}/')})
            return self.plain(text)
        return ''

    def plain(self, text):
        """Without what depends on the time, the folder or chance. Programs get "Error: " before each
        error of vmm's, where QEMU has it before some."""
        text = text.replace('\r', '').replace(f'{self.work}/', 'W/').removeprefix('Error: ')
        text = re.sub('#block[0-9]+', '#block', text)
        text = re.sub('time_ns=[0-9]+', 'time_ns=N', text)
        text = re.sub(r'Completed \d+ of', 'Completed N of', text)
        return re.sub(r'\d+-\d+-\d+ \d+:\d+:\d+ \d+:\d+:\d+\.\d+', 'DATE CLOCK', text)


def answers(binary, args, lines):
    with tempfile.TemporaryDirectory() as folder:
        work = f'{folder}/w'
        shutil.copytree(IMAGES.name, work)
        own = [a.replace('W/', f'{work}/') for a in args]
        with vm(['-S', '-machine', 'pc', '-m', '64', '-nodefaults', *own], binary,
                binary == VMM) as v:
            program = Program(v, work)
            return [program.run(line if isinstance(line, str) else line[0]) for line in lines]


def compare(name, args, *lines):
    """A line that is a pair has an answer of this program's own, which is the second of it."""
    @test(f'as in QEMU: {name}', None if QEMU else 'QEMU is not installed')
    def _():
        for line, want, have in zip(lines, answers(QEMU, args, lines), answers(VMM, args, lines)):
            if not isinstance(line, str):
                assert want != have, f'{line[0]}: QEMU says the same: {want!r}'
                line, want = line
            assert want == have, f'{line}: {have!r}, expected {want!r}'


def misread(command, why):
    return f'{why}\nTry "help {command}" for more information\n'


compare('info', ALL,
        'info block', 'info block -v', 'info block -n', 'info block -n -v', 'info block d0',
        'info block -v d0', 'info block n0', 'info block -n n0', 'info block -n bn',
        'info block -v bf', 'info block -n d0', 'info block bn', 'info block nope',
        'info block -n nope', 'info block -x', 'info block d0 x', 'info block -v r0',
        'info block -v cd', 'info block v0', 'info blockstats', 'info blockstats d0',
        'info blockstats -n', 'info block-jobs', 'info block-jobs x', 'info snapshots',
        'info snapshots x',
        *[f'help {command}' for command in
          ('block_resize', 'block_stream', 'block_job_set_speed', 'block_job_pause',
           'block_job_resume', 'block_set_io_throttle', 'commit', 'drive_del', 'eject',
           'info block', 'info blockstats', 'info block-jobs', 'commit x', 'info block -v')])

compare('sizes and limits', ALL,
        'block_resize', 'block_resize d0 8', 'block_resize d0 4k', 'block_resize d0 1G x',
        'block_resize nope 4', 'block_resize n0 6', 'block_resize bn 6', 'block_resize d0 x',
        'block_resize d0 -1', 'block_resize d0 0', 'block_resize d0 1.5', 'block_resize d0 1g',
        'block_resize d0 512B', 'block_resize d0 9999999999999999', 'block_resize d0 8E',
        'block_resize d0 0x10', 'block_resize r0 513B', 'block_resize ro 2M', 'block_resize cd 2M',
        'block_resize -f d0 2', 'block_resize v0 2', 'info block -v r0',
        ('block_resize d0', misread('block_resize', 'block_resize: size expected')),
        ('block_resize d0 10kb', misread('block_resize', 'invalid size')),
        ('block_resize cdf 2M', 'Image is read-only\n'),
        *[f'block_set_io_throttle {words}' for words in
          ('', 'd0', 'd0 1', 'd0 1 2 3 4 5 6', 'd0 1000 0 0 10 0 0', 'd0 0 0 0 0 0 0',
           'nope 0 0 0 0 0 0', 'v0 0 10000 0 0 0 0', 'cd0 0 1 0 0 0 0', 'd0 1 2 3 4 5 6 7',
           'd0 1M 0 0 0 0 0', 'd0 -1 0 0 0 0 0', 'd0 1000000000000001 0 0 0 0 0',
           'd0 0x100 0 0 0 0 0', 'd0 1+1 0 0 0 0 0', 'bn 1 0 0 0 0 0',
           'r0 0 4096 4096 0 7 8')],
        'info block')

compare('jobs', ALL,
        'block_stream', 'block_stream d0 x', 'block_stream d0 -1', 'block_stream nope',
        'block_stream cd', 'block_stream v0', 'block_stream -f d0', 'block_stream d0 0 W/nope',
        'block_stream d0 0 W/top', 'block_stream d0 8E', 'block_stream bn', '@idle',
        'block_stream r0', '@idle', 'info block-jobs',
        'block_stream d0 1k', 'block_job_pause d0', '@paused', 'info block-jobs',
        'block_stream d0', 'block_resize d0 8', 'commit d0', 'snapshot_blkdev d0 W/o',
        'drive_backup d0 W/b', 'drive_del d0', 'block_job_pause d0', 'block_job_cancel d0',
        'block_job_complete d0', 'block_job_set_speed', 'block_job_set_speed d0 x',
        'block_job_set_speed d0 8E', 'block_job_set_speed d0 1.5M', 'info block-jobs',
        'block_job_set_speed d0 10B', 'info block-jobs', 'block_job_set_speed nope 1',
        ('block_job_set_speed d0', misread('block_job_set_speed',
                                           'block_job_set_speed: size expected')),
        'block_job_cancel -x d0', 'block_job_cancel', 'block_job_cancel nope',
        'block_job_cancel -f d0', '@idle', 'block_job_cancel d0', 'block_job_complete',
        'block_job_complete nope', 'block_job_pause', 'block_job_pause nope',
        'block_job_pause d0 x', 'block_job_resume', 'block_job_resume nope', 'info block d0',
        'block_stream d0 0 W/base', '@idle', 'info block d0')

compare('copies', ALL,
        *[f'drive_{verb} {words}' for verb in ('mirror', 'backup') for words in
          ('', 'd0', 'nope W/m', '-x d0 W/m', '-n d0 W/nofile', 'd0 W/nodir/m', 'd0 W/m nope',
           'cd W/m', 'd0 W/m raw x', '-n d0 W/raw raw', '-f d0 W/top')],
        'drive_mirror d0 W/m', '@ready', 'info block-jobs', '@jobs', 'info block d0',
        'block_resize d0 8', 'drive_del d0', 'commit d0', 'block_stream d0',
        ('drive_mirror d0 W/m2',
         "Node 'd0' is busy: block device is in use by block job: mirror\n"),
        'snapshot_blkdev d0 W/o', 'block_job_complete d0', '@idle', 'info block d0',
        'drive_mirror -f d0 W/m3', '@ready', 'block_job_cancel d0', '@idle', 'info block d0',
        'drive_mirror -n -f d0 W/m3', '@ready', 'block_job_cancel -f d0', '@idle',
        'drive_mirror -f n0 W/m4', 'drive_mirror -n -f r0 W/iso2 raw',
        'drive_backup d0 W/b', '@idle', 'drive_backup -f d0 W/b2 raw', '@idle',
        'drive_backup -f -c d0 W/b3', '@idle', 'drive_backup -n -f d0 W/b3', '@idle',
        'drive_backup v0 W/b4', 'drive_backup ro W/b5', '@idle', 'drive_backup -c d0 W/b6 raw',
        'info block-jobs', 'info block')

compare('snapshots and commits', ALL,
        'commit', 'commit nope', 'commit cd', 'commit r0', 'commit ro', 'commit bn', 'commit v0',
        'commit -f d0', 'commit d0 x', 'commit d0', 'commit all', 'commit all x',
        'snapshot_blkdev', 'snapshot_blkdev d0', 'snapshot_blkdev nope W/o',
        'snapshot_blkdev -n d0 W/nofile', 'snapshot_blkdev -x d0 W/o', 'snapshot_blkdev d0 W/o',
        'info block d0', 'snapshot_blkdev d0 W/o', 'snapshot_blkdev d0 W/o2 raw',
        'snapshot_blkdev d0 W/o2 nope', 'snapshot_blkdev d0 W/o2 qcow2 x',
        'snapshot_blkdev d0 W/nodir/o', 'snapshot_blkdev cd W/o3', 'snapshot_blkdev r0 W/o4',
        'info block r0',
        *[f'snapshot_blkdev_internal {words}' for words in
          ('', 'd0', 'd0 s1 x', 'd0 s1', 'd0 s1', 'nope s1', 'ro s1', 'cd s1', 'bn s1', 'd0 s2',
           '-x d0 s', 'd0 "with space"', 'd0 ""', 'r0 s1')],
        *[f'snapshot_delete_blkdev_internal {words}' for words in
          ('', 'd0', 'nope s1', 'd0 nope', 'd0 s1 9', 'd0 s1 1 x', 'd0 s2 2', 'cd s1')],
        'info snapshots', 'drive_del bn', 'info snapshots', 'drive_del r0', 'info snapshots',
        'snapshot_delete_blkdev_internal d0 s1', 'snapshot_delete_blkdev_internal d0 "with space"',
        'info snapshots', 'drive_del d0', 'info snapshots')

compare('drives that come and go', ALL,
        'drive_add', 'drive_add 0', 'drive_add 0 if=none', 'info block',
        *[f'drive_add 0 if=none,id={words}' for words in
          ('a1,file=W/plug', 'a2,file=W/nofile', 'a3,file=W/iso2,format=nope',
           'a3,file=W/iso2,format=raw', 'a4,file=W/iso,format=raw,readonly=on', 'a5,media=cdrom',
           'a6,file=W/ex', 'a7,file=null-co://,format=raw,bps=1000,iops=5,group=g x')],
        'drive_add -n 0 driver=null-co,node-name=nn', 'drive_add -n 0 driver=null-co,node-name=nn',
        'drive_add -n 0 driver=nope,node-name=x', 'drive_add -x 0 if=none', 'info block nn',
        'info block', 'info block a4', 'drive_del', 'drive_del nope', 'drive_del -f d0',
        'drive_del d0 x', 'drive_del nn', 'info block nn', 'drive_del a1', 'drive_del v0',
        'drive_del d0', 'info block d0', 'drive_del d0', 'device_del v0', 'drive_del cd',
        'drive_del cdf', 'drive_del ro', 'info block',
        ('info blockstats', ''.join(
            f'{name}: rd_bytes=0 wr_bytes=0 rd_operations=0 wr_operations=0 flush_operations=0 '
            'wr_total_time_ns=N rd_total_time_ns=N flush_total_time_ns=N rd_merged=0 wr_merged=0 '
            'idle_time_ns=N\n' for name in
            ('/machine/peripheral/v0/virtio-backend', 'r0', 'cd0', 'cd1', 'none5', 'a3', 'a4',
             'a5'))))

compare('exports', ALL,
        'nbd_server_start', 'nbd_server_start unix:W/nodir/s', 'nbd_server_start -w unix:W/s',
        'nbd_server_start -x unix:W/s', 'nbd_server_start unix:W/s x', 'nbd_server_stop',
        'nbd_server_add d0', 'nbd_server_remove d0', 'nbd_server_start tcp:127.0.0.1:0',
        'nbd_server_stop', 'nbd_server_start 127.0.0.1:0,ipv4=on', 'nbd_server_stop',
        ('nbd_server_start 127.0.0.1', "error parsing address '127.0.0.1': it is unix:PATH, "
         'fd:NAME or [HOST]:PORT\n'),
        'nbd_server_start unix:W/s', 'nbd_server_start unix:W/s2',
        *[f'nbd_server_add {words}' for words in
          ('', 'nope', 'cd', '-x d0', 'd0', 'd0', 'n0', 'n0 x y', '-w r0', '-w r0 second', 'ro',
           '-w ro roro', 'bn', 'v0', 'cdf', 'r0 ""')],
        '@exports', 'nbd_server_remove', 'nbd_server_remove nope', 'nbd_server_remove -x d0',
        'nbd_server_remove d0 x', 'nbd_server_remove d0', 'nbd_server_remove d0',
        'nbd_server_remove -f n0', 'drive_del r0', '@exports', 'eject cdf', '@exports',
        'nbd_server_stop x', 'nbd_server_stop', 'nbd_server_stop', '@exports',
        'nbd_server_start -a unix:W/s', '@exports', 'nbd_server_stop', 'drive_del d0',
        'nbd_server_start -a -w unix:W/s', '@exports', 'nbd_server_stop')

compare('media', ALL,
        'eject', 'eject nope', 'eject d0', 'eject cd', 'info block cd', 'eject cdf',
        'info block cdf', 'eject -f cdf', 'eject -x cdf', 'eject cdf x', 'eject n0', 'change',
        'change cd', 'change cd W/iso', 'info block cd', 'change cd W/iso2 raw', 'info block cd',
        'change cd W/nofile', 'info block cd', 'change cd W/iso nope', 'info block cd',
        'change cd W/iso raw retain', 'info block cd', 'change cd W/iso raw read-only',
        'change cd W/iso raw retain x', 'change cd -f W/iso2 raw', 'change cd -x W/iso raw',
        'info block cd', 'change nope W/iso', 'change d0 W/iso raw', 'eject r0', 'info block r0')


@test('a chain of many nodes, each with a name: the last that was ready comes first')
def _():
    with vm(['-machine', 'none']) as v:
        for i in range(4):
            v.call('blockdev-add', {'driver': 'raw', 'node-name': f'r{i}', 'file': {
                'driver': 'raw', 'node-name': f'm{i}', 'file': {
                    'driver': 'null-co', 'node-name': f'f{i}'}}})
        names = [n['node-name'] for n in v.call('query-named-block-nodes')]
        assert names == [f'{kind}{i}' for i in (3, 2, 1, 0) for kind in 'rmf'], names
        stats = [n['node-name'] for n in v.call('query-blockstats', {'query-nodes': True})]
        assert stats == names[::-1], stats


@test('-a exports disks that have no drive, by the names of their nodes')
def _():
    with vm(['-machine', 'pc', '-nodefaults', '-blockdev', 'driver=null-co,node-name=n',
             '-device', 'virtio-blk-pci,drive=n,share-rw=on']) as v:
        def start(words):
            return v.call('human-monitor-command', {'command-line': f'nbd_server_start {words}'})

        for port in '99999', '-1':
            got = start(f'127.0.0.1:{port}')
            assert 'ports are 0 to 65535' in got, got
        got = start('-a -w unix:s')
        assert got == '', got
        assert [e['id'] for e in v.call('query-block-exports')] == ['n']


@test('the name of a file may be any bytes')
def _():
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/x\udcff', 'wb') as f:
            f.truncate(1 << 20)
        img('create', '-q', '-f', 'qcow2', '-u', '-b', 'xy', '-F', 'raw', f'{folder}/o', '1M')
        with open(f'{folder}/o', 'rb+') as f:
            header = f.read(1 << 16)
            f.seek(header.index(b'xy'))
            f.write(b'x\xff')
        with vm(['-machine', 'none', '-drive', f'file={folder}/o,if=none,id=d']) as v:
            for line in 'info block', 'info block -v d', 'info block -n':
                text = v.call('human-monitor-command', {'command-line': line})
                assert f'Backing file:     {folder}/x\ufffd (chain depth: 1)' in text, text


def shown(prompt, text, wanted):
    """Types a text, and reads what the monitor shows until the wanted one is there; or it takes
    too long."""
    prompt.sendall(text.encode())
    seen = ''
    while wanted not in seen:
        seen += prompt.recv(4096).decode()


@test('Tab completes drives, behind flags too')
def _():
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f'{folder}/m')
        server.listen(1)
        server.settimeout(30)
        with vm(['-machine', 'pc', '-nodefaults', '-drive', 'if=none,id=unique-d1', '-monitor',
                 f'unix:{folder}/m']):
            prompt = server.accept()[0]
            prompt.settimeout(30)
            shown(prompt, '', '(qemu) ')
            for command in ('drive_mirror -n -f', 'commit', 'block_job_cancel -f', 'qemu-io',
                            'info block -v', 'nbd_server_add'):
                shown(prompt, f'{command} uni\t', f'{command} unique-d1')
                prompt.sendall(b'\x15')  # the line is dropped
            prompt.close()


finish()
