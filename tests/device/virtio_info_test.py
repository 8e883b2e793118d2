#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""info virtio-* and x-query-virtio*: a driver that is this test sets devices up by their ports, with
rings in a file that is the guest's memory, and what is told of them is held against QEMU, which the
same driver drives, where it is installed. Called with the path of vmm; TAP on stdout."""
import contextlib
import mmap
import re
import struct

from qmp_client import QEMU, VMM, Vm, finish, test

RAM = 64 << 20
RING, BUFFERS, TABLE = 0x100000, 0x200000, 0x203000
NEXT, WRITE, INDIRECT = 1, 2, 4
BOARD = ['-machine', 'pc,memory-backend=ram', '-m', '64', '-nodefaults',
         '-object', f'memory-backend-file,id=ram,size={RAM},mem-path=ram,share=on',
         '-object', 'iothread,id=io0', '-object', 'rng-builtin,id=r0',
         '-blockdev', 'driver=null-co,node-name=d0,size=1048576',
         '-chardev', 'null,id=c0',
         '-device', 'virtio-blk-pci,drive=d0,id=blk,addr=5',
         '-device', 'virtio-balloon-pci,id=bal,addr=6',
         '-device', 'virtio-rng-pci,addr=7,packed=on,rng=r0',
         '-device', 'virtio-serial-pci,id=ser,addr=8',
         '-device', 'virtserialport,chardev=c0,id=port0']
BLK, BAL, RNG, SER = (f'/machine/{p}/virtio-backend' for p in (
    'peripheral/blk', 'peripheral/bal', 'peripheral-anon/device[0]', 'peripheral/ser'))


class Driver:
    """Of the machine's virtio devices: ports by the monitor's 'o', memory by the file."""

    def __init__(self, binary, args):
        own = binary == VMM
        # Without the firmware, which has a driver of its own: the CPU halts at once.
        self.vm = Vm(binary, args + ([] if own else ['-accel', 'tcg', '-bios', 'bios']), own,
                     halting_firmware)
        with open(f'{self.vm.dir}/ram', 'r+b') as f:
            self.ram = mmap.mmap(f.fileno(), RAM)

    def hmp(self, line):
        return self.vm.call('human-monitor-command', {'command-line': line}).replace('\r', '')

    def out(self, size, port, value):
        assert not self.hmp(f'o/{size} {port} {value}')

    def config(self, slot, register, size, value):
        self.out('w', 0xcf8, 1 << 31 | slot << 11 | register & ~3)
        self.out(size, 0xcfc + (register & 3), value)

    def config_byte(self, slot, register):
        self.out('w', 0xcf8, 1 << 31 | slot << 11 | register & ~3)
        return int(self.hmp(f'i/b {0xcfc + (register & 3)}').split('=')[1], 16)

    def begin(self, slot, port, features):
        """A legacy driver, up to its features."""
        self.config(slot, 0x10, 'w', port)
        self.config(slot, 4, 'h', 7)
        for status in 0, 1, 3:
            self.out('b', port + 18, status)
        self.out('w', port + 4, features)

    def add_ring(self, port, queue, entries, address):
        self.out('h', port + 14, queue)
        self.out('w', port + 8, address >> 12)
        self.entries, self.ring = entries, address
        self.avail = address + entries * 16
        self.used = (self.avail + 6 + 2 * entries + 4095) & ~4095

    def put(self, address, form, *values):
        data = struct.pack(form, *values)
        self.ram[address:address + len(data)] = data

    def desc(self, i, address, length, flags, following=0, table=None):
        self.put((table or self.ring) + 16 * i, '<QIHH', address, length, flags, following)

    def offer(self, slot, head, index):
        self.put(self.avail + 4 + 2 * slot, '<H', head)
        self.put(self.avail + 2, '<H', index)

    def chain(self, table=None):
        """Reads a sector."""
        self.put(BUFFERS, '<IIQ', 0, 0, 0)
        self.desc(0, BUFFERS, 16, NEXT, 1, table)
        self.desc(1, BUFFERS + 0x1000, 512, NEXT | WRITE, 2, table)
        self.desc(2, BUFFERS + 0x2000, 1, WRITE, 0, table)

    def kick(self, port, used, queue=0):
        self.out('h', port + 16, queue)
        self.until(lambda: struct.unpack_from('<H', self.ram, self.used + 2)[0] == used)

    def until(self, condition):
        """The device works on its own, between the commands."""
        for _ in range(10000):
            if condition():
                return
            self.hmp('info status')
        raise AssertionError('it does not come to that')

    def read(self, port, slot):
        """One request by an indirect table."""
        self.chain(TABLE)
        self.desc(5, TABLE, 48, INDIRECT)
        self.offer(slot, 5, slot + 1)
        self.kick(port, slot + 1)

    def close(self):
        self.ram.close()
        self.vm.close()


def halting_firmware(folder):
    code = bytearray(65536)
    code[0xfff0:0xfff4] = b'\xfa\xf4\xeb\xfc'  # cli, hlt, and again
    with open(f'{folder}/bios', 'wb') as f:
        f.write(code)


@contextlib.contextmanager
def driver(binary=VMM, args=None):
    d = Driver(binary, args or BOARD)
    try:
        yield d
    finally:
        d.close()


def modern_registers(d, slot):
    """How to write to the common configuration of a modern device by its configuration window."""
    caps, at = {}, d.config_byte(slot, 0x34)
    while at:
        if d.config_byte(slot, at) == 9:
            caps[d.config_byte(slot, at + 3)] = at
        at = d.config_byte(slot, at + 1)
    window, bar = caps[5], d.config_byte(slot, caps[1] + 4)
    d.config(slot, 0x10 + 4 * bar, 'w', 0xfe000000)
    d.config(slot, 4, 'h', 6)

    def write(offset, size, value):
        d.config(slot, window + 4, 'b', bar)
        d.config(slot, window + 8, 'w', offset)
        d.config(slot, window + 12, 'w', size)
        d.config(slot, window + 16, {1: 'b', 2: 'h', 4: 'w'}[size], value)
    return write


def packed_rng(d):
    write = modern_registers(d, 7)
    for status in 0, 1, 3:
        write(20, 1, status)
    for select, features in (0, 0x30000000), (1, 5):
        write(8, 4, select)
        write(12, 4, features)
    write(20, 1, 0xb)
    write(24, 2, 6)
    for register, address in (32, 0x300000), (40, 0x301000), (48, 0x302000):
        write(register, 4, address)
        write(register + 4, 4, 0)
    write(28, 2, 1)
    write(20, 1, 0xf)


def talk(d):
    """A driver's life, and what is told of it."""
    said = []

    def ask(command, **arguments):
        reply = d.vm.raw(f'x-query-virtio{command}', arguments)
        said.append((command, arguments, reply.get('return', reply.get('error'))))

    def see(line):
        said.append((line, {}, d.hmp(line)))

    see('info virtio')
    for path in BLK, BAL, RNG, SER:
        ask('-status', path=path)
        see(f'info virtio-status {path}')
        ask('-queue-status', path=path, queue=0)
        ask('-queue-element', path=path, queue=0)
    for command in '-status', '-queue-status', '-queue-element', '-vhost-queue-status':
        for path in 'x', '/machine', '/machine/peripheral/blk':
            ask(command, path=path, **({} if command == '-status' else {'queue': 0}))
        if command != '-status':
            for queue in 1, 63, 65535, 65536, -1:
                ask(command, path=BLK, queue=queue)
    ask('-queue-element', path=BLK, queue=0, index=65536)
    d.begin(5, 0xc000, 0x30000000)
    see(f'info virtio-status {BLK}')
    d.add_ring(0xc000, 0, 256, RING)
    d.out('b', 0xc012, 7)
    d.chain()
    d.offer(0, 0, 1)
    d.kick(0xc000, 1)
    for index in {}, {'index': 0}, {'index': 256}:
        ask('-queue-element', path=BLK, queue=0, **index)
    d.read(0xc000, 1)
    ask('-status', path=BLK)
    see(f'info virtio-status {BLK}')
    ask('-queue-status', path=BLK, queue=0)
    see(f'info virtio-queue-status {BLK} 0')
    ask('-queue-element', path=BLK, queue=0, index=1)
    see(f'info virtio-queue-element {BLK} 0 1')
    see(f'info virtio-vhost-queue-status {BLK} 0')
    d.desc(10, BUFFERS, 16, 0x8080)
    d.offer(2, 10, 2)
    see(f'info virtio-queue-element {BLK} 0 2')
    d.out('b', 0xc012, 0x97)
    see(f'info virtio-status {BLK}')
    # The balloon keeps the driver's buffer for statistics.
    d.begin(6, 0xc080, 2)
    d.add_ring(0xc080, 2, 128, RING + 0x10000)
    d.out('b', 0xc080 + 18, 7)
    d.desc(0, BUFFERS, 40, 0)
    d.offer(0, 0, 1)
    d.out('h', 0xc080 + 16, 2)
    d.until(lambda: d.vm.call('x-query-virtio-queue-status', {'path': BAL, 'queue': 2})['inuse'])
    ask('-queue-status', path=BAL, queue=2)
    packed_rng(d)
    ask('-status', path=RNG)
    see(f'info virtio-queue-status {RNG} 0')
    see(f'info virtio-queue-element {RNG} 0 2')
    return said


def without(reply):
    """A reply without what differs from QEMU on purpose, and says so here."""
    if isinstance(reply, str):
        # QEMU 7.2 offers bits 30 of legacy features, and prints a NULL.
        reply = re.sub(r'\tVHOST_USER_F_PROTOCOL_FEATURES.*\n', '', reply)
        reply = reply.replace('bus_name:                (null)', 'bus_name:                ')
        reply = reply.replace('0x0000010040000000', '0x0000010000000000')
        return re.sub(r'shadow_avail_idx: .*', '', reply)
    if isinstance(reply, dict):
        reply = {k: without(v) for k, v in reply.items() if k != 'shadow-avail-idx'}
        if 'unknown-dev-features' in reply:
            reply['unknown-dev-features'] &= ~(1 << 30)
    if isinstance(reply, list):
        reply = [without(v) for v in reply if not str(v).startswith('VHOST_USER_F_PROTOCOL')]
    return reply


@test('what a driver does is seen as in QEMU', None if QEMU else 'no qemu-system-x86_64')
def _():
    with driver() as d, driver(QEMU) as q:
        ours, theirs = talk(d), talk(q)
    assert len(ours) == len(theirs) and len(ours) > 60
    for mine, other in zip(ours, theirs):
        assert without(mine[2]) == without(other[2]), f'{mine}\n{other}'


def filters(d):
    """What a network card is told to let through, by its control queue, and what is told of it."""
    said, slot = [], 0

    def ask(**arguments):
        reply = d.vm.raw('query-rx-filter', arguments)
        if 'return' in reply:
            # QEMU 7.2 has it the other way round.
            for one in reply['return']:
                one['broadcast-allowed'] ^= d.vm.process.args[0] == QEMU
        said.append((arguments, reply.get('return', reply.get('error'))))

    def control(kind, command, data):
        nonlocal slot
        d.put(BUFFERS, '<BB', kind, command)
        d.ram[BUFFERS + 16:BUFFERS + 16 + len(data)] = data
        d.put(BUFFERS + 512, '<B', 0x55)
        d.desc(0, BUFFERS, 2, NEXT, 1)
        d.desc(1, BUFFERS + 16, len(data), NEXT, 2)
        d.desc(2, BUFFERS + 512, 1, WRITE)
        d.offer(slot, 0, slot + 1)
        slot += 1
        d.kick(0xc100, slot, 2)
        said.append(d.ram[BUFFERS + 512])
        for _ in range(2):  # until what was sent before the answer has come
            d.vm.call('query-name')
        events = [e['data'] for e in d.vm.events if e['event'] == 'NIC_RX_FILTER_CHANGED']
        d.vm.events.clear()
        assert all(e == {'name': 'nic', 'path': '/machine/peripheral/nic/virtio-backend'}
                   for e in events), events
        said.append(len(events))

    def macs(*lists):
        return b''.join(struct.pack('<I', len(macs)) + b''.join(macs) for macs in lists)

    for name in {}, {'name': 'nic'}, {'name': 'h0'}, {'name': 'e'}, {'name': 'nope'}:
        ask(**name)
    d.begin(9, 0xc100, 1 << 5 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 23)
    ask()
    d.add_ring(0xc100, 2, 64, RING)
    d.out('b', 0xc100 + 18, 7)
    one, two, three = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
    for kind, command, data in (
            (0, 0, b'\0'), (0, 1, b'\1'), (0, 2, b'\1'), (0, 5, b'\1'), (0, 4, b'\1'),
            (0, 3, b'\1'), (2, 0, b'\5\0'), (2, 0, b'\xff\x0f'), (2, 1, b'\5\0'),
            (2, 0, b'\0\x10'), (1, 0, macs([one, two], [three])), (1, 1, two),
            (1, 0, macs([one] * 65, [two] * 64)), (1, 0, macs([], [three] * 65)), (0, 9, b'\1')):
        control(kind, command, data)
        ask(name='nic')
    for _ in range(3):  # one event, as nobody asks
        control(0, 0, b'\1')
    return said


@test('what a network card lets through is told as by QEMU')
def _():
    args = [*BOARD, '-netdev', 'hubport,id=h0,hubid=0', '-device',
            'virtio-net-pci,netdev=h0,id=nic,mac=52:54:00:01:02:03,addr=9', '-device', 'e1000,id=e']
    with driver(VMM, args) as d:
        ours = filters(d)
    (every, every_reply), (_, nic), *refused = ours[:5]
    assert not every and every_reply == nic and nic[0]['vlan'] == 'all', nic
    assert nic[0]['main-mac'] == '52:54:00:01:02:03' and nic[0]['promiscuous'], nic
    assert nic[0]['broadcast-allowed'] and len(nic[0]['vlan-table']) == 4096, nic
    assert [r[1]['desc'] for r in refused] == [
        "net client(h0) isn't a NIC", "net client(e) doesn't support rx-filter querying",
        'invalid net client name: nope'], refused
    assert any(not isinstance(r, int) and r[1][0]['vlan-table'] == [4095] for r in ours[5:]), ours
    assert any(not isinstance(r, int) and not r[1][0]['broadcast-allowed'] for r in ours[5:]), ours
    assert ours[-6:] == [0, 1, 0, 0, 0, 0], ours[-6:]  # one event, until somebody asks again
    if not QEMU:
        return
    with driver(QEMU, args) as q:
        theirs = filters(q)
    for number, (mine, other) in enumerate(zip(ours, theirs)):
        assert mine == other, f'{number}: {str(mine)[-900:]}\n{str(other)[-900:]}'
    assert len(ours) == len(theirs)


@test('a ring that an I/O thread serves')
def _():
    args = [a + ',iothread=io0' if 'virtio-blk' in a else a for a in BOARD]
    said = []
    for words in BOARD, args:
        with driver(VMM, words) as d:
            d.begin(5, 0xc000, 0x30000000)
            d.add_ring(0xc000, 0, 256, RING)
            d.out('b', 0xc012, 7)
            for slot in range(20):
                d.read(0xc000, slot)
            queue = d.vm.call('x-query-virtio-queue-status', {'path': BLK, 'queue': 0})
            chain = d.vm.call('x-query-virtio-queue-element', {'path': BLK, 'queue': 0,
                                                               'index': 19})
            said.append((queue, chain))
    assert said[0] == said[1], said
    queue, chain = said[0]
    assert queue['last-avail-idx'] == queue['used-idx'] == 20 and queue['inuse'] == 0, queue
    assert [x['len'] for x in chain['descs']] == [1, 512, 16] and chain['index'] == 5, chain
    assert chain['avail']['idx'] == chain['used']['idx'] == 20, chain


@test('a hostile ring is an error of the look, and the device goes on')
def _():
    with driver() as d:
        d.begin(5, 0xc000, 0x30000000)
        d.add_ring(0xc000, 0, 256, RING)
        d.out('b', 0xc012, 7)
        d.read(0xc000, 0)

        def look(expected, head=10):
            d.put(d.avail + 4 + 2 * 7, '<H', head)
            d.vm.refuse('x-query-virtio-queue-element', {'path': BLK, 'queue': 0, 'index': 7},
                        expected)

        look('a descriptor outside of its table', 256)
        look('a descriptor outside of its table', 65535)
        d.desc(10, BUFFERS, 16, NEXT, 256)
        look('a descriptor outside of its table')
        d.desc(10, BUFFERS, 16, NEXT, 11)
        d.desc(11, BUFFERS, 16, NEXT | WRITE, 10)
        look('a chain that loops')
        for length in 0, 17, 1 << 31:
            d.desc(10, TABLE, length, INDIRECT)
            look('an indirect table of an odd length')
        for address in 1 << 50, 2**64 - 16, RAM:
            d.desc(10, address, 32, INDIRECT)
            look('an indirect table that is not in RAM')
        d.desc(10, TABLE, 48, INDIRECT | NEXT, 11)
        look('an indirect table with something chained behind it')
        d.desc(10, TABLE, 48, INDIRECT)
        d.desc(0, TABLE, 48, INDIRECT, 0, TABLE)
        look('an indirect table in an indirect table')
        d.desc(0, BUFFERS, 48, NEXT, 0, TABLE)
        look('a chain that loops')
        d.desc(0, BUFFERS, 48, NEXT, 3, TABLE)
        look('a descriptor outside of its table')
        # Buffers may be anywhere: nobody looks into them.
        d.desc(10, 2**64 - 1, 2**32 - 1, 0xfffa)
        d.put(d.avail + 4 + 2 * 7, '<H', 10)
        chain = d.vm.call('x-query-virtio-queue-element', {'path': BLK, 'queue': 0, 'index': 7})
        assert chain['descs'] == [{'addr': 2**64 - 1, 'len': 2**32 - 1,
                                   'flags': ['used', 'avail', 'write']}], chain
        # A table of the largest size.
        for i in range(65535):
            d.desc(i, BUFFERS, i, NEXT, i + 1, 0x1000000)
        d.desc(65535, BUFFERS, 9, 0, 0, 0x1000000)
        d.desc(10, 0x1000000, 1 << 20, INDIRECT)
        chain = d.vm.call('x-query-virtio-queue-element', {'path': BLK, 'queue': 0, 'index': 7})
        assert len(chain['descs']) == 65536 and chain['descs'][1]['len'] == 65534
        status = d.vm.call('x-query-virtio-status', {'path': BLK})
        assert not status['broken'] and status['started'], status
        d.read(0xc000, 1)
        # A driver whose ring is nonsense has broken the device, which can still be looked at.
        d.offer(2, 999, 3)
        d.out('h', 0xc010, 0)
        d.until(lambda: d.vm.call('x-query-virtio-status', {'path': BLK})['broken'])
        d.vm.refuse('x-query-virtio-queue-element', {'path': BLK, 'queue': 0},
                    'a descriptor outside of its table')


@test('a machine without such devices')
def _():
    with driver(VMM, ['-machine', 'pc,memory-backend=ram', '-nodefaults', '-m', '64', '-object',
                      f'memory-backend-file,id=ram,size={RAM},mem-path=ram,share=on']) as d:
        assert d.hmp('info virtio') == 'No VirtIO devices\n'
        assert d.vm.call('x-query-virtio') == []


finish()
