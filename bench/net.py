# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/net: virtio-net over tap and over the user network. bench/cards: real cards over tap."""

import ctypes
import os
import shutil
import subprocess

from devices import SECONDS, loads
from harness import Skip, at_least, value_at_most

CLONE_NEWNET = 0x40000000
PORT = 5001
KINDS = (  # what, the word for netload, unit, how many of what it counts are one
    ("TCP out", "tcp-out", "MiB", 1 << 20), ("TCP in", "tcp-in", "MiB", 1 << 20),
    ("UDP out, 64 bytes", "udp-out", "datagram", 1), ("UDP in, 64 bytes", "udp-in", "datagram", 1),
    ("request and response", "requests", "request", 1))
SUBNETS = {"vmm": "10.9.1", "QEMU": "10.9.2"}


def make_namespace(subnets):
    """This process goes into a network of its own, with a tap for each of the subnets."""
    if os.getuid() != 0:
        raise Skip("a network namespace with taps takes root's rights")
    if not shutil.which("ip"):
        raise Skip("ip is missing: apt-get install iproute2")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("/dev/net/tun is missing: modprobe tun")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    commands = ["link set lo up"]
    for name, subnet in subnets.items():
        commands += [f"tuntap add dev {name} mode tap vnet_hdr",
                     f"addr add {subnet}.1/24 dev {name}", f"link set {name} up"]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def net(bench):
    """virtio-net: TCP and UDP both ways, request and response; over tap and the user network"""
    make_namespace(SUBNETS)

    def arguments(name):
        return ["-netdev", f"tap,id=tap,ifname={name},script=no,downscript=no",
                "-device", "virtio-net-pci,netdev=tap,romfile=",
                "-netdev", "user,id=user", "-device", "virtio-net-pci,netdev=user,romfile="]

    with subprocess.Popen([bench.image("netload"), "-l", str(PORT)]) as server:
        try:
            with loads(bench, arguments) as load:
                for name, guest in load.guests.items():
                    guest.run(f"ifconfig eth0 {SUBNETS[name]}.2 netmask 255.255.255.0 up && "
                              "ifconfig eth1 10.0.2.15 netmask 255.255.255.0 up")
                ways = (("tap", lambda name: f"{SUBNETS[name]}.1"),
                        ("user network", lambda name: "10.0.2.2"))
                for way, host in ways:
                    rows = []
                    for what, kind, unit, per in KINDS:
                        rows += load.rows(
                            f"{way}, {what}", unit, lambda name, kind=kind, host=host:
                            f"netload {host(name)} {PORT} {kind} {SECONDS}", per, at_least(1.1),
                            counted="packet")
                    bench.table(f"virtio-net over {way} (median of {bench.rounds})", rows)
        finally:
            server.kill()


CARDS = {"e1000": 1.1, "rtl8139": 1}  # at least this much of QEMU's rate
CARD_KINDS = KINDS[:2]


def cards(bench):
    """e1000 and rtl8139: TCP both ways over tap, by Linux's drivers e1000 and 8139cp"""
    subnets = {f"{name}{i}": f"{subnet}{i}" for name, subnet in SUBNETS.items()
               for i in range(len(CARDS))}
    make_namespace(subnets)

    def arguments(name):
        words = []
        for i, card in enumerate(CARDS):
            words += ["-netdev", f"tap,id=tap{i},ifname={name}{i},script=no,downscript=no",
                      "-device", f"{card},netdev=tap{i},romfile="]
        return words

    with subprocess.Popen([bench.image("netload"), "-l", str(PORT)]) as server:
        try:
            with loads(bench, arguments, full="-full") as load:
                for name, guest in load.guests.items():
                    for i in range(len(CARDS)):
                        guest.run(f"ifconfig eth{i} {subnets[f'{name}{i}']}.2 up && until grep -q 1 "
                                  f"/sys/class/net/eth{i}/carrier; do sleep 0.1; done")
                for i, (card, least) in enumerate(CARDS.items()):
                    rows = []
                    for what, kind, unit, per in CARD_KINDS:
                        rows += load.rows(
                            f"{card}, {what}", unit, lambda name, kind=kind, i=i:
                            f"netload {subnets[f'{name}{i}']}.1 {PORT} {kind} {SECONDS}", per,
                            at_least(least), counted="packet",
                            exits_goal=value_at_most(1) if card == "e1000" else None)
                    bench.table(f"{card} over tap (median of {bench.rounds})", rows)
        finally:
            server.kill()
