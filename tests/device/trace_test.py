#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace points: what the program says of a guest's accesses and of itself, and how the command line
and both monitors switch it. Called with the path of vmm; TAP on stdout."""
import fcntl
import os
import re
import subprocess

from qmp_client import VMM, finish, test, vm

PC = ['-machine', 'pc', '-nodefaults']
ALONE = [VMM, '-machine', 'none', '-accel', 'qtest', '-nodefaults', '-display', 'none']


def hmp(v, line):
    return v.call('human-monitor-command', {'command-line': line}).replace('\r', '')


def said(v, *names):
    """The lines of these points so far."""
    return [line for line in v.said().splitlines() if line.split(' ')[0] in names]


def once(args, **how):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, **how)


def states(v, name, **more):
    return v.call('trace-event-get-state', {'name': name, **more})


@test('ports and memory, switched on and off')
def _():
    with vm(PC) as v:
        v.qtest('outb 0x80 0x11')
        assert v.said() == '', v.said()
        v.call('trace-event-set-state', {'name': 'cpu_*', 'enable': True})
        v.qtest('outb 0x80 0x12')
        v.qtest('outl 0xcf8 0x80000000')
        v.qtest('inw 0xcfc')
        v.qtest('inb 0x999')
        v.call('trace-event-set-state', {'name': 'cpu_in', 'enable': False})
        v.qtest('inw 0xcfc')
        v.qtest('outl 0xcf8 0x80000004')
        v.call('trace-event-set-state', {'name': 'cpu_*', 'enable': False})
        v.qtest('outb 0x80 0x13')
        lines = v.said().splitlines()
        assert len(lines) == 5, lines
        assert re.fullmatch(r'cpu_out cpu -1 addr 0x80 value 0x12 size 1 name \S+ device \S+ '
                            r'offset 0x0', lines[0]), lines
        assert lines[1].startswith('cpu_out cpu -1 addr 0xcf8 value 0x80000000 size 4 '), lines
        assert lines[2].startswith('cpu_in cpu -1 addr 0xcfc value 0x8086 size 2 '), lines
        assert lines[3] == 'cpu_in cpu -1 addr 0x999 value 0xff size 1 name unassigned device - ' \
            'offset 0x0', lines
        assert lines[4].startswith('cpu_out cpu -1 addr 0xcf8 value 0x80000004 size 4 '), lines
        v.call('trace-event-set-state', {'name': 'memory_region_ops_*', 'enable': True})
        v.qtest('writel 0xfec00000 0x1')
        v.qtest('readl 0xfec00010')
        v.qtest('writel 0x1000 0x1')  # RAM is no device's
        lines = said(v, 'memory_region_ops_read', 'memory_region_ops_write')
        assert len(lines) == 2, lines
        assert re.fullmatch(r'memory_region_ops_write cpu -1 addr 0xfec00000 value 0x1 size 4 name '
                            r'\S+ device \S*ioapic\S* offset 0x0', lines[0]), lines
        assert 'addr 0xfec00010 value 0x170020 size 4' in lines[1], lines


@test('QMP: names, patterns, mistakes')
def _():
    with vm(PC) as v:
        assert states(v, 'irq_gsi') == [{'name': 'irq_gsi', 'state': 'disabled', 'vcpu': False}]
        assert states(v, 'nosuch*') == []
        everything = states(v, '*')
        assert len(everything) > 40 and all(e['state'] == 'disabled' for e in everything)
        v.call('trace-event-set-state', {'name': 'irq_*', 'enable': True})
        assert [e['name'] for e in states(v, '*') if e['state'] == 'enabled'] == \
            ['irq_gsi', 'irq_pin']
        v.call('trace-event-set-state', {'name': 'irq_*', 'enable': False,
                                         'ignore-unavailable': True})
        assert states(v, '*') == everything
        v.call('trace-event-set-state', {'name': 'nosuch*', 'enable': True})
        for command, more in (('trace-event-get-state', {}),
                              ('trace-event-set-state', {'enable': True})):
            v.refuse(command, {'name': 'zebra', **more}, 'unknown event "zebra"')
            v.refuse(command, {'name': 'irq_gsy', **more},
                     'unknown event "irq_gsy"; did you mean "irq_gsi"?')
            v.refuse(command, {'name': 'irq_gsi', 'vcpu': 0, **more},
                     'invalid vCPU index 0')  # of no CPU: this accelerator has none
            v.refuse(command, {'name': 'kvm_run_exit', 'vcpu': 3, **more}, 'invalid vCPU index 3')
            v.refuse(command, {'name': 'kvm_run_exit', 'vcpu': -1, **more},
                     'invalid vCPU index -1')
            v.refuse(command, dict(more), "Parameter 'name' is missing")
        v.refuse('trace-event-set-state', {'name': 'irq_gsi'}, "Parameter 'enable' is missing")


@test('HMP: trace-event, info trace-events, log')
def _():
    with vm(PC) as v:
        listed = hmp(v, 'info trace-events').splitlines()
        assert len(listed) == len(states(v, '*')) and 'irq_gsi : state 0' in listed, listed
        assert hmp(v, 'trace-event irq_* on') == ''
        assert hmp(v, 'info trace-events irq_*') == 'irq_gsi : state 1\nirq_pin : state 1\n'
        assert hmp(v, 'trace-event irq_gsi off') == ''
        assert hmp(v, 'info trace-events irq_*') == 'irq_gsi : state 0\nirq_pin : state 1\n'
        assert hmp(v, 'trace-event irq_gsy on') == \
            'Error: unknown event "irq_gsy"; did you mean "irq_gsi"?\n'
        assert hmp(v, 'info trace-events zebra') == 'Error: unknown event "zebra"\n'
        assert hmp(v, 'trace-event irq_gsi on 0') != ''
        assert hmp(v, 'info trace-events no*') == ''
        for wrong in 'trace-event irq_gsi', 'trace-event irq_gsi maybe', 'trace-event':
            assert hmp(v, wrong) != '', wrong
        assert hmp(v, 'info trace-events irq_gsi') == 'irq_gsi : state 0\n'
        assert hmp(v, 'log trace:msi_*') == ''
        assert hmp(v, 'log none') == ''  # items alone, as in QEMU
        assert hmp(v, 'info trace-events msi_send') == 'msi_send : state 1\n'
        assert 'trace:PATTERN   enable trace events\n' in hmp(v, 'log help')
        assert 'irq_gsi ' in hmp(v, 'log trace:help')
        said = hmp(v, 'log unimp,trace:zebra,trace:help')
        assert said.startswith("warning: trace event 'zebra' does not exist\n"), said
        assert 'irq_gsi ' in said, said
        hmp(v, 'log none')
        assert v.said() == '', v.said()
        hmp(v, 'trace-event handle_* on')
        log = f'{v.dir}/log'
        hmp(v, f'logfile {log}')
        hmp(v, 'info status')
        with open(log, encoding='utf-8') as f:
            lines = f.read().splitlines()
        # What a command is called with may be a password: it is in no line.
        assert lines == ['handle_qmp_command chardev m command human-monitor-command oob 0',
                         'handle_hmp_command chardev - command "info status"'], lines
        assert 'handle_' in v.said()


@test('what the machine does')
def _():
    with vm(PC + ['-S', '-device', 'virtio-blk-pci,drive=d0,id=v0', '-drive',
                  'if=none,id=d0,driver=null-co,read-zeroes=on', '-trace', 'runstate_set', '-d',
                  'trace:vm_*,trace:device_*,trace:bdrv_*,trace:block_*']) as v:
        assert 'device_realize device v0 driver virtio-blk-pci hotplugged 0' in v.said(), v.said()
        assert re.search(r'^bdrv_open_common node \S+ format_name null-co', v.said(), re.M), v.said()
        assert re.search(r'^block_edge_attach node \S+ parent d0 role root$', v.said(), re.M)
        v.call('cont')
        v.call('stop')
        v.call('system_reset')
        v.call('device_add', {'driver': 'virtio-rng-pci', 'id': 'r0', 'addr': '9'})
        v.call('device_del', {'id': 'r0'})
        text = v.said()
        for line in ('runstate_set current_run_state prelaunch new_state running',
                     'vm_state_notify running 1 reason running',
                     'runstate_set current_run_state running new_state paused',
                     'vm_state_notify running 0 reason paused', 'vm_reset reason host-qmp-system-reset',
                     'device_reset device v0 cold 0',
                     'device_realize device r0 driver virtio-rng-pci hotplugged 1',
                     'device_unplug_request device r0'):
            assert line + '\n' in text, (line, text)
        v.call('trace-event-set-state', {'name': '*', 'enable': False})
        v.call('trace-event-set-state', {'name': 'bdrv_co_*', 'enable': True})
        hmp(v, 'qemu-io d0 "read 4k 8k"')
        assert re.search(r'^bdrv_co_preadv_part node \S+ offset 4096 bytes 8192$', v.said(), re.M)


@test('a request of a device')
def _():
    with vm(PC + ['-device', 'ide-hd,drive=d0,id=h0', '-drive',
                  'if=none,id=d0,driver=null-co,read-zeroes=on', '-trace', 'blk_*', '-trace',
                  'ide_*', '-trace', 'irq_gsi']) as v:
        for port, value in (6, 0xe0), (2, 1), (3, 8), (4, 0), (5, 0), (7, 0x20):
            v.qtest(f'outb {0x1f0 + port:#x} {value:#x}')
        while not any(' offset 4096 ' in line for line in said(v, 'blk_complete')):
            v.call('query-status')
        v.qtest('inb 0x1f7')
        lines = said(v, 'ide_exec_cmd', 'blk_submit', 'blk_complete')
        del lines[:lines.index('ide_exec_cmd device h0 cmd 0x20')]  # the geometry is read first
        assert lines[:2] == ['ide_exec_cmd device h0 cmd 0x20',
                             'blk_submit drive d0 op read offset 4096 bytes 512 flags 0x0'], lines
        assert re.fullmatch('blk_complete drive d0 op read offset 4096 bytes 512 ret 0 ns [0-9]+',
                            lines[2]), lines
        assert 'irq_gsi gsi 14 level 1' in said(v, 'irq_gsi'), v.said()


@test('options')
def _():
    p = once([VMM, '-trace', 'help'])
    assert p.returncode == 0 and not p.stderr, p
    names = [line.split()[0] for line in p.stdout.splitlines()]
    assert p.stdout == once([VMM, '-d', 'trace:help']).stdout == \
        once([VMM, '-d', 'unimp,trace:?']).stdout == \
        once([VMM, '-trace', 'enable=help']).stdout == once([VMM, '-trace', '?']).stdout
    assert 'trace:PATTERN' in once([VMM, '-d', 'help']).stdout
    # Called by QEMU's name, as QEMU: scripts read the names.
    p = once(['qemu-system-x86_64', '-trace', 'help'], executable=VMM)
    assert p.stdout.splitlines() == names, p.stdout
    for wrong, why in (('nosuch=1', "Invalid parameter 'nosuch'"),
                       ('events=/nowhere/x', '/nowhere/x'), ('file=/nowhere/x', '/nowhere/x')):
        p = once(ALONE + ['-trace', wrong])
        assert p.returncode == 2 and why in p.stderr, p
    p = once(ALONE + ['-trace', 'nosuch', '-trace', 'n*h', '-monitor', 'stdio'], input='quit\n')
    assert p.returncode == 0 and p.stderr == \
        "vmm: warning: trace event 'nosuch' does not exist\n" \
        "vmm: warning: no trace event is called 'n*h'\n", p
    with vm(PC + ['-trace', 'irq_*', '-trace', '-irq_pin', '-trace', 'events=/dev/null', '-trace',
                  'vcpu_stopped,file=lines']) as v:
        on = [e['name'] for e in states(v, '*') if e['state'] == 'enabled']
        assert on == ['vcpu_stopped', 'irq_gsi'], on
        assert os.path.exists(f'{v.dir}/lines')
    with vm(PC + ['-msg', 'timestamp=on', '-trace', 'cpu_out']) as v:
        v.qtest('outb 0x80 0x1')
        line = v.said()
        assert re.fullmatch(r'\d+@\d{9,}\.\d{6}:cpu_out cpu -1 addr 0x80 .*\n', line), line
        task = line.split('@')[0]
        assert os.path.exists(f'/proc/{v.process.pid}/task/{task}'), line


@test('a log that nobody reads does not stop the machine')
def _():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with vm(PC + ['-trace', 'cpu_out', '-D', f'/proc/{os.getpid()}/fd/{writer}']) as v:
        for n in range(500):
            v.qtest(f'outb 0x80 {n & 0xff:#x}')
        assert v.call('query-status')['status'] == 'running'
        text = os.read(reader, 1 << 16).decode()
        v.qtest('outb 0x80 0xaa')
        text += os.read(reader, 1 << 16).decode()
    os.close(reader)
    os.close(writer)
    lines = text.splitlines()
    dropped = re.fullmatch(r'\((\d+) lines of the log could not be written: the reader was too slow'
                           r'\)', lines[-2])
    assert dropped and int(dropped[1]) + len(lines) - 2 == 500, lines[-3:]
    assert len(lines) > 20, lines
    assert ' value 0xaa ' in lines[-1] and all(' offset 0x0' in line for line in lines[:-2]), lines


@test('each point is in the docs, with its fields')
def _():
    p = once([VMM, '-trace', 'help'])
    docs = os.path.join(os.path.dirname(__file__), '../../docs/tracing.md')
    with open(docs, encoding='utf-8') as f:
        rows = dict(re.findall(r'^\| `(\w+)` \| (.*?) \|', f.read(), re.M))
    for line in p.stdout.splitlines():
        name, fields = line.split()[0], line[line.rindex('(') + 1:-1]
        assert rows.pop(name, None) == fields, f'docs/tracing.md: {name}: {fields}'
    assert not rows, f'docs/tracing.md: there is no {rows}'


finish()
