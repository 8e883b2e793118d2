#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What vmm-img says and how it takes its options, beside qemu-img: the same words for the same
mistake, the same maps, the same lines of progress. Called with the path of vmm-img; TAP on
stdout."""
import json
import os
import random
import shutil

from imgtest import QEMU, VMM, data_file, main, normal, run, same, test

MIB = 1 << 20


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def images():
    """Makes the four images that the cases below name."""
    for name in os.listdir('.'):
        os.unlink(name)
    data_file('r', MIB)
    with open('odd', 'wb') as f:
        f.write(b'odd' * 1000)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '1M'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 'top'], True)


# Commands for which both tools have the same output, errors and status.
ALIKE = '''
create --foo x 1M
create -Z x 1M
create -f
create
create x 1M 2M
create -f qcow2 x -5
create -f qcow2 x 1.5M
create -f qcow2 x +1M
create -f qcow2 x 10Q
create -o size=1M x 2M
create -f qcow2 -o size=1M,size=2M x
create -f qcow2 -u -b nonex x
create -f qcow2 -u -b nonex x 1M
create -f qcow2 -u x
create -f qcow2 -o backing_file= x 1M
create -f qcow2 -b r -F raw -o backing_file=q x
create -f qcow2 -b r -F raw x 500k
create -f raw -o size=1M x
create -F raw -f raw x 1M
create -f foo -o help
create -f raw /dev/fdset/ 1M
info /dev/fdset/
convert
convert r
convert --foo
convert -S 3 r t
convert -S 32M r t
convert -m 0 r t
convert -m x r t
convert -t foo r t
convert -T foo r t
convert -O foo r t
convert -c -O raw r t
convert nonex r t
convert -n -O raw r t
convert -n -O raw r odd
convert -n -o a=b -O raw r t
convert --target-is-zero r t
convert --target-image-opts r t
convert -n --target-image-opts -O raw r driver=raw,file.filename=odd
convert -n --target-image-opts -O foo r driver=raw,file.filename=odd
convert -n --target-image-opts -o help r driver=raw,file.filename=odd
convert --image-opts -f raw driver=raw,file.filename=r t
info --image-opts -f raw driver=raw,file.filename=r
check --image-opts -f qcow2 driver=qcow2,file.filename=q
map --image-opts -f raw driver=raw,file.filename=r
resize --image-opts -f raw driver=raw,file.filename=r 1M
compare --image-opts -F raw driver=raw,file.filename=r driver=raw,file.filename=r
convert -B r -O qcow2 top t
convert -B r -F raw -O qcow2 top r t
convert -B r -F raw -O raw top t
convert -B nonex -F raw -O qcow2 top t
convert -O qcow2 -o cluster_size=5 r t
convert -O qcow2 -o foo=5 r t
convert -O qcow2 r /nonex/t
convert -O raw r r
convert -p -O raw r t
convert -p -q -O raw r t
convert -p -O raw r odd t
convert -p -S 0 -O qcow2 r odd t
convert -p -c -O qcow2 r odd t
convert -p -O qcow2 q t
compare
compare r
compare r r r
compare -T foo r r
compare -p -f raw -F raw r r
compare -p -q -f raw -F raw r r
compare -p -f raw -F raw r odd
compare -s -f raw -F raw r odd
compare --foo r r
info
info a b
info --output=foo r
info -T foo q
check
check a b
check --foo q
check -T foo q
check -r foo q
check --output=foo q
check -q --output=json q
map
map --output=foo r
map --start-offset=x r
map --max-length=x r
map --start-offset=2M r
map --start-offset=64k --max-length=128k --output=json r
map -s 64k -l 128k --output=json r
map -s 1M --output=json r
map -s 2M --output=json q
map -l 0 --output=json q
map -l 0 r
resize
resize q
resize --foo q 1M
resize q 1M 2M
resize q -5x
resize --preallocation=foo q 2M
resize -f raw r +0
resize -f raw r -1M
-Z
--foo
foo
'''


@test('the same words for the same mistake')
def _():
    wrong = []
    for line in ALIKE.strip().splitlines():
        try:
            same(line.split(), images)
        except AssertionError as e:
            wrong.append(str(e))
    for args in ['create', '-f', 'qcow2', '-b', '', 'x', '1M'], ['create', '-f', 'qcow2', '-u',
                                                                 '-F', 'raw', '-b', '', 'x', '1M']:
        same(args, images)
    assert not wrong, '\n'.join(wrong)


@test('what is printed ahead of an error')
def _():
    images()
    for line in ('create -f qcow2 -F raw x 1M', 'create -f qcow2 -o cluster_size=5 x 1M',
                       'create -f qcow2 -o compat=7 x 1M', 'create -f qcow2 x 7E',
                       'create -f qcow2 -o cluster_size=8k,extended_l2=on x 1M',
                       'create -f qcow2 -o cluster_size=y x 1M', 'create -f qcow2 -o refcount_bits=3 x 1M',
                       'create -f qcow2 -o lazy_refcounts=maybe x 1M', 'create -f raw -b r x 1M',
                       'create -f vhdx -o subformat=y x 1M', 'create -q -f qcow2 -o compat=7 x 1M',
                       'create -f qcow2 -o preallocation=metadata -b r -F raw x'):
        same(line.split(), stderr=False)
        if os.path.exists('x'):
            os.unlink('x')  # QEMU's
        p = run(VMM, line.split())
        assert p.returncode == 1 and p.stderr and not os.path.exists('x'), p


@test('what is not supported is named itself')
def _():
    images()
    for line, word in (('create -qZ x 1M', "'-Z'"), ('create -Zq x 1M', "'-Z'")):
        p = run(VMM, line.split())
        assert p.returncode == 1 and word in p.stderr and not p.stdout, (line, p)


@test('-T, --trace')
def _():
    images()
    for args in (['-T'], ['--trace'], ['-Tnosuch', 'info'],
                 ['-T', 'nosuch', '--trace=nosuch2', 'check', 'q'], ['info', '-T', 'x', 'q'],
                 ['-T', 'bdrv*,file=/nowhere/x', 'info', 'q'], ['-T', 'x=1', 'info', 'q']):
        same(args, stderr=False)
    p = run(VMM, ['-T', 'nosuch', '--trace', 'blk_sumbit', 'check', '-q', 'q'])
    assert p.stderr == "vmm-img: warning: trace event 'nosuch' does not exist\n" \
        "vmm-img: warning: trace event 'blk_sumbit' does not exist; did you mean 'blk_submit'?\n"
    # The lines do not get among those that scripts read.
    plain = run(VMM, ['info', '--output=json', 'q'], True)
    for words in ['-T', 'bdrv_*'], ['-Tbdrv_*'], ['--trace', 'bdrv_*'], ['--trace=enable=bdrv_*']:
        p = run(VMM, words + ['info', '--output=json', 'q'], True)
        assert p.stdout == plain.stdout and 'bdrv_open_common node ' in p.stderr, p
        assert 'format_name qcow2 filename q\n' in p.stderr and 'engine_' not in p.stderr, p
    with open('events', 'w', encoding='utf-8') as f:
        f.write('# what is taken\nqcow2_alloc_*\nengine_*\n-engine_complete\n')
    run(VMM, ['-T', 'events=events,file=lines', 'convert', '-O', 'qcow2', 'r', 'x'], True)
    text = content('lines').decode()
    assert 'qcow2_alloc_clusters node ' in text and 'engine_submit node ' in text, text
    assert 'engine_complete' not in text and 'bdrv_' not in text, text
    ours = run(VMM, ['-T', 'help'], True)
    assert 'qcow2_alloc_clusters ' in ours.stdout, ours
    for args in ['--trace=help'], ['-T', '?'], ['-T', 'help', 'info', 'nowhere']:
        assert run(VMM, args, True).stdout == ours.stdout, args


@test('--object')
def _():
    images()
    for args in (['create', '--object', 'secret,id=s,data=a', 'x', '1M'],
                 ['info', '--object={"qom-type":"secret","id":"s","data":"a"}', 'q'],
                 ['check', '--object', 'secret,id=s', 'q'],
                 ['info', '--object', 'secret,id=s,data=a,file=b', 'q'],
                 ['info', '--object', 'secret,data=a', 'q'], ['info', '--object', 'id=a', 'q'],
                 ['info', '--object', 'secret,id=s,keyid=t,data=a', 'q']):
        same(args)
    p = run(VMM, ['info', '--object', 'help', 'q'])
    assert p.returncode == 0 and p.stdout.startswith('List of user creatable objects:\n'), p
    theirs = set(run(QEMU, ['info', '--object', 'help', 'q']).stdout.split())
    # QEMU 7.2 documents authz-listfile, and has it by another name.
    assert {'secret'} <= set(p.stdout.split()) <= theirs | {'authz-listfile'}, p
    p = run(VMM, ['info', '--object', 'secret,help', 'q'])
    assert p.returncode == 0 and 'file=<str' in p.stdout, p


@test('help of every command lists its options')
def _():
    commands = run(VMM, ['--help'], True).stdout.split('Command syntax:\n')[1]
    for line in commands.split('\n\n')[0].splitlines():
        name = line.split()[0]
        for word in '--help', '-h':
            p = run(VMM, [name, word])
            assert p.returncode == 0 and not p.stderr, p
            assert line.strip() in p.stdout, (line, p.stdout)
            for option in line.split('[')[1:]:
                if option.startswith('-'):
                    assert option.split(']')[0].split('=')[0].split()[0] in p.stdout.split(
                        '\n\n', 1)[1], (option, p.stdout)


@test('several sources become one')
def _():
    images()
    data_file('big', 5 * MIB, seed=3)
    whole = content('r') + content('odd') + bytes(-3000 % 512) + content('big') + content('r')
    sources = ['r', 'odd', 'big', 'r']
    for options in ([], ['-W'], ['-m', '1'], ['-S', '0']):
        run(VMM, ['convert', *options, '-f', 'raw', '-O', 'raw', *sources, 't'], True)
        assert content('t') == whole, options
    for options in ([], ['-c'], ['-c', '-W'], ['-c', '-o', 'cluster_size=4k'], ['-c', '-S', '0']):
        for tool in QEMU, VMM:
            run(tool, ['convert', *options, '-f', 'raw', '-O', 'qcow2', *sources, tool[-8:]], True)
            run(QEMU, ['check', tool[-8:]], True)
        run(QEMU, ['convert', '-f', 'qcow2', '-O', 'raw', VMM[-8:], 'back'], True)
        assert content('back') == whole, options
    run(QEMU, ['create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 'top'], True)
    run(VMM, ['convert', '-O', 'raw', 'top', 'q', 't'], True)
    assert content('t') == content('r') + bytes(MIB)


@test('-S 0 allocates everything, compressed or not')
def _():
    data_file('r', 2 * MIB)
    for options in [], ['-c'], ['-W']:
        for sparse in '0', '4k', '64k':
            allocated = []
            for tool in QEMU, VMM:
                run(tool, ['convert', *options, '-S', sparse, '-f', 'raw', '-O', 'qcow2', 'r', 'q'],
                    True)
                found = json.loads(run(QEMU, ['check', '--output=json', 'q'], True).stdout)
                allocated.append((found['allocated-clusters'], found.get('compressed-clusters')))
            assert allocated[0] == allocated[1], (options, sparse, allocated)


@test('-n writes into what is there')
def _():
    data_file('r', 2 * MIB)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'q', '3M'], True)
    run(VMM, ['convert', '-n', '--target-image-opts', '-f', 'raw', 'r',
              'driver=qcow2,file.filename=q'], True)
    run(QEMU, ['convert', '-O', 'raw', 'q', 'back'], True)
    assert content('back') == content('r') + bytes(MIB)


@test('names that are options, in JSON and in words')
def _():
    data_file('r', MIB)
    run(VMM, ['convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q'], True)
    for name in ('json:{"driver": "qcow2", "file": {"driver": "file", "filename": "q"}}',
                 'json:{"file": {"driver": "file", "filename": "q"}}'):
        same(['check', name])
        same(['map', '--output=json', name])
        run(VMM, ['convert', '-O', 'raw', name, 't'], True)
        assert content('t') == content('r')
    words = 'driver=qcow2,file.driver=file,file.filename=q'
    same(['check', '--image-opts', words])
    same(['map', '--image-opts', words])
    run(VMM, ['compare', '--image-opts', words, 'driver=raw,file.filename=r'], True)
    run(VMM, ['convert', '--image-opts', '-O', 'raw', words, 't'], True)
    assert content('t') == content('r')


def qcow2(io, name, options, size, *commands):
    run(QEMU, ['create', '-q', '-f', 'qcow2', *options, name, size], True)
    if commands:
        run(io, [word for c in commands for word in ('-c', c)] + [name], True)


@test('compare -s: the kinds of extents')
def _():
    io = shutil.which('qemu-io')
    if not io:
        return 'qemu-io is not installed'
    data = ['write -P 1 0 64k', 'write -P 1 64k 64k']
    qcow2(io, 'data', [], '128k', *data)
    qcow2(io, 'none', [], '128k')
    qcow2(io, 'zero', [], '128k', 'write -z 0 128k')
    qcow2(io, 'zeroes', [], '128k', 'write -P 0 0 128k')
    qcow2(io, 'metadata', ['-o', 'preallocation=metadata'], '128k')
    qcow2(io, 'full', ['-o', 'preallocation=full'], '128k')
    qcow2(io, 'over', ['-b', 'data', '-F', 'qcow2'], '128k')
    qcow2(io, 'longer', ['-b', 'data', '-F', 'qcow2'], '256k')
    qcow2(io, 'long', [], '256k', *data)
    qcow2(io, 'top', ['-b', 'longer', '-F', 'qcow2'], '256k')
    run(QEMU, ['convert', '-c', '-O', 'qcow2', 'data', 'packed'], True)
    run(QEMU, ['convert', '-O', 'raw', 'data', 'raw'], True)
    names = ['data', 'none', 'zero', 'zeroes', 'metadata', 'full', 'over', 'packed', 'raw', 'long',
             'longer', 'top']
    for first in names:
        for second in names:
            same(['compare', '-s', first, second])


@test('map: zero clusters with a place, data in a hole, a short backing file')
def _():
    io = shutil.which('qemu-io')
    if not io:
        return 'qemu-io is not installed'
    qcow2(io, 'zero', [], '1M', 'write 0 64k', 'write -z 0 64k', 'write -z 64k 64k')
    qcow2(io, 'hole', ['-o', 'preallocation=metadata'], '1M')
    data_file('b', MIB)
    qcow2(io, 'short', ['-b', 'b', '-F', 'raw'], '3M')
    qcow2(io, 'top', ['-b', 'short', '-F', 'qcow2'], '4M')
    run(QEMU, ['create', '-q', '-f', 'raw', 'empty', '0'], True)
    run(QEMU, ['create', '-q', '-f', 'qcow2', 'nothing', '0'], True)
    for name in 'zero', 'hole', 'short', 'top', 'empty', 'nothing':
        same(['map', '--output=json', '-f', 'raw' if name == 'empty' else 'qcow2', name])


def scribble(io, rnd, name, fmt, kinds, size):
    words = []
    for _ in range(6):
        words += ['-c', f'{rnd.choice(kinds)} {rnd.randrange(0, size, 1 << 16)} '
                        f'{rnd.choice([1 << 16, 1 << 17, 3 << 16])}']
    run(io, ['-f', fmt, *words, name])  # 'write -c' fails where the cluster is allocated


@test('maps are the same')
def _():
    io = shutil.which('qemu-io')
    if not io:
        return 'qemu-io is not installed'
    plain = ['write', 'write', 'write -z', 'write -z -u', 'discard']
    for seed in range(12):
        rnd = random.Random(seed)
        shape = rnd.choice(['cluster_size=4k', 'cluster_size=64k', 'extended_l2=on',
                            'compat=0.10', 'cluster_size=512'])
        alone = rnd.choice([True, False])
        backing = [] if alone else ['-b', 'm', '-F', 'qcow2']
        more = rnd.choice([shape, shape + ',preallocation=metadata'])
        more = more if alone and 'extended' not in shape else shape
        run(QEMU, ['create', '-q', '-f', 'raw', 'b', f'{rnd.choice([1, 2, 3])}M'], True)
        scribble(io, rnd, 'b', 'raw', plain, MIB // 2)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', shape, '-b', 'b', '-F', 'raw', 'm',
                   f'{rnd.choice([2, 3, 4])}M'], True)
        scribble(io, rnd, 'm', 'qcow2', plain + ['write -c'] * (seed % 2), MIB)
        run(QEMU, ['create', '-q', '-f', 'qcow2', '-o', more, *backing, 't',
                   f'{rnd.choice([3, 4, 5])}M'], True)
        scribble(io, rnd, 't', 'qcow2', plain, 2 * MIB)
        for name in 'b', 'm', 't':
            fmt = 'raw' if name == 'b' else 'qcow2'
            for output in 'json', 'human':
                args = ['map', '-f', fmt, f'--output={output}', name]
                q, v = run(QEMU, args), run(VMM, args)
                assert (q.returncode, q.stdout) == (v.returncode, v.stdout), (
                    f'{seed} {shape} {args}\n{q.stdout}\n--- vs\n{v.stdout}')
                assert normal(q.stderr) == normal(v.stderr), (seed, q, v)


main()
