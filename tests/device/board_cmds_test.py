#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor's commands about the board: boot order, clock, and what is not there. Called with the
path of vmm; TAP on stdout."""
from qmp_client import QEMU, VMM, Vm, finish, test, vm

BOARD = ['-machine', 'pc', '-nodefaults', '-m', '32']


def hmp(v, line):
    """Programs see 'Error: ' before errors that QEMU shows without."""
    return v.call('human-monitor-command',
                  {'command-line': line}).replace('\r', '').removeprefix('Error: ')


def cmos(v):
    """The boot order that firmware finds: bytes 0x38 and 0x3d."""
    found = []
    for register in 0x38, 0x3d:
        assert not hmp(v, f'o/b 0x70 {register}')
        found.append(int(hmp(v, 'i/b 0x71').split('=')[1], 16))
    return found


def boot_orders(v):
    said = [cmos(v)]
    for order in ('n', 'cad', '""', 'x', 'nn', 'abcd', 'cq', 'e', 'C', 'abe', 'd'):
        said.append((order, hmp(v, f'boot_set {order}'), cmos(v)))
    v.call('system_reset')
    v.wait('RESET')
    said.append(cmos(v))
    return said


@test('boot_set is what firmware finds in CMOS, as in QEMU')
def _():
    for args in [], ['-boot', 'order=cd,once=n']:
        said = []
        for binary in (VMM, QEMU) if QEMU else (VMM,):
            own = binary == VMM
            v = Vm(binary, [*BOARD, '-S', *args, *([] if own else ['-accel', 'tcg'])], own)
            said.append(boot_orders(v))
            v.close()
        assert said[0] == said[-1], said
        texts = {order: text for order, text, _ in said[0][1:-1]}
        assert texts['n'] == 'boot device list now set to n\n', texts
        assert texts['x'] == "Invalid boot device 'x'\n", texts
        assert said[0][1][2][1] == 0x04 and said[0][-2][2][1] == 0x03, said[0]
        # The first reset ends '-boot once=', and else leaves the order.
        assert said[0][-1][1] == (0x32 if args else 0x03), said[0]


@test('no board: no boot order')
def _():
    with vm(['-machine', 'none', '-nodefaults']) as v:
        said = hmp(v, 'boot_set c')
    assert said == 'no function defined to set boot device list for this architecture\n', said


def rtc(v, register, value=None):
    assert not hmp(v, f'o/b 0x70 {register}')
    if value is None:
        return int(hmp(v, 'i/b 0x71').split('=')[1], 16)
    assert not hmp(v, f'o/b 0x71 {value}')
    return None


def owed_ticks(forget):
    """Ticks that come after the guest has missed a second of them, one for each look."""
    with vm([*BOARD, '-rtc', 'driftfix=slew,clock=vm']) as v:
        rtc(v, 10, 0x26)  # 1024 Hz
        rtc(v, 11, 0x42)  # periodic interrupts
        rtc(v, 12)
        v.qtest('clock_step 100000000')
        if forget:
            assert v.call('rtc-reset-reinjection') == {}
        return sum(rtc(v, 12) >> 6 & 1 for _ in range(10))


@test('rtc-reset-reinjection: what was missed does not come')
def _():
    assert owed_ticks(False) == 10, owed_ticks(False)
    assert owed_ticks(True) == 1, owed_ticks(True)


@test('mce: without KVM there is no CPU to have one')
def _():
    with vm([*BOARD, '-smp', '2']) as v:
        for cpu in 0, 1, 2**32 - 1:
            assert hmp(v, f'mce {cpu} 1 0x9200000000000000 0 0 0') == f'there is no CPU {cpu}\n'
        for line, name in ('mce 0x100000000 1 0 0 0 0', 'cpu'), ('mce 0 0x100000000 0 0 0 0', 'bank'):
            said = hmp(v, line)
            assert said.startswith(f"mce: Parameter '{name}' expects uint32_t\n"), said
        assert hmp(v, 'mce -b 0 1').startswith('unexpected end of expression\n')


@test('info roms: firmware, and the tables that it gets')
def _():
    def firmware(folder):
        with open(f'{folder}/bios', 'wb') as f:
            f.write(bytes(128 << 10))

    for binary in (VMM, QEMU) if QEMU else (VMM,):
        own = binary == VMM
        v = Vm(binary, [*BOARD, '-S', '-bios', 'bios', *([] if own else ['-accel', 'tcg'])], own,
               firmware)
        lines = v.call('x-query-roms')['human-readable-text'].splitlines()
        assert '\n'.join(lines) + '\n' == hmp(v, 'info roms')
        assert 'addr=00000000fffe0000 size=0x020000 mem=rom name="bios"' in lines, lines
        names = {line.split('name="')[1] for line in lines if line.startswith('/rom@')}
        assert names == {'etc/acpi/tables"', 'etc/acpi/rsdp"', 'etc/table-loader"'}, lines
        v.close()
    with vm(['-machine', 'none']) as v:
        assert hmp(v, 'info roms') == ''


@test('nothing of that is here')
def _():
    with vm(BOARD) as v:
        for what in 'memory-devices', 'acpi-ospm-status', 'pr-managers', 'tpm':
            assert v.call(f'query-{what}') == [], what
        assert hmp(v, 'info memory-devices') == hmp(v, 'info tpm') == ''
        v.refuse('x-query-usb', {}, 'USB support not enabled: -usb, or a controller by -device, is '
                 'needed')


@test('texts over QMP are those that people see')
def _():
    with vm([*BOARD, '-usb', '-device', 'usb-tablet']) as v:
        for command, line in ('x-query-usb', 'info usb'), ('x-query-irq', 'info irq'):
            text = v.call(command)['human-readable-text']
            assert text == hmp(v, line) and text, text
        assert 'Product QEMU USB Tablet' in v.call('x-query-usb')['human-readable-text']
        assert 'IRQ statistics for isa-i8259' in v.call('x-query-irq')['human-readable-text']


finish()
