#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP against its own schema, and the schema against QEMU's. Called with the paths of vmm and
vmm-img; TAP on stdout. What compares with QEMU is skipped where qemu-system-x86_64 is not installed."""
import contextlib
import os
import subprocess
import sys
import tempfile

from qmp_client import QEMU, VMM, finish, test, vm

VMM_IMG = os.path.abspath(sys.argv[2])


class Schema:
    def __init__(self, entries):
        self.types = {e['name']: e for e in entries}
        assert len(self.types) == len(entries), 'a name stands twice'

    def __getitem__(self, name):
        return self.types[name]

    def named(self, meta_type):
        return {n: e for n, e in self.types.items() if e['meta-type'] == meta_type}

    def check(self, value, type_name, path):
        """Holds a value against a type."""
        t = self[type_name]
        getattr(self, '_check_' + t['meta-type'])(value, t, path)

    def _check_builtin(self, value, t, path):
        is_int = isinstance(value, int) and not isinstance(value, bool)
        fits = {'string': isinstance(value, str), 'boolean': isinstance(value, bool),
                'int': is_int, 'number': is_int or isinstance(value, float),
                'null': value is None, 'value': True}[t['json-type']]
        assert fits, f'{path}: {value!r} is no {t["json-type"]}'

    def _check_enum(self, value, t, path):
        assert value in t['values'], f'{path}: {value!r} is none of {t["values"]}'

    def _check_array(self, value, t, path):
        assert isinstance(value, list), f'{path}: {value!r} is no array'
        for i, v in enumerate(value):
            self.check(v, t['element-type'], f'{path}[{i}]')

    def _check_alternate(self, value, t, path):
        for m in t['members']:
            with contextlib.suppress(AssertionError):
                return self.check(value, m['type'], path)
        raise AssertionError(f'{path}: {value!r} is no branch of {t["name"]}')

    def _check_object(self, value, t, path):
        assert isinstance(value, dict), f'{path}: {value!r} is no object'
        members = list(t['members'])
        if 'tag' in t:
            cases = {v['case']: v['type'] for v in t['variants']}
            if value[t['tag']] in cases:
                members += self[cases[value[t['tag']]]]['members']
        names = {m['name'] for m in members}
        assert set(value) <= names, f'{path}: unknown {set(value) - names}'
        for m in members:
            if m['name'] in value:
                self.check(value[m['name']], m['type'], f'{path}.{m["name"]}')
            else:
                assert 'default' in m, f'{path}.{m["name"]} is missing'

    def check_events(self, events):
        for e in events:
            self.check(e.get('data', {}), self[e['event']]['arg-type'], e['event'])


with vm(['-machine', 'none']) as v:
    schema = Schema(v.call('query-qmp-schema'))


@test('every type that is named is there, and every type that is there is named')
def _():
    used = set()
    for e in schema.types.values():
        refs = [e.get(k) for k in ('arg-type', 'ret-type', 'element-type')]
        if e['meta-type'] in ('object', 'alternate'):
            refs += [m['type'] for m in e['members']]
        refs += [m['type'] for m in e.get('variants', [])]
        used |= {r for r in refs if r}
        if e['meta-type'] == 'enum':
            assert [m['name'] for m in e['members']] == e['values'], e
        if 'tag' in e:
            tag = next(m for m in e['members'] if m['name'] == e['tag'])
            assert schema[tag['type']]['values'] == [x['case'] for x in e['variants']], e
    with vm(['-machine', 'none']) as v:
        for what in ('command', 'event'):
            names = [e['name'] for e in v.call(f'query-{what}s')]
            assert sorted(names) == sorted(schema.named(what)), what
    types = {n for n, e in schema.types.items() if e['meta-type'] not in ('command', 'event')}
    assert used == types, used ^ types


BOARD = ['-machine', 'pc', '-m', '64', '-nodefaults', '-name', 'x', '-uuid',
         '550e8400-e29b-41d4-a716-446655440000', '-smp', '2,maxcpus=2',
         '-drive', 'if=none,id=d0,file=a.qcow2,format=qcow2',
         '-blockdev', 'driver=null-co,node-name=n1,size=1M',
         '-object', 'iothread,id=io0', '-object', 'rng-builtin,id=r0',
         '-object', 'memory-backend-ram,id=ram0,size=1M', '-netdev', 'hubport,id=net0,hubid=0',
         '-chardev', 'ringbuf,id=ring', '-chardev', 'null,id=c0',
         '-device', 'virtio-blk-pci,drive=d0,id=blk,iothread=io0',
         '-device', 'virtio-net-pci,netdev=net0,id=nic',
         '-device', 'virtio-balloon-pci,id=balloon0', '-device', 'virtio-rng-pci,rng=r0,id=rng0',
         '-device', 'virtio-serial-pci,id=ser', '-device', 'virtserialport,chardev=c0,id=port0',
         '-usb', '-device', 'pvpanic,id=panic', '-action', 'panic=none']

# Commands that need arguments to answer, or that change what they are asked of.
CALLS = {
    'qmp_capabilities': None,  # once, at the start
    'qom-list': [{'path': p} for p in ('/machine/peripheral', '/machine/unattached', '/machine')],
    'qom-get': [{'path': '/machine/peripheral/blk', 'property': 'type'}],
    'query-stats': [{'target': 'vm'}, {'target': 'vcpu', 'vcpus': []}],
    'device-list-properties': 'types',
    'qom-list-properties': 'types',
    'trace-event-get-state': [{'name': '*'}],
    'ringbuf-read': [{'device': 'ring', 'size': 4}, {'device': 'ring', 'size': 4, 'format': 'utf8'},
                     {'device': 'ring', 'size': 4, 'format': 'base64'}],
    'human-monitor-command': [{'command-line': 'info status'}],
    'chardev-add': [{'id': 'new', 'backend': {'type': 'null', 'data': {}}},
                    {'id': 'p', 'backend': {'type': 'pty', 'data': {}}}],
    'chardev-change': [{'id': 'ring', 'backend': {'type': 'ringbuf', 'data': {}}}],
    'qom-list-types': [{}, {'implements': 'device', 'abstract': True}],
    'query-command-line-options': [{}, {'option': 'machine'}],
    'blockdev-snapshot-delete-internal-sync': [{'device': 'd0', 'name': 's'}],
    'x-debug-block-dirty-bitmap-sha256': [{'node': 'd0', 'name': 'b'}],
    'x-debug-query-block-graph': [{}],
    'x-query-numa': [{}],
    'x-query-ramblock': [{}],
    'x-query-rdma': [{}],
    'x-query-usb': [{}],
    'x-query-irq': [{}],
    'x-query-roms': [{}],
    'x-query-virtio': [{}],
    'x-query-virtio-status': [{'path': f'/machine/peripheral/{d}/virtio-backend'}
                              for d in ('blk', 'nic', 'balloon0', 'rng0', 'ser')],
    'x-query-virtio-queue-status': [{'path': '/machine/peripheral/blk/virtio-backend',
                                     'queue': 0}],
    'x-query-virtio-queue-element': None,  # needs a driver: virtio_info_test.py has one
    'x-query-virtio-vhost-queue-status': None,
    # Refused always: what is TCG's, and a device that is not here.
    'x-query-jit': None,
    'x-query-opcount': None,
    'x-query-profile': None,
    'query-vm-generation-id': None,
    'add-fd': None,  # needs SCM_RIGHTS: the device test of QMP does it
}


def call_all(v):
    """Calls whatever has a result, and checks the result."""
    types = [t['name'] for t in v.call('qom-list-types')]
    for name, command in schema.named('command').items():
        if schema[command['ret-type']].get('members') == []:
            continue
        calls = CALLS.get(name, [{}] if name.startswith('query-') else 'none')
        assert calls != 'none', f'{name} answers, but this test does not call it'
        if calls == 'types':
            calls = [{'typename': t} for t in types]
        for arguments in calls or []:
            reply = v.raw(name, arguments)
            if 'return' in reply:
                schema.check(reply['return'], command['ret-type'], name)
            else:
                yield name, arguments, reply['error']['desc']


@test('every answer of a board is what the schema says')
def _():
    create = [VMM_IMG, 'create', '-q', '-f', 'qcow2']
    with tempfile.TemporaryDirectory() as work:
        image, base = f'{work}/a.qcow2', f'{work}/base.qcow2'
        subprocess.run(create + [base, '1M'], check=True)
        subprocess.run(create + ['-b', base, '-F', 'qcow2', image], check=True)
        subprocess.run([VMM_IMG, 'snapshot', '-c', 's', image], check=True)
        with vm([a.replace('a.qcow2', image) for a in BOARD]) as v:
            v.call('block-dirty-bitmap-add', {'node': 'd0', 'name': 'b'})
            refused = [r for r in call_all(v) if r[0] != 'device-list-properties']
            for flat in False, True:
                nodes = v.call('query-named-block-nodes', {'flat': flat})
                assert any('backing-image' in n['image'] for n in nodes) != flat, nodes
    assert not refused, refused


@test('images of every format that says more of itself')
def _():
    secret = ['--object', 'secret,id=s0,data=foo']
    with tempfile.TemporaryDirectory() as work:
        def create(name, driver, *options):
            words = [w for o in options for w in ('-o', o)]
            subprocess.run([VMM_IMG, 'create', '-q', '-f', driver] + secret + words +
                           [f'{work}/{name}', '1M'], check=True)
        create('luks', 'luks', 'key-secret=s0', 'iter-time=10')
        create('qcow2', 'qcow2', 'encrypt.format=luks', 'encrypt.key-secret=s0',
               'encrypt.iter-time=10')
        create('vmdk', 'vmdk', 'subformat=twoGbMaxExtentSparse')
        create('bitmaps', 'qcow2')
        subprocess.run([VMM_IMG, 'bitmap', '--add', f'{work}/bitmaps', 'b'], check=True)
        args = ['-machine', 'none'] + secret
        for name, options in (('luks', 'driver=luks,key-secret=s0'), ('vmdk', 'driver=vmdk'),
                              ('qcow2', 'driver=qcow2,encrypt.format=luks,encrypt.key-secret=s0'),
                              ('bitmaps', 'driver=qcow2,read-only=on')):
            args += ['-blockdev', f'{options},file.driver=file,file.filename={work}/{name},'
                     f'node-name={name}']
        with vm(args) as v:
            nodes = {n['node-name']: n for n in v.call('query-named-block-nodes')}
            schema.check(list(nodes.values()), schema['query-named-block-nodes']['ret-type'], 'n')
    data = {n: nodes[n]['image']['format-specific']['data'] for n in ('luks', 'qcow2', 'vmdk',
                                                                      'bitmaps')}
    assert data['luks']['slots'][0]['active'] and data['vmdk']['extents'], data
    assert data['qcow2']['encrypt']['slots'][0]['active'] and data['bitmaps']['bitmaps'], data
    assert nodes['luks']['image']['encrypted'] and nodes['qcow2']['image']['encrypted'], nodes


@test('every answer of no board is what the schema says')
def _():
    with vm(['-machine', 'none']) as v:
        refused = {r[0] for r in call_all(v)}
        assert refused <= {'query-balloon', 'chardev-change', 'query-hotpluggable-cpus', 'qom-list', 'qom-get',
                           'ringbuf-read', 'device-list-properties', 'x-query-virtio-status',
                           'x-query-virtio-queue-status', 'x-query-usb',
                           'x-debug-block-dirty-bitmap-sha256', 'blockdev-snapshot-delete-internal-sync'}, refused


@test('-drive is described, though the block layer reads it')
def _():
    with vm(['-machine', 'none']) as v:
        drive, = v.call('query-command-line-options', {'option': 'drive'})
    types = {p['name']: p['type'] for p in drive['parameters']}
    assert types['file'] == types['discard'] == 'string' and types['index'] == 'number', types
    assert types['read-only'] == types['cache.direct'] == 'boolean', types


def graph(v):
    """Who uses which node, by names, as the graph has it."""
    g = v.call('x-debug-query-block-graph')
    name = {n['id']: (n['type'], '' if n['name'].startswith('#block') else n['name'])
            for n in g['nodes']}
    assert len(name) == len(g['nodes']), g
    edges = sorted((name[e['parent']], name[e['child']], e['name'], sorted(e['perm']),
                    sorted(e['shared-perm'])) for e in g['edges'])
    return sorted(name.values()), edges


def graph_talk(v, work):
    def qmp(command, **arguments):
        return v.call(command, {k.replace('_', '-'): x for k, x in arguments.items()})

    said = []
    qmp('blockdev-add', driver='qcow2', node_name='top', file={
        'driver': 'file', 'filename': f'{work}/top'}, backing={
            'driver': 'qcow2', 'node-name': 'base',
            'file': {'driver': 'file', 'filename': f'{work}/base'}})
    qmp('blockdev-add', driver='null-co', node_name='n0')
    said.append(graph(v))
    for arguments in ({'parent': 'nope', 'child': 'file'}, {'parent': 'top'},
                      {'parent': 'top', 'child': 'file', 'node': 'n0'},
                      {'parent': 'top', 'child': 'x'}, {'parent': 'top', 'node': 'nope'},
                      {'parent': 'top', 'child': 'file'}, {'parent': 'top', 'node': 'n0'},
                      {'parent': 'n0', 'node': 'top'}):
        said.append(v.raw('x-blockdev-change', arguments)['error']['desc'])
    return said


@test('the graph, and children that do not come and go')
def _():
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2', f'{work}/base', '1M'], check=True)
        subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2', '-b', f'{work}/base', '-F', 'qcow2',
                        f'{work}/top'], check=True)
        said = []
        args = ['-machine', 'none', '-nodefaults', '-drive', 'if=none,id=cd']
        for binary in (QEMU, VMM) if QEMU else (VMM,):
            with vm(args, binary, binary == VMM) as v:
                said.append(graph_talk(v, work))
        for (nodes, edges), *words in said:
            # Nobody writes to the image: what its edges need and share is each program's own.
            assert nodes == said[0][0][0], f'{nodes}\n{said[0][0][0]}'
            assert [e[:3] for e in edges] == [e[:3] for e in said[0][0][1]], edges
            assert words == said[0][1:], f'{words}\n{said[0][1:]}'
        with vm(['-machine', 'pc', '-nodefaults', '-S', '-blockdev',
                 'driver=null-co,node-name=n0,size=1M', '-blockdev',
                 'driver=null-co,node-name=n1,size=1M', '-device',
                 'virtio-blk-pci,drive=n0,id=d0']) as v:
            v.call('blockdev-backup', {'job-id': 'j0', 'device': 'n0', 'target': 'n1',
                                       'sync': 'none'})
            nodes, edges = graph(v)
            assert ('block-job', 'j0') in nodes, nodes
            assert any(n[0] == 'block-backend' and 'd0' in n[1] for n in nodes), nodes
            disk, = [e for e in edges if e[0][0] == 'block-backend']
            assert 'write' in disk[3] and 'write' not in disk[4], disk
            assert any(e[1:3] == (('block-driver', 'n1'), 'target') for e in edges), edges


def corrupt_image(path):
    """An image whose first data cluster is not aligned."""
    subprocess.run([VMM_IMG, 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path,
                    '1M'], check=True)
    with open(path, 'r+b') as f:
        f.seek(40)
        f.seek(int.from_bytes(f.read(8), 'big'))
        table = int.from_bytes(f.read(8), 'big') & 0x00fffffffffffe00
        f.seek(table)
        f.write((1 << 63 | 0x50200).to_bytes(8, 'big'))


@test('an image that is found corrupt')
def _():
    with tempfile.TemporaryDirectory() as work:
        said = []
        for read_only in 'off', 'on':
            corrupt_image(f'{work}/image')
            with vm(['-machine', 'none', '-nodefaults', '-drive', f'file={work}/image,if=none,'
                     f'format=qcow2,id=d0,node-name=n0,read-only={read_only}']) as v:
                v.call('human-monitor-command', {'command-line': 'qemu-io d0 "read 0 512"'})
                v.wait('BLOCK_IMAGE_CORRUPTED')
                schema.check_events(v.events)
                said += [e['data'] for e in v.events if e['event'] == 'BLOCK_IMAGE_CORRUPTED']
    text = 'Data cluster offset 0x50200 unaligned (guest offset: 0)'
    assert said == [{'device': 'd0', 'node-name': 'n0', 'msg': text, 'fatal': f}
                    for f in (True, False)], said


@test('every event is what the schema says')
def _():
    with vm(['-machine', 'pc', '-m', '64', '-nodefaults', '-device', 'pvpanic', '-action',
             'panic=none', '-device', 'pci-testdev,id=t0', '-no-shutdown']) as v:
        v.call('device_del', {'id': 't0'})  # a reset lets it go
        for command, event in (('stop', 'STOP'), ('cont', 'RESUME'), ('system_reset', 'RESET'),
                               ('system_powerdown', 'POWERDOWN')):
            v.call(command)
            v.wait(event)
        v.qtest('outb 0x505 0x1')
        v.qtest('outb 0x505 0x2')
        for event in ('DEVICE_DELETED', 'GUEST_PANICKED', 'GUEST_CRASHLOADED'):
            v.wait(event)
        v.call('quit')
        v.wait('SHUTDOWN')
        schema.check_events(v.events)


@test('arguments are checked by their types, nested ones too')
def _():
    with vm(['-machine', 'none']) as v:
        v.refuse('object-add', {'qom-type': 'memory-backend-ram', 'id': 'a', 'size': '1M'},
                 "Invalid parameter type for 'size', expected: integer")
        v.refuse('object-add', {'qom-type': 'iothread', 'id': 'a', 'poll-max-ns': '1'},
                 "Invalid parameter type for 'poll-max-ns', expected: integer")
        v.refuse('object-add', {'qom-type': 'memory-backend-ram', 'id': 'a'},
                 "Parameter 'size' is missing")
        v.refuse('netdev_add', {'type': 'hubport', 'id': 'a', 'hubid': '0'},
                 "Invalid parameter type for 'hubid', expected: integer")
        v.refuse('netdev_add', {'type': 'user', 'id': 'a', 'ipv4': 'on'},
                 "Invalid parameter type for 'ipv4', expected: boolean")
        v.refuse('blockdev-add', {'driver': 'null-co', 'node-name': 'a', 'size': '1M'},
                 "Invalid parameter type for 'size', expected: integer")
        v.refuse('blockdev-add', {'driver': 'raw', 'node-name': 'a',
                                  'file': {'driver': 'null-co', 'size': '1M'}},
                 "Invalid parameter type for 'file.size', expected: integer")
        v.refuse('blockdev-add', {'driver': 'null-co', 'node-name': 'a', 'cache': {'x': True}},
                 "Parameter 'cache.x' is unexpected")
        v.refuse('chardev-add', {'id': 'a', 'backend': {'type': 'file', 'data': {}}},
                 "Parameter 'backend.data.out' is missing")
        v.refuse('chardev-add', {'id': 'a', 'backend': {'type': 'socket', 'data': {'addr': {
            'type': 'inet', 'data': {'host': 'localhost', 'port': 1}}}}},
                 "Invalid parameter type for 'backend.data.addr.data.port', expected: string")
        v.refuse('ringbuf-read', {'device': 'a', 'size': 1, 'format': 'x'},
                 "Parameter 'format' does not accept value 'x'")


@test('what libvirt looks at in the schema is there')
def _():
    def variant(type_name, case):
        return next(x['type'] for x in schema[type_name]['variants'] if x['case'] == case)

    def member(type_name, name):
        return next(m['type'] for m in schema[type_name]['members'] if m['name'] == name)

    assert schema['device_add']['features'] == ['json-cli', 'json-cli-hotplug']
    backend = member(schema['chardev-add']['arg-type'], 'backend')
    member(member(variant(backend, 'socket'), 'data'), 'reconnect')
    file = variant(schema['blockdev-add']['arg-type'], 'file')
    assert 'io_uring' in schema[member(file, 'aio')]['values']
    iothreads = schema[schema['query-iothreads']['ret-type']]['element-type']
    assert schema[member(iothreads, 'poll-max-ns')]['meta-type'] == 'builtin'
    status = member(schema['query-status']['ret-type'], 'status')
    assert 'io-error' in schema[status]['values']


# What 7.2 has not, by path.
OWN = {
    'x-save-state', 'x-load-state',
    'query-events',  # up to QEMU 5
    'object-add=memory-backend-file.offset',  # from QEMU 8.1 on
    'snapshot-save.live',
}


def compare(ours, theirs):
    """Everything of ours has to be theirs, by the same name and of the same kind."""
    wrong, seen = [], set()

    def pair(path, a, b, is_result):
        if (a, b) in seen or path in OWN:
            return
        seen.add((a, b))
        x, y = ours[a], theirs[b]
        if y['meta-type'] == 'alternate' and x['meta-type'] != 'alternate':
            # We take one of the branches.
            y = next((theirs[m['type']] for m in y['members']
                      if theirs[m['type']]['meta-type'] == x['meta-type']), y)
        if x['meta-type'] != y['meta-type']:
            wrong.append(f"{path}: {x['meta-type']} for {y['meta-type']}")
        elif x['meta-type'] == 'builtin' and x['json-type'] != y['json-type']:
            wrong.append(f"{path}: {x['json-type']} for {y['json-type']}")
        elif x['meta-type'] == 'enum' and not set(x['values']) <= set(y['values']):
            wrong.append(f"{path}: {set(x['values']) - set(y['values'])}")
        elif x['meta-type'] == 'array':
            pair(path + '[]', x['element-type'], y['element-type'], is_result)
        elif x['meta-type'] == 'alternate':
            kinds = {kind(theirs, m['type']): m['type'] for m in y['members']}
            for m in x['members']:
                if kind(ours, m['type']) in kinds:
                    pair(path, m['type'], kinds[kind(ours, m['type'])], is_result)
                else:
                    wrong.append(f"{path}: branch {m['type']}")
        elif x['meta-type'] == 'object':
            objects(path, x, y, is_result)

    def kind(types, name):
        t = types[name]
        return t['meta-type'] + t.get('json-type', '')

    def objects(path, x, y, is_result):
        mine = {m['name']: m for m in x['members']}
        other = {m['name']: m for m in y['members']}
        for name, m in mine.items():
            here = f'{path}.{name}'
            if here in OWN:
                continue
            if name not in other:
                wrong.append(f'{here}: QEMU has none')
                continue
            pair(here, m['type'], other[name]['type'], is_result)
            # A result that QEMU always gives; an argument that QEMU does not ask for.
            narrow, wide = (other, mine) if is_result else (mine, other)
            if 'default' in wide[name] and 'default' not in narrow[name]:
                wrong.append(f'{here}: is optional in one of the two')
        for name, m in other.items():
            if 'default' not in m and name not in mine:
                wrong.append(f'{path}.{name}: QEMU has it always')
        if 'tag' in x and x['tag'] != y.get('tag'):
            wrong.append(f"{path}: tag {x['tag']} for {y.get('tag')}")
        cases = {v['case']: v['type'] for v in y.get('variants', [])}
        for v in x.get('variants', []):
            if v['case'] in cases:
                pair(f"{path}={v['case']}", v['type'], cases[v['case']], is_result)
            else:
                wrong.append(f"{path}: QEMU has no {v['case']}")

    for name, e in ours.types.items():
        if e['meta-type'] not in ('command', 'event') or name in OWN:
            continue
        if name not in theirs.types:
            wrong.append(f'{name}: QEMU has none')
            continue
        pair(name, e['arg-type'], theirs[name]['arg-type'], e['meta-type'] == 'event')
        if 'ret-type' in e:
            pair(name + '->', e['ret-type'], theirs[name]['ret-type'], True)
        if not set(e.get('features', [])) <= set(theirs[name].get('features', [])):
            wrong.append(f'{name}: features')
    return wrong


@test("what stands in the schema stands in QEMU's, of the same kind",
      None if QEMU else 'no qemu-system-x86_64')
def _():
    with vm(['-machine', 'none', '-nodefaults'], QEMU, False) as v:
        wrong = compare(schema, Schema(v.call('query-qmp-schema')))
    assert not wrong, '\n'.join(wrong)


finish()
