# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of vmm-img share: running it and qemu-img side by side, and TAP."""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

VMM = os.path.abspath(sys.argv[1])
QEMU = shutil.which('qemu-img')
tests = []
FEWER = 'IMG_TESTS_FEWER' in os.environ  # a sanitizer's build: meson.build
ALL = 'IMG_TESTS_ALL' in os.environ


def share(items, sanitized=None):
    """Of many that are alike: without a sanitizer one half is tried, with one the other ('sanitized':
    their indices); all of them where IMG_TESTS_ALL is set."""
    items = list(items)
    if sanitized is None:
        sanitized = range(1, len(items), 2)
    return [x for n, x in enumerate(items) if ALL or (n in sanitized) == FEWER]


def run(tool, args, check=False, **how):
    for _ in range(50):
        p = subprocess.run([tool] + args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=120, **how)
        # qemu-img gives up on its key derivation where it is not scheduled for long enough.
        if 'Unable to get accurate CPU usage' not in p.stderr:
            break
    if check and p.returncode:
        raise AssertionError(f'{tool} {args}: {p.returncode} {p.stderr}')
    return p


def normal(text):
    """The text without what may differ: the tool's name, the disk space used, suggestions,
    how long it took."""
    text = re.sub(r'^(vmm-img|qemu-img): ', 'img: ', text, flags=re.M)
    text = re.sub(r"Try '(vmm-img|qemu-img)", "Try 'img", text)
    text = re.sub(r'; did you mean .*', '', text)
    text = re.sub(r'disk size: .*', 'disk size: X', text)
    text = re.sub(r'Run completed in \d+\.\d{3} seconds', 'Run completed in X seconds', text)
    text = re.sub(r'Image end offset: .*\n', '', text)
    return text


def test(name):
    """The decorated function is a test; main() runs it in a folder of its own."""
    def wrap(fn):
        tests.append((name, fn))
    return wrap


def run_test(number, name, fn):
    work = tempfile.mkdtemp(prefix='img-')
    here = os.getcwd()
    os.chdir(work)
    try:
        why = fn()
        print(f'ok {number} - {name}' + (f' # SKIP {why}' if why else ''), flush=True)
        return True
    except (AssertionError, subprocess.SubprocessError, OSError) as e:
        print(f'not ok {number} - {name}')
        print('\n'.join('# ' + line for line in str(e).splitlines()), flush=True)
        return False
    finally:
        os.chdir(here)
        shutil.rmtree(work)


def main(shared=False):
    """Runs all tests, or those whose names hold the second argument. A test that returns a text
    was skipped for that reason. Under a sanitizer every other test is run, unless the tests have
    shared out what they try ('shared')."""
    if not QEMU:
        print('1..0 # SKIP qemu-img is not installed (package qemu-utils)')
        sys.exit(0)
    chosen = [t for t in tests if len(sys.argv) < 3 or sys.argv[2] in t[0]]
    if FEWER and not shared and len(sys.argv) < 3:
        chosen = chosen[::2]
    good = [run_test(number, *t) for number, t in enumerate(chosen, 1)]
    print(f'1..{len(chosen)}')
    sys.exit(0 if all(good) else 1)


def same(args, prepare=None, stdout=True, stderr=True):
    """Both tools have to print the same and end with the same status. Under a sanitizer ours runs
    alone: its words were compared without one."""
    results = []
    if FEWER:
        if prepare:
            prepare()
        p = run(VMM, args)
        assert 'anitizer' not in p.stderr and 'runtime error' not in p.stderr, f'{args}: {p.stderr}'
        return
    for tool in QEMU, VMM:
        if prepare:
            prepare()
        results.append(run(tool, args))
    q, v = results
    assert q.returncode == v.returncode, f'{args}: {q.returncode} vs {v.returncode}\n{v.stderr}'
    if stdout:
        assert normal(q.stdout) == normal(v.stdout), f'{args}:\n{q.stdout}\n--- vs\n{v.stdout}'
    if stderr:
        assert normal(q.stderr) == normal(v.stderr), f'{args}:\n{q.stderr}\n--- vs\n{v.stderr}'


def data_file(name, size=6 << 20, seed=1):
    rnd = random.Random(seed)
    with open(name, 'wb') as f:
        f.truncate(size)
        for _ in range(60):
            n = rnd.choice([512, 4096, 70000, 3 * 512])
            f.seek(rnd.randrange(0, (size - n) // 512) * 512)
            f.write(rnd.randbytes(n) if rnd.random() < 0.7 else bytes([rnd.randrange(256)]) * n)
