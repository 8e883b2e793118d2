#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, over HMP and QMP, in every run state: with arguments that may be right, without
those that it needs, with those of another type, and with hostile ones. Each is answered, and the
machine is in its state afterwards, or there again. Called with the paths of vmm and vmm-img; TAP on
stdout."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from qmp_client import Vm, finish, test

VMM_IMG = os.path.abspath(sys.argv[2])
BOARD = ['-machine', 'pc', '-m', '16', '-no-shutdown', '-action', 'panic=pause,watchdog=pause',
         '-nodefaults', '-smp', '2', '-vga', 'std', '-usb',
         '-drive', 'if=none,id=d0,file=disk.qcow2,format=qcow2',
         '-drive', 'if=none,id=cd0,media=cdrom',
         '-blockdev', 'driver=null-co,node-name=n1,size=1M',
         '-object', 'iothread,id=io0', '-object', 'memory-backend-ram,id=ram0,size=1M',
         '-netdev', 'hubport,id=net0,hubid=0', '-chardev', 'ringbuf,id=ring',
         '-device', 'virtio-blk-pci,drive=d0,id=blk', '-device', 'ide-cd,drive=cd0,id=cd',
         '-device', 'virtio-net-pci,netdev=net0,id=nic', '-device', 'virtio-balloon-pci',
         '-device', 'usb-tablet,id=tablet', '-device', 'pvpanic', '-device', 'ib700',
         '-object', 'secret,id=s0,data=x', '-vnc', 'unix:vnc,password=on']

# How a state is come to, of a machine that has begun with -S.
STATES = {
    'prelaunch': [],
    'running': ['cont'],
    'paused': ['cont', 'stop'],
    'guest-panicked': ['cont', 'outb 0x505 1'],
    'watchdog': ['cont', 'outb 0x443 0xf', 'clock_step 60000000000'],
    'suspended': ['cont', 'SLEEP'],
    'shutdown': ['cont', 'OFF'],
}
# Steps that are words of the qtest protocol; the power management's registers are where they are put.
POWER = ['outl 0xcf8 0x80000b40', 'outl 0xcfc 0xb001', 'outl 0xcf8 0x80000b80', 'outb 0xcfc 1']
STEPS = {'SLEEP': POWER + ['outw 0xb004 0x2400'], 'OFF': POWER + ['outw 0xb004 0x2000']}

# What there is besides, made by QMP when a machine begins.
BEGIN = [
    ('block-dirty-bitmap-add', {'node': 'd0', 'name': 'b'}),
    ('block-dirty-bitmap-add', {'node': 'd0', 'name': 'b2'}),
    ('blockdev-add', {'driver': 'null-co', 'node-name': 'n2', 'size': 1 << 20}),
    ('blockdev-add', {'driver': 'null-co', 'node-name': 'n3', 'size': 1 << 20, 'read-zeroes': True}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'top',
                      'file': {'driver': 'file', 'filename': 'top.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'spare', 'backing': None,
                      'file': {'driver': 'file', 'filename': 'spare.qcow2'}}),
    ('blockdev-add', {'driver': 'luks', 'node-name': 'luks', 'key-secret': 's0',
                      'file': {'driver': 'file', 'filename': 'luks'}}),
    ('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': 'nbd'}}}),
    ('block-export-add', {'type': 'nbd', 'id': 'export', 'node-name': 'n1'}),
    ('snapshot-save', {'job-id': 'first', 'tag': 's', 'vmstate': 'd0', 'devices': ['d0']}),
]
JOB = [('blockdev-mirror', {'job-id': 'j', 'device': 'n3', 'target': 'n2', 'sync': 'full', 'speed': 1})]
READY = [('blockdev-mirror', {'job-id': 'r', 'device': 'n1', 'target': 'n2', 'sync': 'none'}),
         ('AWAIT', ('r', 'ready'))]
PAUSED = [*JOB, ('job-pause', {'id': 'j'})]
CANCEL = [('block-job-cancel', {'device': j, 'force': True}) for j in 'jrx']
ENDED = [*CANCEL, ('blockdev-backup', {'job-id': 'e', 'device': 'n1', 'target': 'n2', 'sync': 'full',
                                       'auto-finalize': False, 'auto-dismiss': False}),
         ('AWAIT', ('e', 'pending'))]
FINALIZED = [*ENDED, ('job-finalize', {'id': 'e'}), ('AWAIT', ('e', 'concluded'))]
BLK = '/machine/peripheral/blk/virtio-backend'
# What is right here, where that is more than the schema says: what is asked before, and arguments.
RIGHT = {
    'blockdev-mirror': (CANCEL, JOB[0][1]),
    'blockdev-backup': (CANCEL, {'job-id': 'x', 'device': 'n1', 'target': 'n2', 'sync': 'full'}),
    'drive-backup': (CANCEL, {'device': 'd0', 'target': 'b.raw', 'sync': 'full', 'format': 'raw'}),
    'drive-mirror': (CANCEL, {'device': 'd0', 'job-id': 'x', 'target': 'm.raw', 'sync': 'full',
                              'format': 'raw'}),
    'block-stream': (CANCEL, {'device': 'top', 'job-id': 'x'}),
    'block-commit': (CANCEL, {'device': 'top', 'job-id': 'x'}),
    'block-dirty-bitmap-remove': ([BEGIN[1]], {'node': 'd0', 'name': 'b2'}),
    'block-dirty-bitmap-merge': ([BEGIN[1]], {'node': 'd0', 'target': 'b', 'bitmaps': ['b2']}),
    **{f'block-dirty-bitmap-{what}': ([BEGIN[0]], {'node': 'd0', 'name': 'b'})
       for what in ('clear', 'enable', 'disable')},
    'x-debug-block-dirty-bitmap-sha256': ([BEGIN[0]], {'node': 'd0', 'name': 'b'}),
    'block-export-add': ([], {'type': 'nbd', 'id': 'x', 'node-name': 'n1', 'name': 'x'}),
    'block-export-del': ([BEGIN[8]], {'id': 'export', 'mode': 'hard'}),
    'nbd-server-start': ([('nbd-server-stop', {})], BEGIN[7][1]),
    'nbd-server-add': ([BEGIN[7]], {'device': 'd0', 'name': 'y'}),
    'nbd-server-remove': ([('nbd-server-add', {'device': 'd0', 'name': 'y'})], {'name': 'y'}),
    **{f'block-job-{what}': (prep, {'device': 'j'})
       for what, prep in (('cancel', JOB), ('pause', JOB), ('resume', PAUSED))},
    'block-job-set-speed': (JOB, {'device': 'j', 'speed': 1}),
    'block-job-complete': (READY, {'device': 'r'}),
    **{f'job-{what}': (prep, {'id': 'j'})
       for what, prep in (('cancel', JOB), ('pause', JOB), ('resume', PAUSED))},
    'job-complete': (READY, {'id': 'r'}),
    **{f'{kind}job-{what}': (prep, {'id': 'e'}) for kind in ('', 'block-')
       for what, prep in (('finalize', ENDED), ('dismiss', FINALIZED))},
    'block-latency-histogram-set': ([], {'id': 'cd', 'boundaries': [10, 100]}),
    'block-set-write-threshold': ([], {'node-name': 'n1', 'write-threshold': 4096}),
    'block_resize': ([], {'device': 'd0', 'size': 2 << 20}),
    'block_set_io_throttle': ([], {'device': 'd0', **{m: 0 for m in (
        'bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr')}}),
    'blockdev-change-medium': ([], {'id': 'cd', 'filename': 'spare.raw', 'format': 'raw'}),
    'blockdev-insert-medium': ([('blockdev-open-tray', {'id': 'cd', 'force': True}),
                                ('blockdev-remove-medium', {'id': 'cd'})],
                               {'id': 'cd', 'node-name': 'n3'}),
    'blockdev-remove-medium': ([('blockdev-open-tray', {'id': 'cd', 'force': True})], {'id': 'cd'}),
    **{f'blockdev-{what}-tray': ([], {'id': 'cd'}) for what in ('open', 'close')},
    'eject': ([], {'id': 'cd', 'force': True}),
    'blockdev-add': ([], {'driver': 'null-co', 'node-name': 'x'}),
    'blockdev-del': ([('blockdev-add', {'driver': 'null-co', 'node-name': 'x'})], {'node-name': 'x'}),
    'blockdev-snapshot': ([], {'node': 'n1', 'overlay': 'spare'}),
    'blockdev-snapshot-sync': ([], {'device': 'd0', 'snapshot-file': 'over.qcow2'}),
    'blockdev-snapshot-internal-sync': ([], {'device': 'd0', 'name': 't'}),
    'blockdev-snapshot-delete-internal-sync': (
        [('blockdev-snapshot-internal-sync', {'device': 'd0', 'name': 't'})],
        {'device': 'd0', 'name': 't'}),
    'snapshot-save': ([], {'job-id': 'x', 'tag': 's2', 'vmstate': 'd0', 'devices': ['d0']}),
    'snapshot-load': ([], {'job-id': 'x', 'tag': 's', 'vmstate': 'd0', 'devices': ['d0']}),
    'snapshot-delete': ([], {'job-id': 'x', 'tag': 's', 'devices': ['d0']}),
    'change-backing-file': ([], {'device': 'top', 'image-node-name': 'top', 'backing-file': 'base'}),
    'x-blockdev-amend': ([], {'job-id': 'x', 'node-name': 'luks', 'options': {
        'driver': 'luks', 'state': 'active', 'new-secret': 's0', 'iter-time': 10}}),
    'change-vnc-password': ([], {'password': 'x'}),
    'set_password': ([], {'protocol': 'vnc', 'password': 'x'}),
    'expire_password': ([], {'protocol': 'vnc', 'time': 'never'}),
    'chardev-add': ([], {'id': 'x', 'backend': {'type': 'null', 'data': {}}}),
    'trace-event-get-state': ([], {'name': 'vm_*'}),
    'trace-event-set-state': ([], {'name': 'vm_reset', 'enable': False}),
    'chardev-change': ([], {'id': 'ring', 'backend': {'type': 'null', 'data': {}}}),
    'chardev-remove': ([('chardev-add', {'id': 'x', 'backend': {'type': 'null', 'data': {}}})],
                       {'id': 'x'}),
    'chardev-send-break': ([], {'id': 'ring'}),
    'ringbuf-read': ([], {'device': 'ring', 'size': 4}),
    'ringbuf-write': ([], {'device': 'ring', 'data': 'x'}),
    'device_add': ([], {'driver': 'usb-mouse', 'id': 'x'}),
    'device_del': ([('device_add', {'driver': 'usb-mouse', 'id': 'x'})], {'id': 'x'}),
    'netdev_add': ([], {'type': 'hubport', 'id': 'x', 'hubid': 1}),
    'netdev_del': ([('netdev_add', {'type': 'hubport', 'id': 'x', 'hubid': 1})], {'id': 'x'}),
    'object-add': ([], {'qom-type': 'iothread', 'id': 'x'}),
    'object-del': ([('object-add', {'qom-type': 'iothread', 'id': 'x'})], {'id': 'x'}),
    'dump-guest-memory': ([], {'paging': False, 'protocol': 'file:dump'}),
    'memsave': ([], {'val': 0, 'size': 16, 'filename': 'f'}),
    'pmemsave': ([], {'val': 0, 'size': 16, 'filename': 'f'}),
    'query-rx-filter': ([], {'name': 'nic'}),
    'x-query-virtio-status': ([], {'path': BLK}),
    'x-query-virtio-queue-status': ([], {'path': BLK, 'queue': 0}),
    'qom-get': ([], {'path': '/machine/peripheral/blk', 'property': 'type'}),
    'qom-set': ([], {'path': '/objects/io0', 'property': 'poll-max-ns', 'value': 1}),
}
# They need a descriptor, a machine that stands still, or what is not here; tests of their own have them.
NEVER = {'add-fd', 'add_client', 'getfd', 'closefd', 'remove-fd', 'query-vm-generation-id', 'system_wakeup',
         'x-query-jit', 'x-query-opcount', 'x-query-profile', 'x-blockdev-change', 'x-save-state',
         'x-load-state', 'x-query-virtio-queue-element', 'x-query-virtio-vhost-queue-status'}

# Names of things that are there, for arguments that take names.
THERE = {'device': 'd0', 'node-name': 'n1', 'node': 'n1', 'drive': 'd0', 'filename': 'f', 'file': 'f',
         'id': 'x', 'path': '/machine', 'typename': 'virtio-blk-pci', 'qom-type': 'iothread',
         'driver': 'null-co', 'host': '127.0.0.1', 'port': '0', 'name': 'nic', 'target': 'f',
         'command-line': 'info status', 'protocol': 'vnc', 'netdev_id': 'net0', 'netdev': 'net0'}
HOSTILE = {
    'string': ['', '%s%n%99999999s', 'A' * 5000, '/', '../' * 40, '\x01\x1b[2J\u202e', 'a,b==,c=,,',
               '{"a":', '-1', 'd0', 'cd0', 'n1', 'ring'],
    'int': [-1, 0, 1, 511, 2**31, 2**32 + 1, 2**63 - 1, -2**63],
    'number': [-1, 0, 0.5, 1e308, -2**63],
    'boolean': [True, False],
    'value': [None, 1, 'A', [], {}, [[[[[]]]]]],
    'null': [None],
}
OTHER_TYPES = [None, True, 1.5, 'a', [], {}, [1], {'a': 1}]
# Addresses are looked up, and nothing here asks a name server.
NOT_HOSTILE = {'host', 'hostname'}
# They end the program, or are of the connection and not of the machine.
NOT_WALKED = {'quit', 'q', 'qmp_capabilities'}
HMP_WORDS = ['0', '-1', '1', '4096', '0xffffffffffffffff', '99999999999999999999', 'd0', 'cd0', 'n1', 'f',
             'on', '%n%s', '"', '"a b', '$rax', '((((1', '/0', '(1', '-f', '-z', 'A' * 3000, ',,=,', '{"a"',
             '../../x', '\x1b[2J', '/4294967295x', 'help']


MADE = []  # a folder with the images, which each machine gets copies of


class Dead(AssertionError):
    pass


class Machine:
    """One in a state, made anew where a command has changed that."""

    def __init__(self, state):
        self.state, self.vm, self.calls = state, None, 0

    def begin(self):
        self.vm = Vm(VMM_PATH, ['-S', *BOARD], setup=make_images)
        for f in self.vm.sockets:
            f.settimeout(60)
        for command, arguments in BEGIN:
            self.vm.call(command, arguments)
        for step in STATES[self.state]:
            if step in ('cont', 'stop'):
                self.vm.call(step)
                continue
            for line in STEPS.get(step, [step]):
                self.vm.qtest(line)
        self.expect()

    def expect(self):
        """Until it is in its state: what a guest does is heard of by the main loop, in its turn."""
        for _ in range(1000):
            now = self.vm.call('query-status')['status']
            if now == self.state:
                return
        raise AssertionError(f'it is {now}, not {self.state}')

    def end(self):
        if self.vm:
            self.vm.close()
            self.vm = None

    def await_job(self, job, status):
        """As long as the job is there, and on its way to the status."""
        for _ in range(1000):
            now = {j['id']: j['status'] for j in self.vm.call('query-jobs')}.get(job)
            if now in (None, status, 'concluded'):
                return

    def ask(self, command, arguments):
        """The reply. Whatever comes, the next one is asked of a machine in this state."""
        if not self.vm:
            self.begin()
        for before in RIGHT.get(command, ((), 0))[0]:
            if before[0] == 'AWAIT':
                self.await_job(*before[1])
            else:
                self.vm.raw(*before)
        self.calls += 1
        what = f'{self.state}: {command} {json.dumps(arguments)[:300]}'
        try:
            reply = self.vm.raw(command, arguments)
            now = self.vm.call('query-status')['status']
        except (OSError, ValueError, AssertionError) as e:
            said, vm = self.vm.said(), self.vm
            self.vm = None
            vm.process.kill()
            vm.close()
            raise Dead(f'{what}: no answer ({e!r})\n{said[-1500:]}') from e
        if 'error' in reply:
            error = reply['error']
            assert error['desc'] and error['class'], f'{what}: {reply}'
            assert '(null)' not in error['desc'], f'{what}: {reply}'
        if now != self.state:
            self.end()
        return reply


def make_images(folder):
    if MADE:
        shutil.copytree(MADE[0], folder, dirs_exist_ok=True)
        return
    for words in ('qcow2 disk.qcow2 1M', 'qcow2 spare.qcow2 1M', 'qcow2 base 1M', 'raw spare.raw 1M',
                  'qcow2 -b base -F qcow2 top.qcow2',
                  'luks --object secret,id=s0,data=x -o key-secret=s0,iter-time=10 luks 1M'):
        subprocess.run([VMM_IMG, 'create', '-q', '-f', *words.split(' ')], cwd=folder, check=True)
    MADE.append(tempfile.mkdtemp())
    shutil.copytree(folder, MADE[0], dirs_exist_ok=True, ignore=lambda *_: ['qmp', 'qtest'])


class Walk:
    """Arguments by the schema."""

    def __init__(self, types):
        self.types = {t['name']: t for t in types}

    def commands(self):
        return [t for t in self.types.values() if t['meta-type'] == 'command']

    def usual(self, type_name, member='', depth=0):
        """A value of a type: the least that the schema lets through."""
        t = self.types[type_name]
        kind = t['meta-type']
        if kind == 'builtin':
            return {'string': THERE.get(member, 'x'), 'int': 1, 'number': 1, 'boolean': False,
                    'null': None, 'value': 1}[t['json-type']]
        if kind == 'enum':
            return t['values'][0]
        if kind == 'array':
            return []
        if kind == 'alternate':
            return self.usual(t['members'][0]['type'], member, depth)
        value = {}
        if depth < 6:
            for m in t['members']:
                if 'default' not in m:
                    value[m['name']] = self.usual(m['type'], m['name'], depth + 1)
            if 'tag' in t:
                value[t['tag']] = THERE.get(t['tag']) or t['variants'][0]['case']
                self.add_variant(value, t, depth)
        return value

    def add_variant(self, value, t, depth):
        for v in t['variants']:
            if v['case'] == value[t['tag']]:
                value.update(self.usual(v['type'], '', depth + 1))

    def members(self, type_name, depth=0):
        """(path, type) of each member, and of those of its objects and lists."""
        t = self.types[type_name]
        found = []
        if t['meta-type'] == 'array':
            return [((0, *path), kind) for path, kind in self.members(t['element-type'], depth + 1)]
        for m in t.get('members', []) if t['meta-type'] == 'object' else []:
            found.append(((m['name'],), m['type']))
            if depth < 2:
                found += [((m['name'], *path), kind)
                          for path, kind in self.members(m['type'], depth + 1)]
        return found

    def wrong(self, type_name, member):
        """Values of a type that nobody means."""
        t = self.types[type_name]
        kind = t['meta-type']
        if kind == 'builtin':
            return [] if member in NOT_HOSTILE else HOSTILE[t['json-type']]
        if kind == 'enum':
            return [*t['values'], 'no-such', '']
        if kind == 'array':
            one = self.usual(t['element-type'])
            return [[one], [one] * 300]
        if kind == 'object' and 'tag' in t:
            values = []
            for v in t['variants']:
                value = {**self.usual(type_name), t['tag']: v['case']}
                self.add_variant(value, t, 1)
                values.append(value)
            return values
        return []

    def arguments(self, command):
        """What a command is called with; each of the machine's own tree, nothing twice."""
        base = self.usual(command['arg-type'])
        if command['name'] in RIGHT:
            base = RIGHT[command['name']][1]
        yield base
        yield {**base, 'no-such-argument': 1}
        for name in base:
            yield {k: v for k, v in base.items() if k != name}
        args = self.types[command['arg-type']]
        if 'tag' in args:
            yield from self.wrong(command['arg-type'], '')
        for path, kind in self.members(command['arg-type']):
            for value in [*self.wrong(kind, path[-1]), *(OTHER_TYPES if len(path) == 1 else [])]:
                changed = put(base, path, value)
                if changed is not None:
                    yield changed


def takes_long(arguments):
    """It is right, and fills the disk: memsave and pmemsave of gigabytes."""
    size = arguments.get('size') if 'val' in arguments else None
    return type(size) is int and 2**20 < size < 2**33


def put(tree, path, value):
    """A copy of a tree with another value at a place; what is on the way is made."""
    if not path:
        return value
    if isinstance(path[0], int):
        inner = put(tree[0] if isinstance(tree, list) and tree else {}, path[1:], value)
        return [inner]
    tree = dict(tree) if isinstance(tree, dict) else {}
    tree[path[0]] = put(tree.get(path[0], {}), path[1:], value)
    return tree


def hmp_names(vm):
    names = []
    for topic, skip in (('help', 0), ('help info', 1)):
        for line in vm.call('human-monitor-command', {'command-line': topic}).splitlines():
            words = line.split(' ')
            if line and words[0] and not line.startswith(' '):
                names.append(' '.join(words[:1 + skip]).split('|')[0])
    return [n for n in names if n not in NOT_WALKED]


def hmp_lines(name, few):
    yield name
    for word in HMP_WORDS[::4] if few else HMP_WORDS:
        yield f'{name} {word}'
    if not few:
        for first in 'd0', '0':
            for second in HMP_WORDS:
                yield f'{name} {first} {second}'
        yield f'{name} ' + 'a ' * 500
    yield f'{name} d0 f 1 2 3 4 5 6 7'
    yield f'{name} 0x1000 16 f'


def walk(state, few):
    machine, problems, answered = Machine(state), [], set()
    machine.begin()
    schema = Walk(machine.vm.call('query-qmp-schema'))
    names = hmp_names(machine.vm)
    assert len(names) > 100 and len(schema.commands()) > 130, (len(names), len(schema.commands()))

    def ask(command, arguments):
        try:
            if 'return' in machine.ask(command, arguments):
                answered.add(command)
        except AssertionError as e:
            problems.append(str(e))

    for command in schema.commands():
        if command['name'] in NOT_WALKED:
            continue
        if not few:  # the first call is right, on a machine where everything is still there
            machine.end()
        for number, arguments in enumerate(schema.arguments(command)):
            if takes_long(arguments):
                continue
            if not few or number < 8 or number % 16 == 0:
                ask(command['name'], arguments)
    for name in names:
        for line in hmp_lines(name, few):
            ask('human-monitor-command', {'command-line': line})
    machine.end()
    never = {c['name'] for c in schema.commands()} - answered - NEVER - NOT_WALKED
    assert few or not never, f'nothing that was tried was right for {never}'
    print(f'# {state}: {machine.calls} calls', flush=True)
    assert not problems, f'{len(problems)}:\n' + '\n'.join(problems[:20])


VMM_PATH = os.path.abspath(sys.argv[1])
for each in sys.argv[3:] or STATES:
    @test(f'every command, {each}')
    def _():
        walk(each, each != 'running')


for folder_of_images in MADE:
    shutil.rmtree(folder_of_images)
finish()
