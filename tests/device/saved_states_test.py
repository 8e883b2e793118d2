#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that older releases have saved: each loads, and goes on. saved/SET-RELEASE.gz is a file of
x-save-state of the set of devices below. A file stays as it is for ever; a new release, or a set of
devices that has landed, adds one: 'saved_states_test.py VMM --make RELEASE' makes those that are
not there. Called with the path of vmm; TAP on stdout."""
import glob
import gzip
import os
import sys

from qmp_client import finish, test, vm

SAVED = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'saved')
BASE = ['-machine', 'pc', '-cpu', 'qemu64', '-m', '4', '-S', '-nodefaults', '-serial', 'null']
NULL = 'driver=null-co,size=1M,if=none,id='


def disk(name, device):
    return ['-drive', NULL + name, '-device', f'{device},drive={name}']


def card(name, device):
    return ['-netdev', f'hubport,hubid=0,id={name}', '-device', f'{device},netdev={name}']


SETS = {
    'board': ['-vga', 'std', '-device', 'pvpanic', '-device', 'isa-debug-exit', '-device', 'ib700'],
    'ide-floppy': [*disk('d', 'ide-hd'), '-device', 'ide-cd', '-drive',
                   'driver=null-co,size=1440k,if=none,id=f', '-device', 'floppy,drive=f'],
    'virtio': ['-object', 'rng-random,id=r', '-device', 'virtio-rng-pci,rng=r', '-device',
               'virtio-balloon-pci', '-chardev', 'null,id=c', '-device', 'virtio-serial-pci',
               '-device', 'virtconsole,chardev=c', *disk('d', 'virtio-blk-pci,num-queues=2'),
               *disk('p', 'virtio-blk-pci,packed=on'), *card('n', 'virtio-net-pci')],
    'cards': [*card('e', 'e1000'), *card('r', 'rtl8139')],
    'usb': ['-device', 'piix3-usb-uhci,id=u', '-device', 'usb-tablet,bus=u.0', '-device',
            'usb-hub,bus=u.0', '-device', 'usb-ehci,id=e', *disk('s', 'usb-storage,bus=e.0'),
            '-device', 'qemu-xhci,id=x', '-device', 'usb-kbd,bus=x.0', '-device',
            'usb-mouse,bus=x.0'],
}
SCRATCH, PLACE = 0x3ff, 0x123000  # COM1's scratch register; a byte of memory


def make(name, path):
    with vm(BASE + SETS[name]) as v:
        v.qtest(f'outb {SCRATCH:#x} 0x5a')
        v.qtest(f'memset {PLACE:#x} 3 0xa5')
        v.call('x-save-state', {'filename': 'state'})
        with open(f'{v.dir}/state', 'rb') as f, open(path, 'wb') as out:
            out.write(gzip.compress(f.read(), 9, mtime=0))


def load(name, path):
    with vm(BASE + SETS[name]) as v:
        with gzip.open(path) as f, open(f'{v.dir}/state', 'wb') as out:
            out.write(f.read())
        v.call('x-load-state', {'filename': 'state'})
        for command, want in ((f'inb {SCRATCH:#x}', 0x5a), (f'readb {PLACE + 2:#x}', 0xa5),
                              (f'readb {PLACE + 3:#x}', 0)):
            v.files[1].write(command + '\n')
            said = v.files[1].readline().split()
            assert said[0] == 'OK' and int(said[1], 16) == want, (command, said)
        v.call('cont')
        v.qtest('clock_step 100000000')
        v.call('stop')
        v.call('x-save-state', {'filename': 'again'})


if '--make' in sys.argv:
    for each in SETS:
        file = f'{SAVED}/{each}-{sys.argv[3]}.gz'
        if not os.path.exists(file):
            make(each, file)
    sys.exit(0)

files = sorted(glob.glob(f'{SAVED}/*.gz'))
for file in files:
    test(os.path.basename(file))(
        lambda file=file: load(os.path.basename(file).rsplit('-', 1)[0], file))


@test('each set of devices has one')
def _():
    assert {os.path.basename(file).rsplit('-', 1)[0] for file in files} == set(SETS)


finish()
