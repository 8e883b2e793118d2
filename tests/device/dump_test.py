#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dump-guest-memory under qtest: the file, wrong arguments, failures, detach, and the program's end
meanwhile. Called with the path of vmm; TAP on stdout."""
import os
import struct
import tempfile

from qmp_client import VMM, finish, test, vm

BOARD = ['-machine', 'pc', '-m', '8', '-nodefaults']
MIB = 1 << 20


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line}).replace('\r', '')


def dump(v, path, **arguments):
    return v.raw('dump-guest-memory', {'paging': False, 'protocol': f'file:{path}', **arguments})


def segments(path):
    """(type, offset, virtual, physical, length) of each program header."""
    with open(path, 'rb') as f:
        data = f.read()
    assert data[:7] == b'\x7fELF\x02\x01\x01', data[:7]
    kind, machine, _, _, at = struct.unpack_from('<HHIQQ', data, 16)
    assert (kind, machine) == (4, 62), (kind, machine)
    size, count = struct.unpack_from('<HH', data, 54)
    assert size == 56
    found = []
    for i in range(count):
        what, _, offset, va, pa, filesz, memsz, _ = struct.unpack_from('<IIQQQQQQ', data,
                                                                       at + size * i)
        assert filesz == memsz and offset + filesz <= len(data)
        found.append((what, offset, va, pa, filesz))
    return data, found


@test('the file: memory by physical address')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        path = f'{work}/core'
        v.qtest('write 0x2000 4 0x61626364')
        v.qtest('write 0x7ffffc 4 0x65666768')
        assert v.call('query-dump') == {'status': 'none', 'completed': 0, 'total': 0}
        assert hmp(v, 'info dump') == 'Status: none\n'
        assert dump(v, path) == {'return': {}}
        data, found = segments(path)
        assert [s[0] for s in found] == [4] + [1] * (len(found) - 1), found
        memory = {s[3]: s for s in found[1:]}
        assert all(s[2] == s[3] for s in memory.values())
        assert data[memory[0][1] + 0x2000:][:4] == b'abcd'
        high = max((s for s in memory.values() if s[3] < 8 * MIB), key=lambda s: s[3])
        assert high[3] + high[4] == 8 * MIB
        assert data[high[1] + high[4] - 4:][:4] == b'efgh'
        total = sum(s[4] for s in memory.values())
        assert os.path.getsize(path) == memory[0][1] + total
        assert os.stat(path).st_blocks * 512 < MIB, 'zeroes take no room'
        assert os.stat(path).st_mode & 0o77 == 0, 'a secret of the guest'
        done = {'status': 'completed', 'completed': total, 'total': total}
        assert v.call('query-dump') == done
        v.wait('DUMP_COMPLETED')
        assert v.events[-1]['data'] == {'result': done}, v.events
        assert {'STOP', 'RESUME'} <= {e['event'] for e in v.events}, v.events
        assert hmp(v, f'dump-guest-memory -p "{path}"') == ''
        assert segments(path)[1] == found, 'without a CPU there is no paging'
        assert v.call('query-dump-guest-memory-capability') == {'formats': ['elf']}


@test('a part of memory')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        path = f'{work}/core'
        v.qtest('write 0x200ffe 4 0x61626364')
        assert dump(v, path, begin=2 * MIB + 0x1000, length=0x801) == {'return': {}}
        data, found = segments(path)
        assert [s[3:] for s in found[1:]] == [(2 * MIB + 0x1000, 0x801)], found
        assert data[found[1][1]:][:3] == b'cd\0'
        assert hmp(v, f'dump-guest-memory {path} 0x9f000 0x22000') == ''
        _, found = segments(path)
        assert found[1][3:] == (0x9f000, 0x1000), found  # the screen's window is no memory
        assert dump(v, path, begin=0, length=2**63 - 1) == {'return': {}}


@test('wrong arguments')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        path, name = f'{work}/core', 'dump-guest-memory'

        def refuse(desc, **arguments):
            v.refuse(name, {'paging': False, 'protocol': f'file:{path}', **arguments}, desc)

        refuse("Invalid parameter 'protocol'", protocol=path)
        refuse("Invalid parameter 'protocol'", protocol='')
        refuse("File descriptor named 'x' has not been found", protocol='fd:x')
        refuse("Could not open '/nonexistent/x': No such file or directory",
               protocol='file:/nonexistent/x')
        refuse("Could not open '': No such file or directory", protocol='file:')
        refuse("Parameter 'length' is missing", begin=0)
        refuse("Parameter 'begin' is missing", length=1)
        refuse("Invalid parameter 'length'", begin=0, length=0)
        refuse('dump: no guest memory to dump', begin=1 << 40, length=1)
        refuse("kdump-compressed format doesn't support paging or filter", paging=True,
               format='kdump-zlib')
        for kind in 'kdump-zlib', 'kdump-lzo', 'kdump-snappy', 'win-dmp':
            refuse(f"{kind} is not available now: this program dumps in format 'elf'", format=kind)
        refuse("Parameter 'format' does not accept value 'x'", format='x')
        assert 'error' in v.raw(name, {'protocol': f'file:{path}'})
        help_line = 'Try "help dump-guest-memory" for more information\n'
        for line, said in (
                ('', f'Error: dump-guest-memory: filename expected\n{help_line}'),
                ('-x a', f'Error: dump-guest-memory: unsupported option -x\n{help_line}'),
                (f'{path} 0', "Error: Parameter 'length' is missing\n"),
                (f'{path} 0 0', "Error: Invalid parameter 'length'\n"),
                (f'{path} x', f"Error: invalid char 'x' in expression\n{help_line}"),
                (f'-w -z {path}', "Error: only one of '-z|-l|-s|-w' can be set\n"),
                (f'-p -z {path}',
                 "Error: kdump-compressed format doesn't support paging or filter\n"),
                (f'-w {path}',
                 "Error: win-dmp is not available now: this program dumps in format 'elf'\n")):
            assert hmp(v, f'dump-guest-memory {line}') == said, hmp(v, f'dump-guest-memory {line}')
        assert not os.path.exists(path)


@test('a dump that fails leaves no file, and what was there before it began')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        path = f'{work}/core'
        v.refuse('dump-guest-memory', {'paging': False, 'protocol': 'file:/dev/full'},
                 "dump: cannot write '/dev/full': No space left on device")
        assert os.path.exists('/dev/full')
        v.wait('DUMP_COMPLETED')
        event = v.events[-1]['data']
        assert event['result']['status'] == 'failed', event
        assert event['error'] == "dump: cannot write '/dev/full': No space left on device", event
        assert hmp(v, 'info dump') == 'Status: failed\n'
        with open(path, 'w', encoding='ascii') as f:
            f.write('older')
        v.refuse('dump-guest-memory', {'paging': False, 'protocol': f'file:{path}',
                                       'begin': 1 << 40, 'length': 1},
                 'dump: no guest memory to dump')
        with open(path, encoding='ascii') as f:
            assert f.read() == 'older'
        os.mkfifo(f'{work}/fifo')
        v.refuse('dump-guest-memory', {'paging': False, 'protocol': f'file:{work}/fifo'},
                 f"Could not open '{work}/fifo': No such device or address")
        assert v.call('query-status')['status'] == 'running'


@test('no room for the file')
def _():
    with tempfile.TemporaryDirectory() as work:
        path = f'{work}/core'
        script = f'{work}/vmm'
        with open(script, 'w', encoding='ascii') as f:
            f.write(f'#!/bin/sh\nexec prlimit --fsize=4000000 {VMM} "$@"\n')
        os.chmod(script, 0o755)
        with vm(BOARD, binary=script) as v:
            v.qtest('memset 0 0x800000 0x55')
            v.refuse('dump-guest-memory', {'paging': False, 'protocol': f'file:{path}'},
                     f"dump: cannot write '{path}': File too large")
            assert not os.path.exists(path), 'half a file is left'


@test('detached: the machine stands still until the reader has it all')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        fifo = f'{work}/fifo'
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        assert dump(v, fifo, detach=True) == {'return': {}}
        assert v.call('query-dump')['status'] == 'active'
        assert v.call('query-status') == {'running': False, 'singlestep': False,
                                          'status': 'save-vm'}
        assert hmp(v, 'info dump').startswith('Status: active\nFinished: ')
        wait = 'There is a dump in process, please wait.'
        v.refuse('dump-guest-memory', {'paging': False, 'protocol': f'file:{work}/x'}, wait)
        assert hmp(v, f'dump-guest-memory -d {work}/x') == f'Error: {wait}\n'
        assert not os.path.exists(f'{work}/x')
        data = b''
        while piece := os.read(reader, MIB):
            data += piece
        os.close(reader)
        v.wait('DUMP_COMPLETED')
        result = v.events[-1]['data']['result']
        assert result['status'] == 'completed' and result['completed'] == result['total'], result
        assert len(data) % 4096 == 0 and len(data) > result['total']
        assert v.call('query-status')['status'] == 'running'
        assert os.path.exists(fifo)


@test('detached: a reader that leaves; the end of the program')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        fifo = f'{work}/fifo'
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        assert dump(v, fifo, detach=True) == {'return': {}}
        os.close(reader)
        v.wait('DUMP_COMPLETED')
        said = v.events[-1]['data']
        assert said['error'] == f"dump: cannot write '{fifo}': Broken pipe", said
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        assert dump(v, fifo, detach=True) == {'return': {}}
        v.call('quit')
        assert v.process.wait(30) == 0
        os.close(reader)


finish()
