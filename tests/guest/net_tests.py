# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests for guest-tests: network cards, their backends, and network boot."""

import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time

from guest_env import Skip, free_port, full_kernel, need
from vm import PATIENCE, Vm

DHCP = "udhcpc -i eth0 -n -q -s /bin/dhcp-event"


def test_user_network_both_ways(env):
    """To the host, then by hostfwd into the guest."""
    forwarded = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        port = listener.getsockname()[1]
        with env.linux(f"{DHCP} && echo from the guest | nc 10.0.2.2 {port} && echo ready && "
                       "echo from the guest | nc -l -p 80",
                       "-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{forwarded}-:80",
                       "-device", "virtio-net-pci,netdev=n") as vm:
            connection = listener.accept()[0]
            connection.settimeout(PATIENCE)
            need(connection.recv(100) == b"from the guest\n", "other data arrived")
            connection.close()
            vm.expect("ready", timeout=PATIENCE)
            connect_into_the_guest(forwarded)
            vm.expect("vmm-guest: exit 0", timeout=PATIENCE)
            vm.finish()


def connect_into_the_guest(port):
    deadline = time.monotonic() + PATIENCE
    received = b""
    # The forwarder accepts before the guest listens: then the connection just ends.
    while not received and time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            try:
                received = connection.recv(100)
            except ConnectionError:
                time.sleep(0.5)
    need(received == b"from the guest\n", f"received {received!r}")


def test_tap_between_network_namespaces(env):
    """A guest on a bridge in one namespace talks to another namespace over a veth pair."""
    if os.geteuid() != 0:
        raise Skip("needs root for network namespaces")
    if not shutil.which("ip"):
        raise Skip("needs iproute2")
    script = """
        set -e
        ip netns add vmm-a; ip netns add vmm-b
        ip link add va netns vmm-a type veth peer name vb netns vmm-b
        ip -n vmm-a link add br0 type bridge
        ip -n vmm-a tuntap add tap0 mode tap
        for link in va tap0; do ip -n vmm-a link set $link master br0 up; done
        ip -n vmm-a link set br0 up
        ip -n vmm-b addr add 192.0.2.1/24 dev vb
        ip -n vmm-b link set vb up
    """
    try:
        subprocess.run(["sh", "-c", script], check=True)
        with env.linux("ifconfig eth0 192.0.2.2 up; echo ready; nc -l -p 80 | md5sum",
                       "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
                       "-device", "virtio-net-pci,netdev=n",
                       wrapper=("ip", "netns", "exec", "vmm-a")) as vm:
            vm.expect("ready", timeout=PATIENCE)
            subprocess.run(["ip", "netns", "exec", "vmm-b", "ping", "-c", "3", "-W", "20",
                            "192.0.2.2"] if shutil.which("ping") else
                           ["ip", "netns", "exec", "vmm-b", "busybox", "ping", "-c", "3",
                            "192.0.2.2"], check=True, stdout=subprocess.DEVNULL)
            data = random.Random(1).randbytes(300000)
            sender = ("import socket,sys; s=socket.create_connection(('192.0.2.2',80),60); "
                      "s.sendall(sys.stdin.buffer.read())")
            subprocess.run(["ip", "netns", "exec", "vmm-b", sys.executable, "-c", sender],
                           input=data, check=True)
            vm.expect(hashlib.md5(data).hexdigest(), timeout=PATIENCE)
            vm.expect("vmm-guest: exit 0", timeout=PATIENCE)
            vm.finish()
    finally:
        for namespace in ("vmm-a", "vmm-b"):
            subprocess.run(["ip", "netns", "del", namespace], check=False,
                           stderr=subprocess.DEVNULL)


def boot_from_network(env, *arguments):
    with Vm(env.vmm, "-m", "64", "-netdev",
            f"user,id=n,tftp={env.programs}/payload,bootfile=netboot.bin", *arguments,
            log=env.log) as vm:
        vm.expect("booted from the network", timeout=PATIENCE)
        vm.qmp.command("quit")
        vm.finish()


def need_boot_rom(card="virtio"):
    if not os.path.exists(f"/usr/lib/ipxe/qemu/efi-{card}.rom"):
        raise Skip("needs ipxe-qemu")


def test_network_boot(env):
    """Firmware, boot ROM, DHCP and TFTP; the program that TFTP brought is run."""
    need_boot_rom()
    boot_from_network(env, "-device", "virtio-net-pci,netdev=n", "-boot", "n")


def test_network_boot_by_bootindex(env):
    """The same by a card of another identity, which the boot ROM has to carry."""
    need_boot_rom()
    boot_from_network(env, "-device", "virtio-net-pci-non-transitional,netdev=n,bootindex=1")


def test_network_boot_by_e1000(env):
    need_boot_rom("e1000")
    boot_from_network(env, "-device", "e1000,netdev=n", "-boot", "n")


def test_network_boot_by_rtl8139(env):
    need_boot_rom("rtl8139")
    boot_from_network(env, "-device", "rtl8139,netdev=n,bootindex=1")


def test_pxelinux(env):
    """A boot loader that nobody here wrote: it fetches its library, its menu, and what that names."""
    need_boot_rom()
    files = ("/usr/lib/PXELINUX/pxelinux.0", "/usr/lib/syslinux/modules/bios/ldlinux.c32")
    if not all(map(os.path.exists, files)):
        raise Skip("needs pxelinux and syslinux-common")
    os.makedirs(env.scratch("tftp/pxelinux.cfg"))
    for file in files:
        shutil.copy(file, env.scratch("tftp"))
    shutil.copy(f"{env.programs}/payload/netboot.bin", env.scratch("tftp/netboot.0"))
    with open(env.scratch("tftp/pxelinux.cfg/default"), "w", encoding="ascii") as menu:
        menu.write("SERIAL 0 115200\nDEFAULT it\nLABEL it\n  KERNEL netboot.0\n")
    with Vm(env.vmm, "-m", "64", "-netdev",
            f"user,id=n,tftp={env.scratch('tftp')},bootfile=pxelinux.0",
            "-device", "virtio-net-pci,netdev=n", "-boot", "n", log=env.log) as vm:
        vm.expect("PXELINUX", timeout=PATIENCE)
        vm.expect("booted from the network", timeout=PATIENCE)
        vm.qmp.command("quit")
        vm.finish()


TWO_GUESTS_BYTES = 4 << 20
TWO_GUESTS_NETS = 2, 3, 4  # 192.0.N.0/24 on eth(N - 2): of socket, stream and dgram


def two_guests_card(kind, number):
    return ("-netdev", f"{kind},id=n{number}", "-device", f"virtio-net-pci,netdev=n{number}")


def test_two_guests_on_one_network(env):
    """Two machines, a TCP stream each way between them, and a record of it; then less by the other
    kinds of network that have two ends."""
    if not shutil.which("tshark"):
        raise Skip("needs tshark")
    address = f"127.0.0.1:{free_port()}"
    dump, stream, ends = env.scratch("dump.pcap"), env.scratch("stream"), env.scratch("dgram")
    networks = "".join(f"ifconfig eth{net - 2} 192.0.{net}.{{}} up; " for net in TWO_GUESTS_NETS)
    again = "until bulk send 192.0.{}.{} {} {}; do sleep 1; done; "
    size, less = TWO_GUESTS_BYTES, TWO_GUESTS_BYTES // 8
    with env.linux(networks.format(1, 1, 1) + "bulk take 5001; " + again.format(2, 2, 5002, size) +
                   again.format(3, 2, 5003, less) + again.format(4, 2, 5004, less),
                   "-object", f"filter-dump,id=f,netdev=n2,file={dump},maxlen=100",
                   *two_guests_card(f"socket,listen={address}", 2),
                   *two_guests_card(f"stream,server=on,addr.type=unix,addr.path={stream}", 3),
                   *two_guests_card(f"dgram,local.type=unix,local.path={ends}1,remote.type=unix,"
                                    f"remote.path={ends}2", 4)) as first:
        first.expect("listens", timeout=PATIENCE)
        with env.linux(networks.format(2, 2, 2) + again.format(2, 1, 5001, size) +
                       "for i in 2 3 4; do bulk take 500$i; done",
                       *two_guests_card(f"socket,connect={address}", 2),
                       *two_guests_card(f"stream,addr.type=unix,addr.path={stream}", 3),
                       *two_guests_card(f"dgram,local.type=unix,local.path={ends}2,"
                                        f"remote.type=unix,remote.path={ends}1", 4)) as second:
            for length in size, size, less, less:
                sums = [vm.expect(rf"bulk ({length} \w{{16}})", timeout=2 * PATIENCE)[1].group(1)
                        for vm in (first, second)]
                need(sums[0] == sums[1], f"{sums[0]} at one end, {sums[1]} at the other")
            for vm in (second, first):
                vm.expect("vmm-guest: exit 0", timeout=PATIENCE)
                vm.finish()
    check_tcp_streams(dump)


def check_tcp_streams(dump):
    """The record holds as many bytes in each direction as were sent, and is whole, for tshark."""
    done = subprocess.run(["tshark", "-n", "-r", dump, "-Y", "tcp", "-T", "fields", "-e", "tcp.dstport",
                           "-e", "tcp.len"], check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    need(done.returncode == 0, f"tshark: {done.stderr}")
    ports = {5001: 0, 5002: 0}
    for line in done.stdout.splitlines():
        port, length = map(int, line.split())
        if port in ports:
            ports[port] += length
    need(min(ports.values()) >= TWO_GUESTS_BYTES, f"recorded by destination: {ports}")


# A guest's bytes are emulated twice where there is no KVM, and --full-size moves ten times as many.
BULK_PATIENCE, FULL_BULK_PATIENCE, FULL_BULK_MIB = 2 * PATIENCE, 7200, 1024


def test_bulk_both_ways_over_tap(env):
    """64 MiB out of the guest, then as much into it, with all offloads."""
    bulk_over_tap(env, "virtio-net-pci", 64)


@full_kernel
def test_bulk_by_e1000(env):
    """The same by Linux's e1000, 24 MiB."""
    bulk_over_tap(env, "e1000", 24, full="-full")


@full_kernel
def test_bulk_by_rtl8139(env):
    """The same by Linux's 8139cp, which uses C+ mode."""
    bulk_over_tap(env, "rtl8139", 24, full="-full")


def bulk_over_tap(env, card, mebibytes, **how):
    """With --full-size, 1 GiB each way."""
    if os.geteuid() != 0:
        raise Skip("needs root for network namespaces")
    if not shutil.which("ip"):
        raise Skip("needs iproute2")
    into = ("ip", "netns", "exec", "vmm-a")
    script = """
        set -e
        ip netns add vmm-a
        ip -n vmm-a tuntap add tap0 mode tap
        ip -n vmm-a addr add 192.0.2.1/24 dev tap0
        ip -n vmm-a link set tap0 up
    """
    if env.full_size:
        mebibytes = FULL_BULK_MIB
    try:
        subprocess.run(["sh", "-c", script], check=True)
        with subprocess.Popen([*into, env.bulk, "take", "5001"], stdout=subprocess.PIPE,
                              text=True) as taker:
            try:
                need("listens" in taker.stdout.readline(), "nobody listens outside")
                exchange_in_bulk(env, taker, into, card, mebibytes << 20, **how)
            finally:
                taker.kill()
    finally:
        subprocess.run(["ip", "netns", "del", "vmm-a"], check=False, stderr=subprocess.DEVNULL)


def exchange_in_bulk(env, taker, into, card, size, full=""):
    patience = FULL_BULK_PATIENCE if env.full_size else BULK_PATIENCE
    # The card with auto-negotiation has no link at first.
    with env.linux("ifconfig eth0 192.0.2.2 up; "
                   "until grep -q 1 /sys/class/net/eth0/carrier; do sleep 0.1; done; "
                   f"bulk send 192.0.2.1 5001 {size}; bulk take 5002; "
                   "readlink /sys/class/net/eth0/device/driver",
                   "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
                   "-device", f"{card},netdev=n", wrapper=into, full=full) as vm:
        report = rf"bulk ({size} \w{{16}})"
        sent = vm.expect(report, timeout=patience)[1].group(1).decode()
        received = taker.stdout.readline()
        need(sent in received, f"sent {sent} out of the guest, received {received}")
        print(f"# {card}: out of the guest: bytes and checksum {sent}", flush=True)
        vm.expect("listens", timeout=PATIENCE)
        sent = subprocess.run([*into, env.bulk, "send", "192.0.2.2", "5002", str(size)],
                              check=True, text=True, stdout=subprocess.PIPE,
                              timeout=patience).stdout
        received = vm.expect(report, timeout=patience)[1].group(1).decode()
        need(received in sent, f"sent {sent} into the guest, received {received}")
        driver = vm.expect(r"drivers/(\S+)", timeout=PATIENCE)[1].group(1).decode()
        print(f"# {card}: into the guest, whose driver is {driver}: {received}", flush=True)
        vm.expect("vmm-guest: exit 0", timeout=PATIENCE)
        vm.finish()
