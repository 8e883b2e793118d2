#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits, write thresholds and histograms of disks, and 'qemu-io' in the monitor: words and values
are QEMU's. Called with the path of vmm; TAP on stdout."""
from qmp_client import finish, test, vm

BOARD = ['-machine', 'pc', '-nodefaults', '-device', 'virtio-blk-pci,drive=d0,id=v0', '-drive',
         'if=none,id=d1', '-blockdev', 'null-co,node-name=n,read-zeroes=on']
DRIVE = 'if=none,id=d0,driver=null-co,read-zeroes=on'
DISK = '/machine/peripheral/v0/virtio-backend'
ZERO = {'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0}


def board(options=''):
    return vm(['-drive', DRIVE + options] + BOARD)


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line})


def refused(v, command, arguments):
    return v.raw(command, arguments)['error']['desc']


def limits(v):
    inserted = next(d for d in v.call('query-block') if d['device'] == 'd0')['inserted']
    return {k: n for k, n in inserted.items() if n and ('iops' in k or 'bps' in k or k == 'group')}


@test('limits of a drive: options, changes, the end')
def _():
    with board(',bps=1000,iops_rd=10') as v:
        assert limits(v) == {'bps': 1000, 'iops_rd': 10, 'group': 'd0'}, limits(v)
        assert 'I/O throttling:   bps=1000 bps_rd=0 bps_wr=0 bps_max=0 bps_rd_max=0 bps_wr_max=0 ' \
            'iops=0 iops_rd=10 iops_wr=0 iops_max=0 iops_rd_max=0 iops_wr_max=0 iops_size=0 ' \
            'group=d0\r\n' in hmp(v, 'info block'), hmp(v, 'info block')
        v.call('block_set_io_throttle', {**ZERO, 'device': 'd0', 'iops': 100, 'iops_max': 200,
                                         'iops_max_length': 3, 'iops_size': 512, 'group': 'g'})
        assert limits(v) == {'iops': 100, 'iops_max': 200, 'iops_max_length': 3, 'iops_size': 512,
                             'group': 'g'}, limits(v)
        for arguments, why in (
                ({'device': 'd0', 'iops': 1, 'iops_rd': 1}, 'total values and read/write values'),
                ({'device': 'd1', 'iops': 1}, 'Device has no medium'),
                ({'device': 'zz', 'iops': 1}, "Device 'zz' not found"),
                ({'iops': 1}, "Need exactly one of 'device' and 'id'"),
                ({'device': 'd0', 'iops': -1}, 'must be within [0, 1000000000000000]')):
            got = refused(v, 'block_set_io_throttle', {**ZERO, **arguments})
            assert why in got, got
        v.call('block_set_io_throttle', {**ZERO, 'id': DISK})
        assert limits(v) == {}, limits(v)
        assert hmp(v, 'block_set_io_throttle d0 1 0 0 4 0 0') == ''
        assert limits(v) == {'bps': 1, 'iops': 4, 'group': 'd0'}, limits(v)


@test('throttle groups and the filter')
def _():
    with board() as v:
        v.call('object-add', {'qom-type': 'throttle-group', 'id': 'g0',
                              'limits': {'iops-total': 5}})
        v.call('object-add', {'qom-type': 'throttle-group', 'id': 'g1', 'x-bps-read': 5,
                              'x-bps-read-max': 7})
        got = refused(v, 'object-add', {'qom-type': 'throttle-group', 'id': 'g2', 'x-bps-read': 1,
                                        'x-bps-total': 1})
        assert 'total values and read/write values' in got, got

        def get(name):
            return v.call('qom-get', {'path': '/objects/g0', 'property': name})

        def change(value):
            return {'path': '/objects/g0', 'property': 'limits', 'value': value}

        assert get('x-iops-total') == 5 and get('limits')['iops-total'] == 5
        assert 'total values' in refused(v, 'qom-set', change({'iops-read': 3}))
        assert get('limits')['iops-read'] == 0 and len(get('limits')) == 19
        v.call('qom-set', change({'iops-total': 0, 'iops-read': 3}))
        assert get('limits')['iops-read'] == 3 and get('x-iops-read') == 3
        node = {'driver': 'throttle', 'node-name': 't', 'throttle-group': 'g0', 'file': 'n'}
        got = refused(v, 'blockdev-add', {**node, 'throttle-group': 'zz'})
        assert got == "Throttle group 'zz' does not exist", got
        v.call('blockdev-add', node)
        assert 'is in use' in refused(v, 'object-del', {'id': 'g0'})
        v.call('blockdev-reopen', {'options': [{**node, 'throttle-group': 'g1'}]})
        v.call('object-del', {'id': 'g0'})
        assert 'is in use' in refused(v, 'object-del', {'id': 'g1'})
        v.call('blockdev-del', {'node-name': 't'})
        v.call('object-del', {'id': 'g1'})


@test("'qemu-io', a write threshold, a histogram")
def _():
    with board(',node-name=disk') as v:
        v.call('block-set-write-threshold', {'node-name': 'disk', 'write-threshold': 4096})
        v.call('block-latency-histogram-set', {'id': DISK, 'boundaries': [10],
                                               'boundaries-flush': [1, 2]})
        assert f"Device '{DISK}' set read boundaries fail" in refused(
            v, 'block-latency-histogram-set', {'id': DISK, 'boundaries-read': [2, 1]})
        assert hmp(v, 'qemu-io d0 "write -q 0 4k"') == ''
        assert next(d for d in v.call('query-block') if d['device'] == 'd0')['inserted'][
            'write_threshold'] == 4096
        assert hmp(v, f'qemu-io -d {DISK} "write -q 1k 4k"') == ''
        v.call('query-status')
        told = [e for e in v.events if e['event'] == 'BLOCK_WRITE_THRESHOLD']
        assert [e['data'] for e in told] == [{'node-name': 'disk', 'amount-exceeded': 1024,
                                              'write-threshold': 4096}], told
        stats = next(d for d in v.call('query-blockstats') if d['device'] == 'd0')['stats']
        assert stats['rd_latency_histogram'] == {'boundaries': [10], 'bins': [0, 0]}, stats
        assert stats['flush_latency_histogram']['boundaries'] == [1, 2], stats
        v.call('block-latency-histogram-set', {'id': DISK})
        stats = next(d for d in v.call('query-blockstats') if d['device'] == 'd0')['stats']
        assert 'rd_latency_histogram' not in stats
        assert hmp(v, 'qemu-io n "read -P 0 0 512"').startswith('read 512/512 bytes at offset 0')
        assert 'not found' in hmp(v, 'qemu-io n quit')
        assert 'block_resize' in hmp(v, 'qemu-io n "truncate 5"')
        assert 'No medium found' in hmp(v, 'qemu-io d1 length')
        assert "nor node-name='zz'" in hmp(v, 'qemu-io zz length')


finish()
