#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line answers. Called with the path of vmm; TAP on stdout."""
import os
import re
import socket
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
    assert p.returncode == 2 and text in p.stderr, f'{args}: {p.returncode}, "{p.stderr}"'


def accepted(args, base=PC, warning=''):
    """It comes as far as a monitor, and says 'warning' and nothing else."""
    p = run(base + args + ['-monitor', 'stdio'], 'quit\n')
    assert p.returncode == 0, f'{args}: {p.returncode}, "{p.stderr}"'
    if warning:
        assert p.stderr.count(warning) == 1 and len(p.stderr.splitlines()) == 1, \
            f'{args}: "{p.stderr}"'
    else:
        assert not p.stderr, f'{args}: "{p.stderr}"'


@test('gdb needs a CPU that runs')
def _():
    for args in ['-s'], ['-gdb', 'unix:x']:
        refused(args, 'gdb: there is nothing to debug: this machine has no CPU that runs', PC)
    p = run(PC + ['-monitor', 'stdio'], 'gdbserver\ngdbserver none\nquit\n')
    assert 'there is nothing to debug' in p.stdout and 'Disabled gdbserver' in p.stdout, p.stdout


@test("names of QEMU's that are not here")
def _():
    here = 'is not in this program yet'
    for args, name in ((['-tpmdev', 'emulator,id=t'], '-tpmdev'), (['--audio-help'], '--audio-help'),
                       (['-device', 'pcnet'], 'pcnet'), (['-device', 'sdhci-pci,help'], 'sdhci-pci'),
                       (['-device', 'qemu64-x86_64-cpu'], 'qemu64-x86_64-cpu'),
                       (['-object', 'tls-cipher-suites,id=a'], 'tls-cipher-suites'),
                       (['-object', 'authz-pam,help'], 'authz-pam'),
                       (['-chardev', 'spicevmc,id=a'], 'spicevmc'),
                       (['-netdev', 'vde,id=a'], 'vde'), (['-nic', 'l2tpv3'], 'l2tpv3'),
                       (['-blockdev', 'nvme,node-name=a'], 'nvme'),
                       (['-drive', 'if=none,file=ssh://x'], 'ssh'),
                       (['-drive', 'if=none,file=x,format=cloop'], 'cloop'),
                       (['-M', 'q35'], 'q35'), (['-M', 'microvm,help'], 'microvm'),
                       (['-M', 'pc,sgx-epc=x'], 'sgx-epc')):
        refused(args, f"'{name}' {here}")
    refused(['-accel', 'hvf'], 'invalid accelerator hvf: this program runs guests by KVM only', [])
    p = run(EMPTY + ['-monitor', 'stdio'], 'wavcapture a\ninfo spice\nhelp info sev\nsaveit\nquit\n')
    for name in 'wavcapture', 'info spice', 'info sev':
        assert f"'{name}' {here}" in p.stdout, p.stdout
    assert "unknown command: 'saveit'" in p.stdout, p.stdout


@test('options that ask for what holds, and their opposites')
def _():
    here = 'is not in this program yet'
    accepted(['-sandbox', 'off'])
    accepted(['-sandbox', 'enable=off'])
    refused(['-sandbox', 'on'], f"'-sandbox on' {here}")
    refused(['-sandbox', 'on,obsolete=deny'], f"'-sandbox on,obsolete=deny' {here}")
    qmp = run(EMPTY + ['-qmp', 'stdio'], '{"execute":"qmp_capabilities"}'
              '{"execute":"query-command-line-options"}{"execute":"quit"}')
    assert '"overcommit"' in qmp.stdout and 'sandbox' not in qmp.stdout, qmp.stdout
    refused(['-vnc', ':0,sasl=on'], 'vmm: -vnc :0,sasl=on: sasl=on is not supported')
    accepted(['-machine', 'usb=off'])
    refused(['-usb'], "machine 'none': usb=on is not supported")


@test('-drive if=')
def _():
    open('d', 'wb').write(bytes(1 << 16))
    for name in 'scsi', 'sd', 'mtd', 'xen':
        refused(['-drive', f'if={name},file=d,format=raw'],
                f"'if={name}' is not in this program yet: use if=virtio, or if=none and a -device")
    refused(['-drive', 'if=pflash,file=d,format=raw'],
            "'if=pflash' is not in this program yet: use -bios for firmware")
    refused(['-drive', 'if=virtoi,file=d,format=raw'],
            "unsupported bus type 'virtoi'; did you mean 'virtio'?")
    os.mkdir('folder')
    accepted(['-drive', 'if=virtio,file=fat:rw:folder,format=raw'])
    accepted(['-drive', 'if=virtio,file=fat:16:folder,format=raw,read-only=on'])
    accepted(['-drive', 'if=none,driver=vvfat,dir=folder,fat-type=32,label=x,rw=on'])
    refused(['-drive', 'if=ide,file=fat:folder,format=raw'], 'Block node is read-only')
    assert not os.listdir('folder')


@test('a drive that cannot be is named as it was typed')
def _():
    open('d', 'wb').write(bytes(1 << 16))
    why = "Could not open 'none': No such file or directory"
    for option in '-hda', '-hdb', '-hdc', '-hdd', '-cdrom', '-fda', '-fdb':
        refused([option, 'none'], f'vmm: {option} none: {why}', PC)
    refused(['none'], f'vmm: none: {why}', PC)
    refused(['-drive', 'file=none,if=ide'], f'vmm: -drive file=none,if=ide: {why}', PC)
    refused(['-usbdevice', 'disk:none'], f'vmm: -usbdevice disk:none: {why}', PC)
    refused(['-snapshot', '-hda', 'none'], f'vmm: -hda none: {why}', PC)
    refused(['-cdrom', 'd', '-drive', 'file=d,index=2'],
            'vmm: -drive file=d,index=2: drive with bus=1, unit=0 (index=2) exists', PC)
    refused(['-drive', 'file=d,index=2,bus=1'], 'index cannot be used with bus and unit', PC)
    accepted(['-drive', 'file=d,index=2,bus=0,format=raw'])


@test('media that do not fit')
def _():
    for kib, said in ((1440, ''), (2880, ''), (160, ''), (100, 'has 200 sectors'), (0, ''),
                      (10240, 'has 20480 sectors, which is no format of this drive: the guest sees '
                       'one of 5760 (an image of a hard disk is for -hda)')):
        open('f', 'wb').truncate(kib << 10)
        accepted(['-drive', 'file=f,if=floppy,format=raw'], warning=said)
    accepted(['-drive', 'file=f,if=none,id=f,format=raw', '-device',
              'floppy,drive-type=none,drive=f'])
    refused(['-drive', 'file=f,format=raw', '-device', 'ide-cd,drive=ide0-hd0'],
            "'if=none' in the drive's options leaves it to -device", PC)


@test('what has no place says how it gets one')
def _():
    refused(['-device', 'usb-tablet'], "No 'usb-bus' bus found for this device: -usb adds one", PC)
    refused(['-net', 'nic,model=pcnet'],
            "network card 'pcnet' is not in this program yet (-nic model=help lists", PC)
    refused(['-net', 'nic,model=list'], 'Unsupported NIC model: list (-nic model=help', PC)
    refused(['-alt-grab'], 'this program has no windows', PC)
    refused(['-device', 'usb-host'], "'usb-host' is not in this program yet", PC)
    p = run(PC + ['-monitor', 'stdio'], 'info usb\ninfo usbhost\nquit\n')
    assert 'USB support not enabled' in p.stdout, p.stdout
    assert "'info usbhost' is not in this program yet" in p.stdout, p.stdout
    accepted(['-machine', 'i8042=off'])


@test('-boot')
def _():
    refused(['-boot', 'abcd'], 'vmm: -boot order=abcd: Too many boot devices for PC', PC)
    refused(['-boot', 'once=g'], "vmm: -boot once=g: Invalid boot device for PC: 'g'", PC)
    open('bmp', 'wb').write(b'BM' + bytes(26) + b'\x08' + bytes(40))
    refused(['-boot', 'splash=none'], "-boot splash=none: Could not find 'none'", PC)
    refused(['-boot', 'splash=bmp'], 'neither a JPEG picture nor a BMP with 24 bits', PC)


@test('-d')
def _():
    about = 'is about QEMU\'s translator: it has no meaning under KVM'
    accepted(['-d', 'int,guest_errors,exec'], warning=f"log item 'int' {about}")
    for item in ('out_asm', 'in_asm', 'op', 'op_opt', 'op_ind', 'exec', 'cpu', 'fpu', 'mmu',
                 'pcall', 'page', 'nochain', 'plugin', 'strace'):
        accepted(['-d', item], warning=f"log item '{item}' {about}", base=EMPTY)
    accepted(['-d', 'unimp,guest_errors'])
    refused(['-d', 'int,unimpl'], "unknown log item 'unimpl'; did you mean 'unimp'?")
    refused(['-d', 'tid'], "'tid' is not in this program yet")
    accepted(['-d', 'trace:x'], warning="trace event 'x' does not exist")


@test('the accelerator, said twice')
def _():
    accepted(['-machine', 'accel=qtest'])
    both = 'The -accel and "-machine accel=" options are incompatible'
    refused(['-accel', 'kvm', '-machine', 'accel=qtest'], both, [])
    refused(['-enable-kvm', '-accel', 'qtest'], both, [])
    # The last of what is merged is taken.
    accepted(['-enable-kvm', '-machine', 'none,accel=qtest', '-nodefaults', '-display', 'none'],
             base=[])
    for again in ['-enable-kvm'], ['-machine', 'accel=kvm'], ['-accel', 'kvm']:
        p = run(['-enable-kvm', '-nodefaults', '-display', 'none', '-S', '-monitor', 'stdio'] +
                again, 'quit\n')
        assert 'incompatible' not in p.stderr, f'{again}: "{p.stderr}"'


@test('-acpitable')
def _():
    with open('t', 'wb') as f:
        f.write(b'abc')
    accepted(['-acpitable', 'sig=OEM1,rev=3,data=t'])
    accepted(['-acpitable', 'data=t:t', '-acpitable', 'data=t'])
    for options, text in (('sig=OEM1', "-acpitable: give either 'data' or 'file'"),
                          ('data=t,file=t', "-acpitable: give either 'data' or 'file'"),
                          ('file=t', "-acpitable: 't' has 3 bytes; a table's header has 36"),
                          ('data=none', "-acpitable: Could not open 'none': No such file"),
                          ('data=t,rev=256', "-acpitable: rev '256' is no number"),
                          ('data=t,sig=OEM12', "-acpitable: sig 'OEM12' is longer than 4"),
                          ('data=t,sgi=OEM1', "did you mean 'sig'?")):
        refused(['-acpitable', options], text, PC)
    refused(['-acpitable', 'data=t'] * 17, '-acpitable: at most 16 tables', PC)


@test('-object memory-backend-file')
def _():
    def memory(options):
        return ['-machine', 'memory-backend=m', '-object',
                'memory-backend-file,id=m,size=8M,mem-path=ram' + options]

    for align, fine in (('0', True), ('4k', True), ('1G', True), ('3', False), ('12k', False),
                        ('1k', False)):
        args = memory(',align=' + align)
        if fine:
            accepted(args)
        else:
            refused(args, 'no power of two of at least a page (4096)', PC)
    for discard in False, True:
        with open('ram', 'wb') as f:
            f.write(b'x' * (8 << 20))
        accepted(memory(',share=on,discard-data=' + ('on' if discard else 'off')))
        with open('ram', 'rb') as f:
            assert (f.read().count(b'x') == 0) == discard


@test('where RAM is split')
def _():
    for size, text in (('1', 'expects a multiple of 4096'), ('1234567', 'a multiple of 4096'),
                       ('512k', 'expects at least 1M'), ('5G', 'less than or equal to 4G')):
        refused(['-machine', 'max-ram-below-4g=' + size], text, PC)
    accepted(['-machine', 'max-ram-below-4g=1M'])
    accepted(['-machine', 'max-ram-below-4g=4G'])


@test('-accel without a name')
def _():
    p = run(['-nodefaults', '-accel', 'nope=1', '-machine', 'kernel-irqchip=on'])
    assert p.returncode == 2 and 'CRITICAL' not in p.stderr, f'{p.returncode}, "{p.stderr}"'


def answer(sock):
    text = b''
    while not text.endswith(b'\n'):
        text += sock.recv(1)
    return text.decode()


@test('a qtest client that leaves in the middle of a line')
def _():
    p = subprocess.Popen([VMM] + PC + ['-qtest', 'unix:q,server=on,wait=off', '-qtest-log', 'none',
                                       '-monitor', 'stdio'], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
    p.stdout.read(1)  # the monitor's greeting: everything is there
    with socket.socket(socket.AF_UNIX) as s:
        s.connect('q')
        s.sendall(b'clock_step 3600000000000\nend')
    with socket.socket(socket.AF_UNIX) as s:
        s.connect('q')
        s.sendall(b'endianness\n')
        text = answer(s)
        while re.match(r'OK \d+$', text):  # of the first client's command
            text = answer(s)
    p.communicate(b'quit\n', timeout=60)
    assert text == 'OK little\n', text


@test('-machine')
def _():
    for word in '-machine', '-accel':
        refused([word, 'accel='], 'no accelerator found: -accel names none', ['-nodefaults'])
    accepted(['-machine', 'pic=on'])
    accepted(['-machine', 'pic=auto'])
    refused(['-machine', 'pic=off'], "'pic=off' is not supported", PC)


@test('a host that emulates is told of once, when CPUs run')
def _():
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return
    flags = re.search('^flags.*', open('/proc/cpuinfo').read(), re.M).group(0).split()
    text = 'this CPU has no vmx or svm: KVM emulates, slowly'
    kvm = ['-accel', 'kvm', '-nodefaults', '-display', 'none']
    accepted(['-S'], base=kvm)
    accepted(['-machine', 'none'], base=kvm)
    p = run(kvm + ['-S', '-monitor', 'stdio'], 'cont\nstop\ncont\nquit\n')
    assert p.stderr.count(text) == (not {'vmx', 'svm'} & set(flags)), p.stderr
    assert all(len(line) <= 80 for line in p.stderr.splitlines()), p.stderr


@test('files of a boot that are not there, under every accelerator')
def _():
    with open('k', 'wb') as f:  # a bzImage of protocol 2.15
        image = bytearray(1 << 16)
        image[0x1f1] = 2
        image[0x1fe:0x210] = b'\x55\xaa\xeb\x66HdrS\x0f\x02' + bytes(8)
        image[0x211] = 1
        image[0x22c:0x230] = b'\xff\xff\xff\x7f'
        image[0x238:0x23a] = b'\xff\x07'
        f.write(image)
    accepted(['-kernel', 'k', '-append', 'quiet'])
    refused(['-kernel', 'none'], "could not load kernel 'none': No such file or directory", PC)
    refused(['-kernel', 'k', '-initrd', 'none'],
            "could not load initrd 'none': No such file or directory", PC)
    refused(['-kernel', 'cli_test'], "could not load kernel 'cli_test': No such file", PC)
    refused(['-kernel', '.'], "could not load kernel '.': it is no regular file", PC)
    refused(['-initrd', 'k'], '-initrd only allowed with -kernel option', PC)
    refused(['-bios', 'none'], "could not load PC BIOS 'none'", PC)
    refused(['-kernel', 'k', '-dtb', 'none'], '-dtb: this board is described by ACPI', PC)
    refused(['-kernel', 'k'], "-kernel is not supported: machine 'none'")


@test('-smbios')
def _():
    refused(['-smbios', 'type=41,designation=D,pcidev=r0'],
            'No PCI device r0 for SMBIOS type 41 entry D', PC)
    refused(['-device', 'isa-serial,id=s0', '-smbios', 'type=41,pcidev=s0'],
            'No PCI device s0 for SMBIOS type 41 entry', PC)
    refused(['-smbios', 'type=11,path=none'], "Could not open 'none': No such file", PC)


print(f'1..{count}')
sys.exit(failed > 0)
