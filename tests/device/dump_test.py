#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dump-guest-memory under qtest: the file, wrong arguments, failures, detach, and the program's end
meanwhile. Called with the path of vmm; TAP on stdout."""
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import zlib

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
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
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
        assert v.call('query-dump-guest-memory-capability') == {'formats': ['elf', 'kdump-zlib']}


def flattened(data):
    """The file that a stream of records makes."""
    assert data[:16] == b'makedumpfile'.ljust(16, b'\0'), data[:16]
    assert struct.unpack_from('>QQ', data, 16) == (1, 1)
    file, at, end = bytearray(), 4096, (1 << 64) - 1
    while True:
        offset, size = struct.unpack_from('>QQ', data, at)
        at += 16
        if offset == end:
            assert size == end and at == len(data), 'nothing follows the end'
            return bytes(file)
        assert size, 'makedumpfile takes that for the end'
        file.extend(bytes(max(0, offset + size - len(file))))
        file[offset:offset + size] = data[at:at + size]
        at += size


def kdump_pages(file):
    """Physical address -> contents; and the number of CPUs and the notes."""
    assert file[:8] == b'KDUMP   ' and file[12 + 4 * 65:][:6] == b'x86_64', file[:8]
    assert struct.unpack_from('<I', file, 8) == (6,)
    status, block, sub, bitmap, max_pfn = struct.unpack_from('<5I', file, 424)
    assert (status, block) == (1, 4096), (status, block)
    cpus, = struct.unpack_from('<I', file, 460)
    sub_header = struct.unpack_from('<QII11Q', file, 4096)
    assert sub_header[1] == 1 and sub_header[-1] == max_pfn, sub_header
    notes = file[sub_header[7]:][:sub_header[8]]
    at, half = 4096 * (1 + sub), 4096 * bitmap // 2
    there = file[at:at + half]
    assert there == file[at + half:at + 2 * half], 'what exists is dumped'
    pfns = [8 * i + b for i, byte in enumerate(there) if byte for b in range(8) if byte >> b & 1]
    assert pfns[-1] < max_pfn
    at += 2 * half
    pages, by_offset = {}, {}
    for n, pfn in enumerate(pfns):
        offset, size, flags, page_flags = struct.unpack_from('<QIIQ', file, at + 24 * n)
        assert offset >= at + 24 * len(pfns) and offset + size <= len(file) and not page_flags
        if offset not in by_offset:
            page = file[offset:offset + size]
            by_offset[offset] = zlib.decompress(page) if flags == 1 else page
        pages[4096 * pfn] = by_offset[offset]
        assert len(pages[4096 * pfn]) == 4096 and flags in (0, 1), (pfn, flags)
    return pages, cpus, notes


def elf_pages(path):
    data, found = segments(path)
    return {pa + o: data[offset + o:offset + o + 4096]
            for kind, offset, _, pa, size in found if kind == 1 for o in range(0, size, 4096)}


def fill(v):
    """Pages that compress well, badly and not at all."""
    for at in range(0x100000, 0x180000, 0x3000):
        v.qtest(f'write {at:#x} 64 0x{os.urandom(64).hex()}')
    for at in range(0x200000, 0x210000, 0x1000):
        v.qtest(f'write {at:#x} 4096 0x{os.urandom(4096).hex()}')
    v.qtest('memset 0x300000 0x10000 0x5a')
    v.qtest('write 0x7fffff 1 0x77')


@test("kdump's format has the pages that ELF has")
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        fill(v)
        for line in (f'dump-guest-memory {work}/elf', f'dump-guest-memory -z {work}/kdump'):
            assert hmp(v, line) == '', line
        with open(f'{work}/kdump', 'rb') as f:
            stream = f.read()
        file = flattened(stream)
        pages, cpus, notes = kdump_pages(file)
        assert pages == elf_pages(f'{work}/elf') and cpus == 0 and not notes
        assert any(p[:1] == b'\x5a' for p in pages.values())
        assert len(file) < MIB, 'it is compressed'
        total = 4096 * len(pages)
        assert v.call('query-dump') == {'status': 'completed', 'completed': total, 'total': total}
        # By a pipe, whose reader is slow: the same stream.
        fifo, read = f'{work}/fifo', []
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)

        def follow():
            while piece := os.read(reader, 1000):
                read.append(piece)

        thread = threading.Thread(target=follow)
        assert dump(v, fifo, format='kdump-zlib', detach=True) == {'return': {}}
        assert v.call('query-dump')['status'] == 'active'
        thread.start()
        v.wait('DUMP_COMPLETED')
        thread.join()
        os.close(reader)
        assert b''.join(read) == stream
        v.refuse('dump-guest-memory', {'paging': False, 'protocol': 'file:/dev/full',
                                       'format': 'kdump-zlib'},
                 "dump: cannot write '/dev/full': No space left on device")


@test('makedumpfile reads it', None if shutil.which('makedumpfile') else 'no makedumpfile')
def _():
    with vm(BOARD) as v, tempfile.TemporaryDirectory() as work:
        fill(v)
        assert dump(v, f'{work}/kdump', format='kdump-zlib') == {'return': {}}
        with open(f'{work}/kdump', 'rb') as f:
            stream = f.read()
        subprocess.run(['makedumpfile', '-R', f'{work}/file'], input=stream, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(f'{work}/file', 'rb') as f:
            assert f.read() == flattened(stream)


def allocated(v):
    """Bytes of guest memory that the host has made: reading a hole of a memfd makes it."""
    fds = f'/proc/{v.process.pid}/fd'
    sizes = [os.stat(f'{fds}/{fd}').st_blocks * 512 for fd in os.listdir(fds)
             if os.readlink(f'{fds}/{fd}').startswith('/memfd:memory-backend')]
    assert len(sizes) == 1, sizes
    return sizes[0]


@test('memory that the guest has not touched stays untouched')
def _():
    with vm(['-machine', 'pc,memory-backend=ram', '-m', '256', '-nodefaults', '-object',
             f'memory-backend-memfd,id=ram,size={256 * MIB}']) as v, \
            tempfile.TemporaryDirectory() as work:
        v.qtest('write 0xc000000 4 0x61626364')
        v.qtest('write 0xc005ffe 4 0x61626364')
        before = allocated(v)
        assert dump(v, f'{work}/elf') == {'return': {}}
        assert dump(v, f'{work}/kdump', format='kdump-zlib') == {'return': {}}
        assert allocated(v) == before < 8 * MIB, (before, allocated(v))
        data, found = segments(f'{work}/elf')
        memory = next(s for s in found if s[0] == 1 and s[3] <= 0xc000000 < s[3] + s[4])
        at = memory[1] + 0xc000000 - memory[3]
        assert data[at:at + 4] == b'abcd' and data[at + 0x5ffe:at + 0x6004] == b'abcd\0\0'
        assert data[at + 4:at + 0x5ffe].count(0) == 0x5ffa
        assert os.stat(f'{work}/elf').st_blocks * 512 < 2 * MIB
        with open(f'{work}/kdump', 'rb') as f:
            pages, _, _ = kdump_pages(flattened(f.read()))
        assert len(pages) >= 0xff00 and pages[0xc000000][:4] == b'abcd'
        assert pages[0xc005000][-2:] + pages[0xc006000][:2] == b'abcd'


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
        refuse("kdump-compressed format doesn't support paging or filter", begin=0, length=4096,
               format='kdump-zlib')
        formats = "not available now: this program dumps in formats 'elf' and 'kdump-zlib'"
        for kind in 'kdump-lzo', 'kdump-snappy', 'win-dmp':
            refuse(f'{kind} is {formats}', format=kind)
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
                 f'Error: win-dmp is {formats}\n')):
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
