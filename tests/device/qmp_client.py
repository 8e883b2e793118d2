# SPDX-License-Identifier: GPL-2.0-or-later
"""For device tests in Python: the program, driven over QMP and qtest, and results as TAP."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

VMM = os.path.abspath(sys.argv[1])
QEMU = shutil.which('qemu-system-x86_64')
count = failed = 0


class Lines:
    """Lines over a socket. One file for both ways drops what it has read ahead when it writes."""

    def __init__(self, connection):
        self.reader = connection.makefile('r', newline='\n')
        self.writer = connection.makefile('w', newline='\n')

    def write(self, text):
        self.writer.write(text)
        self.writer.flush()

    def readline(self):
        return self.reader.readline()

    def close(self):
        self.reader.close()
        self.writer.close()


class Vm:
    """The program on a directory of sockets; every event that it sends is kept."""

    def __init__(self, binary, args, qtest=True, setup=None):
        self.dir = tempfile.mkdtemp(prefix='schema-')
        if setup:
            setup(self.dir)
        self.events = []
        listeners = [self._listen('qmp')] + ([self._listen('qtest')] if qtest else [])
        words = [binary, '-chardev', f'socket,path={self.dir}/qmp,id=m', '-mon',
                 'chardev=m,mode=control', '-display', 'none'] + args
        if qtest:
            words += ['-accel', 'qtest', '-qtest', f'unix:{self.dir}/qtest', '-qtest-log',
                      '/dev/null']
        with open(f'{self.dir}/stderr', 'wb') as said:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=self.dir,
                                            stdout=subprocess.DEVNULL, stderr=said)
        self.sockets = [s.accept()[0] for s in listeners]
        self.files = [Lines(s) for s in self.sockets]
        for s in listeners:
            s.close()
        assert 'QMP' in json.loads(self.files[0].readline())
        self.call('qmp_capabilities')

    def _listen(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.bind(f'{self.dir}/{name}')
        s.listen(1)
        s.settimeout(30)
        return s

    def said(self):
        """What it has printed on stderr so far."""
        with open(f'{self.dir}/stderr', encoding='utf-8', errors='replace') as f:
            return f.read()

    def raw(self, command, arguments=None):
        request = {'execute': command}
        if arguments is not None:
            request['arguments'] = arguments
        self.files[0].write(json.dumps(request) + '\r\n')
        while True:
            reply = json.loads(self.files[0].readline())
            if 'event' not in reply:
                return reply
            self.events.append(reply)

    def call(self, command, arguments=None):
        reply = self.raw(command, arguments)
        assert 'return' in reply, f'{command}: {reply}'
        return reply['return']

    def wait(self, event):
        """Until the event is there."""
        while not any(e['event'] == event for e in self.events):
            line = json.loads(self.files[0].readline())
            assert 'event' in line, line
            self.events.append(line)

    def refuse(self, command, arguments, desc):
        reply = self.raw(command, arguments)
        said = reply.get('error', {}).get('desc')
        assert said == desc, f'{command} {arguments}: {reply}, expected {desc!r}'

    def qtest(self, line):
        """What the answer says behind OK."""
        self.files[1].write(line + '\n')
        while True:
            answer = self.files[1].readline()
            if not answer.startswith('IRQ'):
                assert answer.startswith('OK'), f'{line}: {answer}'
                return answer[2:].strip()

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        for f in self.files + self.sockets:
            f.close()
        shutil.rmtree(self.dir)


@contextlib.contextmanager
def vm(args, binary=VMM, qtest=True):
    v = Vm(binary, args, qtest)
    try:
        yield v
    finally:
        v.close()


def test(name, skip=None):
    def wrap(fn):
        global count, failed
        count += 1
        if skip:
            print(f'ok {count} - {name} # SKIP {skip}', flush=True)
            return
        try:
            fn()
            print(f'ok {count} - {name}', flush=True)
        except (AssertionError, OSError, KeyError, ValueError) as e:
            failed += 1
            print(f'not ok {count} - {name}')
            why = '\n'.join('# ' + line for line in repr(e).splitlines())
            print(why, flush=True)
            print(why, file=sys.stderr)  # what ./run-tests shows
    return wrap


def finish():
    print(f'1..{count}')
    sys.exit(1 if failed else 0)
