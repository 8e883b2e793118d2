#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of strangers that name a file of the host's: what no-named-files forbids, and what goes on to
work. Called with the paths of vmm-img, vmm-io, vmm-nbd and vmm; TAP on stdout."""
import json
import os
import shutil
import subprocess
import sys

from imgtest import QEMU, VMM, main, run, test

VMM_EXE = os.path.abspath(sys.argv.pop())
VMM_NBD = os.path.abspath(sys.argv.pop())
VMM_IO = os.path.abspath(sys.argv.pop())
KIB = 1 << 10
SECRET = b'only the host may read this. ' * 2260
LENGTH = 64 * KIB


def images():
    """Name -> what it names; each shows the file 'secret' as its disk."""
    with open('secret', 'wb') as file:
        file.write(SECRET[:LENGTH])
    with open('harmless', 'wb') as file:
        file.write(b'h' * LENGTH)
    for fmt in 'qcow2', 'qed', 'qcow':
        run(QEMU, ['create', '-q', '-f', fmt, '-b', 'secret', '-F', 'raw', f'backing.{fmt}', '64k'],
            True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', 'data_file=data,data_file_raw=on', 'data.qcow2',
               '64k'], True)
    shutil.copy('secret', 'data')
    with open('flat.vmdk', 'w', encoding='ascii') as file:
        file.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
                   'createType="monolithicFlat"\n\nRW 128 FLAT "secret" 0\n')
    run(QEMU, ['create', '-q', '-f', 'vmdk', 'parent.vmdk', '64k'], True)
    run(shutil.which('qemu-io'), ['-f', 'vmdk', '-c', 'write -s secret 0 64k', 'parent.vmdk'], True)
    run(QEMU, ['create', '-q', '-f', 'vmdk', '-b', 'parent.vmdk', '-F', 'vmdk', 'child.vmdk'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'backing.qcow2', '-F', 'qcow2', 'two.qcow2'],
        True)
    return {'backing.qcow2': 'secret', 'backing.qed': 'secret', 'backing.qcow': 'secret',
            'data.qcow2': 'data', 'flat.vmdk': 'secret', 'child.vmdk': 'parent.vmdk',
            'two.qcow2': 'backing.qcow2'}


def out():
    if not os.path.exists('out'):
        return None
    with open('out', 'rb') as file:
        data = file.read()
    os.unlink('out')
    return data


@test('vmm-img, vmm-io and vmm-nbd open what an image names, and with the option they do not')
def _():
    for image, named in images().items():
        run(VMM, ['convert', '-O', 'raw', image, 'out'], True)
        assert out()[:29] == SECRET[:29], f'{image} shows no secret: this test would prove nothing'
        for args in (['convert', '-O', 'raw', image, 'out'], ['dd', f'if={image}', 'of=out'],
                     ['compare', image, 'secret'], ['map', image], ['info', '--backing-chain', image],
                     ['measure', '-O', 'qcow2', image],
                     *([['resize', image, '128k'], ['commit', image]] if 'qcow2' in image else [])):
            with open(image, 'rb') as file:
                before = file.read()
            p = run(VMM, ['--no-named-files', *args])
            assert p.returncode and f"'{named}', which no-named-files forbids to open" in p.stderr, \
                f'{args}: {p.returncode} {p.stderr}'
            assert not out() and 'only the host' not in p.stdout
            with open(image, 'rb') as file:
                assert file.read() == before, f'{args} has changed the image'
        p = run(VMM_IO, ['--no-named-files', '-r', '-c', 'read -v 0 64', image])
        assert p.returncode and f"'{named}', which" in p.stderr and 'only' not in p.stdout, p.stderr
        p = run(VMM_NBD, ['--no-named-files', '-r', '-k', os.path.abspath('sock'), image])
        assert p.returncode and f"'{named}', which" in p.stderr, p.stderr


@test('what opens no such file goes on to work; what the user names is opened')
def _():
    images()
    for image in 'backing.qcow2', 'child.vmdk', 'backing.qed':
        for args in ['info', image], ['check', image]:
            p = run(VMM, ['--no-named-files', *args])
            assert p.returncode == 0, f'{args}: {p.stderr}'
    given = {
        'driver=qcow2,file.filename=backing.qcow2,backing=': bytes(29),
        'driver=qcow2,file.filename=backing.qcow2,backing.driver=raw,'
        'backing.file.filename=harmless': b'h' * 29,
        'driver=qcow2,file.filename=data.qcow2,data-file.driver=file,data-file.filename=harmless':
            b'h' * 29,
        'driver=vmdk,file.filename=flat.vmdk,extents.0.driver=file,extents.0.filename=harmless':
            b'h' * 29,
        'driver=vmdk,file.filename=child.vmdk,backing=': bytes(29),
    }
    for words, content in given.items():
        run(VMM, ['--no-named-files', 'convert', '--image-opts', '-O', 'raw', words, 'out'], True)
        assert out()[:29] == content, words
    # The user's options for a file that the image names do not make it the user's.
    p = run(VMM, ['--no-named-files', 'convert', '--image-opts', '-O', 'raw',
                  'driver=qcow2,file.filename=backing.qcow2,backing.driver=raw', 'out'])
    assert p.returncode and "'secret', which" in p.stderr, p.stderr
    run(VMM, ['--no-named-files', 'create', '-q', '-f', 'qcow2', '-b', 'harmless', '-F', 'raw', 'new'],
        True)
    p = run(VMM, ['--no-named', 'info', 'new'])
    assert p.returncode and 'unrecognized option' in p.stderr, p.stderr


def machine(args, *commands):
    """Exit status, replies, stderr."""
    lines = ''.join(json.dumps({'execute': name, 'arguments': arguments}) + '\n' for name, arguments in
                    (('qmp_capabilities', {}), *commands, ('quit', {})))
    p = subprocess.run([VMM_EXE, '-machine', 'none', '-nodefaults', '-display', 'none', '-accel',
                        'qtest', '-qmp', 'stdio', *args], input=lines, text=True, timeout=60,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    replies = [json.loads(line) for line in p.stdout.splitlines()]
    return p.returncode, [r for r in replies if 'return' in r or 'error' in r][1:-1], p.stderr


@test('a machine: at its start, in QMP; its own snapshots work')
def _():
    for image, named in images().items():
        fmt = os.path.splitext(image)[1][1:]
        drive = ['-drive', f'file={image},format={fmt},if=none,id=d,readonly=on']
        assert machine(drive)[0] == 0, image
        status, _, err = machine(['-no-named-files', *drive])
        assert status and f"'{named}', which no-named-files forbids to open" in err, err
        blockdev = {'driver': fmt, 'node-name': 'n', 'read-only': True,
                    'file': {'driver': 'file', 'filename': image}}
        status, replies, err = machine(['-no-named-files'], ('blockdev-add', blockdev))
        assert status == 0 and f"'{named}', which" in replies[0]['error']['desc'], (replies, err)
    shutil.copy('harmless', 'disk')
    status, replies, err = machine(
        ['-no-named-files', '-snapshot', '-drive', 'file=harmless,format=raw,if=none,id=t', '-drive',
         'file=disk,format=raw,if=none,id=d,snapshot=off'],
        ('blockdev-snapshot-sync', {'device': 'd', 'snapshot-file': 'over', 'format': 'qcow2'}),
        ('blockdev-snapshot-sync', {'device': 'd', 'snapshot-file': 'over2', 'format': 'qcow2'}),
        ('query-block', {}))
    assert status == 0 and all('return' in r for r in replies), (replies, err)
    medium = next(b['inserted'] for b in replies[-1]['return'] if b['device'] == 'd')
    assert medium['backing_file_depth'] == 2, medium


main()
