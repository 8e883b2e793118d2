#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line answers. Called with the path of vmm; TAP on stdout."""
import os
import subprocess
import sys
import tempfile

VMM = os.path.abspath(sys.argv[1])
EMPTY = ['-machine', 'none', '-accel', 'qtest', '-nodefaults', '-display', 'none']
PC = ['-machine', 'pc', '-accel', 'qtest', '-nodefaults', '-display', 'none', '-S']
count = failed = 0


def run(args, stdin=''):
    """Exit status, and both outputs; the machine is left by 'quit' on the monitor."""
    return subprocess.run([VMM] + args, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)


def test(name):
    def wrap(fn):
        global count, failed
        count += 1
        here = os.getcwd()
        with tempfile.TemporaryDirectory(prefix='cli-') as work:
            os.chdir(work)
            try:
                fn()
                print(f'ok {count} - {name}', flush=True)
            except (AssertionError, subprocess.SubprocessError, OSError) as e:
                failed += 1
                print(f'not ok {count} - {name}')
                print('\n'.join('# ' + line for line in str(e).splitlines()), flush=True)
            os.chdir(here)
    return wrap


def refused(args, text, base=EMPTY):
    p = run(base + args)
    assert p.returncode == 1 and text in p.stderr, f'{args}: {p.returncode}, "{p.stderr}"'


def accepted(args, base=PC, warning=''):
    """It comes as far as a monitor, and says 'warning' and nothing else."""
    p = run(base + args + ['-monitor', 'stdio'], 'quit\n')
    assert p.returncode == 0, f'{args}: {p.returncode}, "{p.stderr}"'
    if warning:
        assert p.stderr.count(warning) == 1 and len(p.stderr.splitlines()) == 1, \
            f'{args}: "{p.stderr}"'
    else:
        assert not p.stderr, f'{args}: "{p.stderr}"'


@test("names of QEMU's that are not here")
def _():
    here = 'is not in this program yet'
    for args, name in ((['-tpmdev', 'emulator,id=t'], '-tpmdev'), (['--audio-help'], '--audio-help'),
                       (['-device', 'e1000'], 'e1000'), (['-device', 'usb-ehci,help'], 'usb-ehci'),
                       (['-device', 'qemu64-x86_64-cpu'], 'qemu64-x86_64-cpu'),
                       (['-object', 'tls-creds-x509,id=a'], 'tls-creds-x509'),
                       (['-object', 'authz-simple,help'], 'authz-simple'),
                       (['-chardev', 'spicevmc,id=a'], 'spicevmc'),
                       (['-netdev', 'vde,id=a'], 'vde'), (['-nic', 'l2tpv3'], 'l2tpv3'),
                       (['-blockdev', 'vvfat,node-name=a'], 'vvfat'),
                       (['-drive', 'if=none,file=nbd://x'], 'nbd'),
                       (['-drive', 'if=none,file=x,format=vmdk'], 'vmdk'),
                       (['-M', 'q35'], 'q35'), (['-M', 'microvm,help'], 'microvm'),
                       (['-M', 'pc,sgx-epc=x'], 'sgx-epc')):
        refused(args, f"'{name}' {here}")
    refused(['-accel', 'hvf'], 'invalid accelerator hvf: this program runs guests by KVM only', [])
    p = run(EMPTY + ['-monitor', 'stdio'], 'savevm a\ninfo snapshots\nhelp info usb\nsaveit\nquit\n')
    for name in 'savevm', 'info snapshots', 'info usb':
        assert f"'{name}' {here}" in p.stdout, p.stdout
    assert "unknown command: 'saveit'" in p.stdout, p.stdout


print(f'1..{count}')
sys.exit(failed > 0)
