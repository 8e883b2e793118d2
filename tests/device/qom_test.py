#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of objects and the types, as QMP and HMP show them. Called with the path of vmm; TAP on
stdout."""
from qmp_client import QEMU, finish, test, vm

BOARD = ['-machine', 'pc', '-m', '64', '-nodefaults', '-object', 'iothread,id=io0', '-object',
         'rng-builtin,id=r0', '-object', 'memory-backend-ram,id=m0,size=1M', '-netdev',
         'hubport,id=net0,hubid=0', '-chardev', 'null,id=c0', '-device',
         'virtio-net-pci,netdev=net0,id=nic', '-device', 'virtio-rng-pci,rng=r0,id=rng0',
         '-device', 'virtio-balloon-pci,id=balloon0', '-device', 'isa-serial,chardev=c0']


def listed(v, path):
    return {e['name']: e['type'] for e in v.call('qom-list', {'path': path})}


def get(v, path, name):
    return v.call('qom-get', {'path': path, 'property': name})


def types_of(v, **arguments):
    return {t['name']: t for t in v.call('qom-list-types', arguments)}


def ancestors(types, name):
    """The name, and those of all its parents."""
    chain = []
    while name:
        chain.append(name)
        name = types[name].get('parent')
    return chain


@test('whatever qom-list lists is there, with the type and the properties that it says')
def _():
    json_types = {'bool': bool, 'string': str, 'str': str, 'size': int, 'uint8': int,
                  'uint16': int, 'uint32': int, 'uint64': int, 'int32': int, 'int64': int,
                  'OnOffAuto': str, 'enum': str}
    seen = set()

    def walk(v, path, known):
        members = listed(v, path)
        assert members['type'] == 'string', path
        kind = get(v, path, 'type')
        assert kind in known or kind.endswith('-x86_64-cpu'), f'{path}: no such type as {kind}'
        seen.add(path)
        for name, type_name in members.items():
            value = get(v, path, name)
            if type_name.startswith('child<'):
                child = path.rstrip('/') + '/' + name
                assert value == child, f'{path}.{name}: {value}'
                assert f'child<{get(v, child, "type")}>' == type_name, child
                walk(v, child, known)
            elif type_name in json_types and value is not None:
                assert isinstance(value, json_types[type_name]), f'{path}.{name}: {value!r}'

    with vm(BOARD) as v:
        walk(v, '/', types_of(v))
        assert seen >= {'/', '/machine', '/machine/peripheral', '/machine/peripheral-anon',
                        '/machine/unattached', '/objects', '/chardevs', '/objects/io0',
                        '/objects/m0', '/chardevs/c0', '/machine/peripheral/nic',
                        '/machine/peripheral/nic/virtio-backend',
                        '/machine/peripheral-anon/device[0]', '/machine/fw_cfg'}, seen
        assert get(v, '/objects/m0', 'size') == 1 << 20
        assert get(v, '/machine', 'type') == 'pc-i440fx-7.2-machine'
        assert listed(v, '/objects') == {'type': 'string', 'io0': 'child<iothread>',
                                         'r0': 'child<rng-builtin>',
                                         'm0': 'child<memory-backend-ram>'}
    with vm(['-machine', 'none']) as v:
        walk(v, '/', types_of(v))


@test('what options imply is unattached, as what the board has')
def _():
    args = ['-machine', 'pc', '-nodefaults', '-device', 'usb-mouse', '-net', 'nic', '-drive',
            'if=ide,media=cdrom', '-usbdevice', 'tablet']
    with vm(args) as v:
        paths = {kind: f'/machine/unattached/{name}'
                 for name, kind in listed(v, '/machine/unattached').items()}
        assert paths.keys() >= {'child<e1000>', 'child<ide-cd>', 'child<usb-tablet>'}, paths
        assert listed(v, '/machine/peripheral-anon') == {'type': 'string',
                                                         'device[0]': 'child<usb-mouse>'}
        text = v.call('human-monitor-command', {'command-line': 'info usb'})
        assert text.index('Port 1') < text.index('Tablet') < text.index('Port 2'), text
        v.call('device_del', {'id': paths['child<usb-tablet>']})
        assert 'child<usb-tablet>' not in listed(v, '/machine/unattached').values()


@test('a path may be the end of one')
def _():
    with vm(BOARD) as v:
        assert get(v, 'nic', 'type') == get(v, 'peripheral/nic', 'type') == 'virtio-net-pci'
        for path in '/machine/', '//machine', 'machine/':
            assert get(v, path, 'type') == 'pc-i440fx-7.2-machine', path
        assert v.call('qom-list', {'path': '//'}) == v.call('qom-list', {'path': '/'})
        v.refuse('qom-list', {'path': 'ic'}, "Device 'ic' not found")
        v.refuse('qom-list', {'path': '/nic'}, "Device '/nic' not found")
        v.refuse('qom-list', {'path': ''}, "Device '' not found")
        v.refuse('qom-get', {'path': 'virtio-backend', 'property': 'type'},
                 "Path 'virtio-backend' is ambiguous: it may be "
                 '/machine/peripheral/nic/virtio-backend or '
                 '/machine/peripheral/rng0/virtio-backend')
        v.refuse('qom-get', {'path': '/objects/io0', 'property': 'x'},
                 "Property 'iothread.x' not found")
        v.refuse('qom-get', {'path': '/machine', 'property': 'x'},
                 "Property 'pc-i440fx-7.2-machine.x' not found")
        v.refuse('qom-get', {'path': '/', 'property': 'x'}, "Property 'container.x' not found")


@test('qom-set changes what may change, and refuses the rest')
def _():
    def change(path, name, value):
        return {'path': path, 'property': name, 'value': value}

    with vm(BOARD) as v:
        v.call('qom-set', change('/objects/io0', 'poll-max-ns', 1234))
        assert get(v, '/objects/io0', 'poll-max-ns') == 1234
        assert v.call('query-iothreads')[0]['poll-max-ns'] == 1234
        v.refuse('qom-set', change('/objects/io0', 'poll-max-ns', '5'),
                 "Invalid parameter type for 'poll-max-ns', expected: integer")
        v.refuse('qom-set', change('/objects/io0', 'poll-max-ns', -1),
                 "Parameter 'poll-max-ns' expects a number from 0 to 9223372036854775807, "
                 "not '-1'")
        v.refuse('qom-set', change('/objects/io0', 'type', 'x'),
                 "Property 'iothread.type' is not writable")
        v.refuse('qom-set', change('/objects/m0', 'size', 2 << 20),
                 "cannot change property 'size' of object 'm0' (type 'memory-backend-ram'): it is "
                 'set when the object is made')
        v.refuse('qom-set', change('rng0', 'max-bytes', 5),
                 "Attempt to set property 'max-bytes' on device 'rng0' (type 'virtio-rng-pci') "
                 'after it was realized')
        v.refuse('qom-set', change('rng0', 'x', 5), "Property 'virtio-rng-pci.x' not found")
        v.refuse('qom-set', change('/machine', 'usb', True),
                 "Property 'pc-i440fx-7.2-machine.usb' is set by -machine, at the start")
        assert get(v, '/objects/io0', 'poll-max-ns') == 1234
        assert get(v, '/objects/m0', 'size') == 1 << 20


@test('HMP shows the same')
def _():
    def hmp(v, line):
        return v.call('human-monitor-command', {'command-line': line}).replace('\r\n', '\n')

    with vm(BOARD) as v:
        assert hmp(v, 'qom-list /objects').startswith('type (string)\nio0 (child<iothread>)\n')
        assert hmp(v, 'qom-list') == '/\n'
        assert hmp(v, 'qom-list /x') == "Error: Device '/x' not found\n"
        assert hmp(v, 'qom-get /objects/io0 type') == '"iothread"\n'
        assert hmp(v, 'qom-set /objects/io0 poll-max-ns 77') == ''
        assert hmp(v, 'qom-get io0 poll-max-ns') == '77\n'
        assert hmp(v, 'qom-set -j /objects/io0 poll-max-ns 78') == ''
        assert hmp(v, 'qom-get io0 poll-max-ns') == '78\n'
        assert hmp(v, 'qom-set -j io0 poll-max-ns "\\"5\\""').startswith('Error: ')
        assert hmp(v, 'info qom-tree /objects') == (
            '/objects (container)\n  /io0 (iothread)\n  /m0 (memory-backend-ram)\n'
            '  /r0 (rng-builtin)\n')
        assert hmp(v, 'info qom-tree').startswith('/machine (pc-i440fx-7.2-machine)\n')
        assert hmp(v, 'info qom-tree /x') == "Path '/x' could not be resolved.\n"


@test('types have parents that are listed, and implements= answers what derives')
def _():
    with vm(['-machine', 'none']) as v:
        every = types_of(v, abstract=True)
        abstract = {n for n, t in every.items() if t.get('abstract')}
        assert set(types_of(v)) == set(types_of(v, abstract=False)) == set(every) - abstract
        for name in every:
            chain = ancestors(every, name)
            assert chain[-1] in ('object', 'interface'), chain
            derived = {n for n in every if name in ancestors(every, n)}
            if name in ('user-creatable', 'interface'):
                derived |= types_of(v, implements=name, abstract=True).keys()
            assert set(types_of(v, implements=name, abstract=True)) == derived, name
            assert set(types_of(v, implements=name)) == derived - abstract, name
        assert types_of(v, implements='nothing') == {}
        made = {o['name'] for o in v.call('qom-list-types', {'implements': 'user-creatable'})}
        assert {'iothread', 'memory-backend-file', 'rng-random', 'secret'} <= made, made
        assert not made & {'virtio-blk-pci', 'memory-backend', 'container'}, made
        devices = types_of(v, implements='device')
        assert 'virtio-blk-pci' in devices and 'iothread' not in devices, devices
        assert 'virtio-blk-pci' not in types_of(v, implements='memory-backend')
        # libvirt: a second run under TCG, and 400 questions about a CPU.
        assert not {'tcg-accel', 'max-x86_64-cpu'} & set(every)
        for name in every:
            if name in devices:
                v.call('device-list-properties', {'typename': name})
            else:
                v.refuse('device-list-properties', {'typename': name},
                         "Parameter 'typename' expects a non-abstract device type")
        v.refuse('device-list-properties', {'typename': 'x'}, "Device 'x' not found")


@test("parents are QEMU's", None if QEMU else 'no qemu-system-x86_64')
def _():
    with vm(['-machine', 'none']) as v:
        ours = types_of(v, abstract=True)
    with vm(['-machine', 'none', '-nodefaults'], QEMU, False) as v:
        theirs = types_of(v, abstract=True)
    wrong = [(n, t['parent']) for n, t in ours.items()
             if n in theirs and t.get('parent') and t['parent'] not in ancestors(theirs, n)]
    assert not wrong, wrong
    wrong = [n for n, t in ours.items()
             if n in theirs and t.get('abstract') != theirs[n].get('abstract')]
    assert not wrong, wrong
    # Names of our own; QEMU 7.2 documents authz-listfile, and has it by another name.
    assert set(ours) - set(theirs) <= {'port80', 'qtest-accel', 'chardev-tty', 'authz-listfile'}, \
        set(ours) - set(theirs)


finish()
