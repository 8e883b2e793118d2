# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/monitor: what a client of QMP waits for."""

import subprocess
import tempfile

from harness import PATIENCE, Qmp, at_most

TRIPS, SESSIONS = 5000, 1000


def monitor(bench):
    """QMP on an idle machine, by a client in C"""
    def ask(folder, what, count):
        done = subprocess.run([bench.image("qmpload"), f"{folder}/qmp", what, str(count)], check=True,
                              stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
        return int(done.stdout.split()[0]) / 1e3

    def once(name, program):
        # CPUs do not run; where there is no KVM, they need none.
        other = "tcg" if name == "QEMU" else "qtest"
        command = [*program, "-accel", "kvm", "-accel", other, "-m", "64", "-nodefaults",
                   "-display", "none", "-S", "-qmp"]
        with tempfile.TemporaryDirectory() as folder:
            with subprocess.Popen([*command, f"unix:{folder}/qmp,server=on,wait=off"],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    figures = {"trip": ask(folder, "trips", TRIPS),
                               "session": ask(folder, "sessions", SESSIONS)}
                    Qmp(f"{folder}/qmp").command("quit")
                    process.wait(PATIENCE)
                finally:
                    process.kill()
        return figures

    medians = bench.pairs(bench.rounds, once)
    ours, theirs = medians["vmm"], medians["QEMU"]
    bench.table(f"QMP on an idle machine (median of {bench.rounds} medians)", [
        (f"a round trip of query-status, µs (of {TRIPS})", ours["trip"], theirs["trip"],
         at_most(0.8)),
        (f"a session of one command, µs (of {SESSIONS})", ours["session"], theirs["session"],
         at_most(1))])
