#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""measure, dd and bench beside qemu-img's. Called with the path of vmm-img; TAP on stdout."""
import os

from imgtest import QEMU, VMM, data_file, main, run, same, test

MIB = 1 << 20


@test('measure: of an empty disk')
def _():
    for size in '0', '1', '1000', '1M', '123456789', '1G', '100G', '2T':
        same(['measure', '--size', size])
        for o in ('', 'cluster_size=512', 'cluster_size=2M', 'refcount_bits=1', 'refcount_bits=64',
                  'compat=0.10', 'extended_l2=on', 'preallocation=metadata', 'preallocation=falloc',
                  'preallocation=full', 'cluster_size=4k,refcount_bits=64'):
            if size == '2T' and o == 'cluster_size=512':
                continue  # a longer L1 table than images may have
            same(['measure', '-O', 'qcow2', '--size', size] + (['-o', o] if o else []))
            same(['measure', '-O', 'qcow2', '--output=json', '--size', size, '-o',
                  o + ',size=3M' if o else 'size=3M'])


@test('measure: of an image')
def _():
    data_file('r')
    with open('odd', 'wb') as f:
        f.write(os.urandom(70001))
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'r', 'q'], True)
    run(QEMU, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=0.10', 'r', 'old'], True)
    run(QEMU, ['convert', '-c', '-f', 'raw', '-O', 'qcow2', 'r', 'packed'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'q', '-F', 'qcow2', 'top', '9M'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'marked', '3G'], True)
    for name, granularity in ('a', '64k'), ('a longer name', '512'), ('c', '2M'):
        run(QEMU, ['bitmap', '--add', '-g', granularity, 'marked', name], True)
    for name in 'r', 'odd', 'q', 'old', 'packed', 'top', 'marked':
        for target in (['-O', 'raw'], ['-O', 'qcow2'], ['-O', 'qcow2', '-o', 'cluster_size=512'],
                       ['-O', 'qcow2', '-o', 'cluster_size=2M'],
                       ['-O', 'qcow2', '-o', 'compat=0.10'],
                       ['-O', 'qcow2', '-o', 'preallocation=full'],
                       ['-O', 'qcow2', '-o', 'backing_file=x,backing_fmt=raw']):
            same(['measure', *target, name])
            same(['measure', '--output=json', *target, name])
        same(['measure', '-f', 'raw', '-O', 'qcow2', name])
        same(['measure', '-U', name])
    same(['measure', '--image-opts', 'driver=qcow2,file.filename=q'])


@test('measure: an image that was measured fits')
def _():
    data_file('r')
    for o in 'cluster_size=64k', 'cluster_size=512', 'refcount_bits=64', 'extended_l2=on':
        said = run(VMM, ['measure', '-O', 'qcow2', '-o', o, '-f', 'raw', 'r'], True).stdout
        run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', '-o', o, 'r', 'q'], True)
        assert int(said.split()[2]) >= os.path.getsize('q'), (o, said, os.path.getsize('q'))


@test('measure: what is refused')
def _():
    data_file('r', MIB)
    for args in ([], ['r', 'r'], ['--size', '1G', 'r'], ['--size', '-1'], ['--size', 'x'],
                 ['--size', '9E'], ['-O', 'foo', '--size', '1G'],
                 ['-O', 'qcow2', '-o', 'xx=1', 'r'], ['--output=foo', 'r'],
                 ['--size', '1G', '-f', 'raw'], ['--size', '1G', '--image-opts'], ['nonex'],
                 ['--image-opts', '-f', 'raw', 'r'],
                 ['-O', 'qcow2', '-o', 'cluster_size=3', '--size', '1G']):
        same(['measure'] + args)
    for args, name in ((['-l', 'x', 'r'], '-l'), (['--object', 'x', 'r'], '--object'),
                       (['-O', 'vmdk', '--size', '1G'], 'vmdk')):
        p = run(VMM, ['measure'] + args)
        assert p.returncode == 1 and f"'{name}' is not in this program yet" in p.stderr, p


main()
