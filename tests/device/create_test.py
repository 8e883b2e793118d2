#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs that make and change images over QMP: blockdev-create, x-blockdev-amend; what the files are
afterwards, and what is refused, as with QEMU. Called with the paths of vmm and vmm-img; TAP on
stdout."""
import json
import os
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])
MIB = 1 << 20
NO_QEMU = None if QEMU else 'QEMU is not installed'
SECRETS = ['--object', 'secret,id=s0,data=foo', '--object', 'secret,id=s1,data=bar']


class Jobs:
    """Creates images in a machine without devices, and keeps what came of it."""

    def __init__(self, v):
        self.v, self.count, self.said = v, 0, []
        # A file for the images, with its lock.
        with open('f', 'wb') as f:
            f.write(bytes(100))
        self.call('blockdev-add', driver='file', filename='f', node_name='f0')

    def call(self, command, **arguments):
        arguments = {k.replace('_', '-'): x for k, x in arguments.items()}
        return self.v.call(command, arguments)

    def until(self, status):
        """Until a job has the status; gives all statuses that came."""
        while True:
            seen = [e['data']['status'] for e in self.v.events
                    if e['event'] == 'JOB_STATUS_CHANGE']
            if status in seen:
                self.v.events.clear()
                return seen
            self.v.events.append(json.loads(self.v.files[0].readline()))

    def run(self, command, **arguments):
        """The job's end: its error, or None; or why there is no job."""
        self.count += 1
        arguments['job-id'] = f'j{self.count}'
        reply = self.v.raw(command, arguments)
        if 'error' in reply:
            return 'no job', reply['error']['desc']
        statuses = self.until('concluded')
        job, = self.v.call('query-jobs')
        assert job['id'] == f'j{self.count}' and job['status'] == 'concluded', job
        assert (job['current-progress'], job['total-progress']) == (1, 1), job
        self.v.call('job-dismiss', {'id': job['id']})
        self.v.events.clear()
        return job['type'], job.get('error'), statuses

    def create(self, **options):
        options = {k.replace('_', '-'): x for k, x in options.items()}
        return self.run('blockdev-create', options=options)

    def made(self, **options):
        """Creates an image that is as qemu-img would have it, as far as 'check' tells."""
        said = self.create(**options)
        assert said[:2] == ('create', None), said
        return self.info(options['driver'])

    def info(self, driver):
        tree = f'driver={driver},file.driver=file,file.filename=f'
        p = subprocess.run([VMM_IMG, 'info', '-U', '--output=json', '--image-opts', tree],
                           check=True, stdout=subprocess.PIPE)
        return json.loads(p.stdout)

    def amend(self, node, force=False, **options):
        options = {k.replace('_', '-'): x for k, x in options.items()}
        return self.run('x-blockdev-amend', **{'node-name': node, 'options': options,
                                               'force': force})


def machine(talk, binary=VMM):
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        try:
            # The program's own folder is another one: names are made whole.
            with vm(['-machine', 'none', '-nodefaults'] + SECRETS, binary, binary == VMM) as v:
                os.chdir(v.dir)
                return talk(Jobs(v))
        finally:
            os.chdir(here)


def same(talk):
    """The same with QEMU and vmm."""
    for want, have in zip(machine(talk, QEMU), machine(talk)):
        assert want == have, f'{have}, QEMU: {want}'


@test('files')
def _():
    def talk(j):
        for size, options in ((0, {}), (1001, {}), (MIB, {'preallocation': 'falloc'}),
                              (MIB, {'preallocation': 'full', 'nocow': True}),
                              (MIB, {'extent-size-hint': 65536})):
            said = j.create(driver='file', filename='new', size=size, **options)
            assert said[:2] == ('create', None), said
            st = os.stat('new')
            assert st.st_size == size, (options, st)
            assert st.st_blocks * 512 >= MIB or 'preallocation' not in options, (options, st)
        # What is there loses its content.
        with open('new', 'wb') as f:
            f.write(b'x' * 5000)
        assert j.create(driver='file', filename='new', size=4096)[1] is None
        with open('new', 'rb') as f:
            assert f.read() == bytes(4096)
        assert j.create(driver='file', filename='full', size=1 << 62)[1]
        assert not os.path.exists('full')
    machine(talk)


@test('images of every format, over one another')
def _():
    def talk(j):
        info = j.made(driver='qcow2', file='f0', size=MIB)
        assert (info['virtual-size'], info['cluster-size']) == (MIB, 65536), info
        info = j.made(driver='qcow2', file='f0', size=2 * MIB, version='v2', cluster_size=4096,
                      backing_file='below', backing_fmt='raw')
        assert info['format-specific']['data']['compat'] == '0.10', info
        assert (info['cluster-size'], info['backing-filename'],
                info['backing-filename-format']) == (4096, 'below', 'raw'), info
        info = j.made(driver='qcow2', file='f0', size=MIB, extended_l2=True, refcount_bits=1,
                      lazy_refcounts=True, preallocation='metadata', compression_type='zlib')
        data = info['format-specific']['data']
        assert data['extended-l2'] and data['lazy-refcounts'] and data['refcount-bits'] == 1, data
        info = j.made(driver='qcow2', file={'driver': 'file', 'filename': 'f'}, size=MIB,
                      encrypt={'format': 'luks', 'key-secret': 's0', 'iter-time': 10,
                               'cipher-alg': 'aes-128'})
        assert info['format-specific']['data']['encrypt']['cipher-alg'] == 'aes-128', info
        info = j.made(driver='luks', file='f0', size=MIB + 512, key_secret='s0', iter_time=10)
        assert info['virtual-size'] == MIB + 512, info
        info = j.made(driver='vdi', file='f0', size=MIB, preallocation='metadata')
        assert info['virtual-size'] == MIB and os.path.getsize('f') > MIB, info
        info = j.made(driver='vhdx', file='f0', size=4 * MIB, subformat='fixed', block_size=2 * MIB,
                      log_size=2 * MIB)
        assert (info['virtual-size'], info['cluster-size']) == (4 * MIB, 2 * MIB), info
        info = j.made(driver='vmdk', file='f0', size=MIB, adapter_type='lsilogic',
                      zeroed_grain=True)
        assert info['virtual-size'] == MIB, info
        info = j.made(driver='vpc', file='f0', size=MIB, force_size=True, subformat='fixed')
        assert info['virtual-size'] == MIB, info
        # Nobody has the node any more, and it is as long as the image.
        j.made(driver='qcow2', file='f0', size=MIB)
        j.call('blockdev-add', driver='qcow2', file='f0', node_name='q0')
        j.call('blockdev-del', node_name='q0')
        j.call('blockdev-del', node_name='f0')
    machine(talk)


@test('refused', skip=NO_QEMU)
def _():
    def talk(j):
        said = [j.create(**o) for o in (
            {'driver': 'qcow2', 'file': 'nope', 'size': MIB},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB + 1},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'cluster_size': 1000},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'version': 'v2', 'refcount_bits': 1},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'version': 'v2', 'extended_l2': True},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'backing_fmt': 'raw'},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'data_file_raw': True},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB, 'encrypt': {'format': 'luks'}},
            {'driver': 'qcow2', 'file': 'f0', 'size': MIB,
             'encrypt': {'format': 'luks', 'key-secret': 'nope'}},
            {'driver': 'luks', 'file': 'f0', 'size': MIB},
            {'driver': 'vpc', 'file': 'f0', 'size': MIB},
            {'driver': 'vmdk', 'file': 'f0', 'size': MIB + 5},
            {'driver': 'file', 'filename': '/nonexistent/a', 'size': 0},
            {'driver': 'file', 'filename': 'new', 'size': 512, 'preallocation': 'metadata'},
            {'driver': 'file', 'filename': 'new', 'size': 512, 'extent_size_hint': 1 << 40},
            {'driver': 'qcow2', 'size': MIB},
            {'driver': 'qcow2', 'file': 'f0'},
            {'driver': 'raw'},
            {'driver': 'null-co'},
        )]
        j.v.files[0].write('{"execute": "blockdev-create", "arguments": {"job-id": "1x", '
                           '"options": {"driver": "file", "filename": "x", "size": 1}}}')
        said.append(json.loads(j.v.files[0].readline())['error']['desc'])
        j.call('blockdev-add', driver='file', filename='f', node_name='ro', read_only=True)
        said.append(j.create(driver='qcow2', file='ro', size=MIB))
        return said
    same(talk)


@test('what is in use is left alone')
def _():
    def talk(j):
        j.made(driver='qcow2', file='f0', size=MIB)
        j.call('blockdev-add', driver='qcow2', file='f0', node_name='q0')
        said = j.create(driver='luks', file='f0', size=MIB, key_secret='s0')
        assert 'Permission conflict on node' in said[1], said
        said = j.create(driver='file', filename='f', size=MIB)
        assert 'Failed to get' in said[1], said
        # A wrong option loses nothing.
        j.call('blockdev-del', node_name='q0')
        with open('f', 'rb') as f:
            before = f.read()
        for options in ({'driver': 'qcow2', 'cluster_size': 5}, {'driver': 'vdi', 'size': 1 << 62},
                        {'driver': 'luks', 'key_secret': 'nope'}):
            said = j.create(**{'file': 'f0', 'size': MIB, **options})
            assert said[1], (options, said)
        with open('f', 'rb') as f:
            assert f.read() == before
    machine(talk)


@test('a job that is under way: the machine stops without it, and it can be cancelled')
def _():
    def talk(j):
        options = {'driver': 'qcow2', 'file': 'f0', 'size': 1 << 36, 'preallocation': 'full'}
        j.call('blockdev-create', job_id='long', options=options)
        j.v.refuse('blockdev-del', {'node-name': 'f0'}, "Node f0 is in use by node '#block100'")
        j.v.refuse('blockdev-create', {'job-id': 'long', 'options': options},
                   "Job ID 'long' already in use")
        while os.path.getsize('f') < 4 * MIB:
            j.call('query-jobs')
        j.call('job-cancel', id='long')
        j.until('concluded')
        job, = j.call('query-jobs')
        assert job['error'] == 'Operation canceled' and job['status'] == 'concluded', job
        j.call('job-dismiss', id='long')
        os.truncate('f', 0)
        # The program ends, whatever a job still had to do.
        j.call('blockdev-create', job_id='long', options=options)
        while os.path.getsize('f') < 4 * MIB:
            j.call('query-jobs')
        j.call('quit')
        assert j.v.process.wait(60) == 0
    machine(talk)


def extra(j, *names, content=b''):
    for name in names:
        with open(name, 'wb') as f:
            f.write(content)
        j.call('blockdev-add', driver='file', filename=os.path.abspath(name),
               node_name=os.path.basename(name))


def start_of(path, count=4):
    with open(path, 'rb') as f:
        return f.read(count)


@test('qcow2 with a data file that is a node', skip=NO_QEMU)
def _():
    def talk(j):
        said = []
        # What is in a raw data file is the disk; in another one it does not show.
        for name, options in (('raw', {'data_file_raw': True}), ('own', {}),
                              ('full', {'data_file_raw': True, 'preallocation': 'full'}),
                              ('falloc', {'data_file_raw': True, 'preallocation': 'falloc'})):
            extra(j, name, content=b'content' * 1000)
            said.append(j.create(driver='qcow2', file='f0', size=MIB, data_file=name, **options))
            said.append(os.path.getsize(name))
            said.append(start_of(name))
            data = j.info('qcow2')['format-specific']['data']
            said.append((os.path.basename(data['data-file']), data['data-file-raw']))
            j.call('blockdev-add', driver='qcow2', node_name='q0', data_file=name, file='f0')
            j.call('blockdev-del', node_name='q0')
            subprocess.run([VMM_IMG, 'convert', '-U', '-O', 'raw', 'f', 'out'], check=True)
            said.append((name, start_of('out', 14), os.path.getsize('out')))
        # The file system's blocks, not the image, tell this.
        assert os.stat('full').st_blocks * 512 >= MIB and os.stat('falloc').st_blocks * 512 >= MIB
        for options in ({'version': 'v2'}, {'data_file_raw': True, 'backing_file': 'x'},
                        {'cluster_size': 5}):
            said.append(j.create(driver='qcow2', file='f0', size=MIB, data_file='raw', **options))
        said.append(j.create(driver='qcow2', file='f0', size=MIB, data_file='nope'))
        said.append(start_of('raw'))
        return said
    same(talk)


@test('qcow2: data files that no image could name, or that are the image')
def _():
    def talk(j):
        for data, part in (('f0', 'cannot be two files of one image'),
                           ({'driver': 'raw', 'file': {'driver': 'file', 'filename': 'd'}},
                            'is no file that the image could name'),
                           ({'driver': 'null-co', 'size': 0}, '')):
            with open('d', 'wb'):
                pass
            before = open('f', 'rb').read()
            said = j.create(driver='qcow2', file='f0', size=MIB, data_file=data)
            assert said[0] == 'create' and said[1] and part in said[1], said
            assert open('f', 'rb').read() == before
        # A colon in a name is no protocol's.
        with open('a:b', 'wb'):
            pass
        said = j.create(driver='qcow2', file='f0', size=MIB,
                        data_file={'driver': 'file', 'filename': 'a:b'})
        assert said[1] is None, said
        j.call('blockdev-add', driver='qcow2', node_name='q0', file='f0')
        assert os.path.getsize('a:b') == MIB
    machine(talk)


GIB = 1 << 30


@test('vmdk with extents that are nodes', skip=NO_QEMU)
def _():
    def talk(j):
        said = []
        extra(j, 'e1', 'e2', 'e3', content=b'old' * 1000)
        for subformat, size, extents in (
                ('monolithicFlat', GIB, ['e1']), ('twoGbMaxExtentFlat', 5 * GIB, ['e1', 'e2', 'e3']),
                ('twoGbMaxExtentSparse', 3 * GIB, ['e3', 'e1']),
                ('monolithicFlat', GIB, []), ('twoGbMaxExtentSparse', 5 * GIB, ['e1', 'e2']),
                ('twoGbMaxExtentSparse', 3 * GIB, ['e1', 'e2', 'e3']),
                ('monolithicSparse', GIB, ['e1']), ('monolithicFlat', GIB, ['nope'])):
            said.append(j.create(driver='vmdk', file='f0', size=size, subformat=subformat,
                                 extents=extents))
            if said[-1][1] is None:
                info = j.info('vmdk')
                said.append((info['virtual-size'], info['format-specific']['data']['create-type'],
                             [os.path.basename(e['filename']) for e in
                              info['format-specific']['data']['extents']]))
                with open('f', 'rb') as f:
                    text = f.read().decode()
                said.append([line for line in text.splitlines() if line.startswith('RW')])
                said.append([(os.path.getsize(e), start_of(e)) for e in extents])
                subprocess.run([VMM_IMG, 'check', '-U', '-q', '-f', 'vmdk', 'f'] if 'Sparse' in
                               subformat else ['true'], check=True)
                p = subprocess.run(['qemu-img', 'map', '-U', '-f', 'vmdk', '--output=json', 'f'],
                                   check=True, stdout=subprocess.PIPE)
                said.append(sum(e['length'] for e in json.loads(p.stdout)))
        return said
    same(talk)


@test('vmdk: extents that a descriptor could not name')
def _():
    def talk(j):
        for extents, part in ((['f0'], 'cannot be two files of one image'),
                              ([{'driver': 'null-co', 'size': 0}], 'is no file whose name'),
                              ([{'driver': 'raw', 'file': {'driver': 'file', 'filename': 'd'}}],
                               'is no file whose name')):
            with open('d', 'wb'):
                pass
            before = open('f', 'rb').read()
            said = j.create(driver='vmdk', file='f0', size=MIB, subformat='monolithicFlat',
                            extents=extents)
            assert said[0] == 'create' and said[1] and part in said[1], said
            assert open('f', 'rb').read() == before
        # In another folder: by its whole name.
        os.mkdir('sub')
        extra(j, 'sub/e9')
        said = j.create(driver='vmdk', file='f0', size=MIB, subformat='monolithicFlat',
                        extents=['e9'])
        assert said[1] is None, said
        assert j.info('vmdk')['virtual-size'] == MIB
        assert os.path.getsize('sub/e9') == MIB
        # A size of one extent more than there are nodes loses nothing.
        with open('sub/e9', 'r+b') as f:
            f.write(b'x')
        assert j.create(driver='vmdk', file='f0', size=3 * GIB, subformat='twoGbMaxExtentFlat',
                        extents=['e9'])[1] == 'Extent [1] not specified'
        assert start_of('sub/e9', 1) == b'x'
    machine(talk)


def keys(image):
    p = subprocess.run([VMM_IMG, 'info', '-U', '--output=json', '--image-opts', image], check=True,
                       stdout=subprocess.PIPE)
    data = json.loads(p.stdout)['format-specific']['data']
    return [s['active'] for s in data.get('encrypt', data)['slots']]


def change_keys(j, driver):
    """An encrypted image, and what becomes of its key slots."""
    own = driver == 'qcow2'
    options = ['key-secret=s0', 'iter-time=10']
    if own:
        options = ['encrypt.format=luks'] + ['encrypt.' + o for o in options]
    j.call('blockdev-del', node_name='f0')
    subprocess.run([VMM_IMG, 'create', '-q', '-f', driver, '-o', ','.join(options)] + SECRETS[:2] +
                   ['f', '1M'], check=True)
    opened = {'encrypt': {'format': 'luks', 'key-secret': 's0'}} if own else {'key-secret': 's0'}
    j.call('blockdev-add', driver=driver, file={'driver': 'file', 'filename': 'f'},
           node_name='x0', **opened)
    said = []
    for change in ({'state': 'active', 'new-secret': 's1', 'iter-time': 10},
                   {'state': 'inactive', 'old-secret': 's1'},
                   {'state': 'inactive', 'keyslot': 0}, {'state': 'inactive', 'keyslot': 99}):
        if own:
            change = {'encrypt': {'format': 'luks', **change}}
        said += [j.amend('x0', driver=driver, **change),
                 keys(f'driver={driver},file.driver=file,file.filename=f')]
    return said


@test('keys of encrypted images', skip=NO_QEMU)
def _():
    want, have = (machine(lambda j: change_keys(j, 'luks'), b) for b in (QEMU, VMM))
    assert want == have, f'{have}, QEMU: {want}'
    assert sum(have[1]) == 2 and sum(have[3]) == 1, have
    assert machine(lambda j: change_keys(j, 'qcow2')) == have


@test('amend: refused', skip=NO_QEMU)
def _():
    def talk(j):
        said = [j.create(driver='qcow2', file='f0', size=MIB)[:2]]
        j.call('blockdev-add', driver='qcow2', file='f0', node_name='q0')
        luks = {'format': 'luks', 'state': 'active', 'new-secret': 's0'}
        for node, options in (('q0', {'driver': 'qcow2', 'encrypt': luks}),
                              ('q0', {'driver': 'qcow2', 'encrypt': {'format': 'qcow'}}),
                              ('q0', {'driver': 'qcow2'}),
                              ('q0', {'driver': 'luks', 'state': 'active'}),
                              ('q0', {'driver': 'luks'}),
                              ('f0', {'driver': 'file'}),
                              ('nope', {'driver': 'qcow2'})):
            said.append(j.amend(node, **options))
        return said
    same(talk)


finish()
