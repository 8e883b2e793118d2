#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images on web servers: honest ones, and others, on the loopback interface.
Called with the paths of vmm-img and vmm-io; TAP on stdout."""
import base64
import http.server
import os
import re
import subprocess
import sys
import tempfile
import threading

VMM, VMM_IO = (os.path.abspath(p) for p in sys.argv[1:3])
count = failed = 0
DATA = b''.join(bytes([i % 251]) * 1000 for i in range(1500)).ljust(3000 * 512, b'\0')


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA; a path says how: '/short', '/noranges'..."""
    protocol_version = 'HTTP/1.1'
    seen = []
    opened = {}

    def log_message(self, *args):
        pass

    def answer(self, status, headers, body=b''):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def how(self):
        return self.path.strip('/').split('.')[0]

    def refused(self):
        how, head = self.how(), self.headers
        if how == 'missing':
            return self.answer(404, {'Content-Length': '0'}) or True
        if how == 'secret' and head.get('Authorization') != \
                'Basic ' + base64.b64encode(b'me:pass').decode():
            return self.answer(401, {'Content-Length': '0',
                                     'WWW-Authenticate': 'Basic realm="x"'}) or True
        if how == 'cookie' and head.get('Cookie') != 'a=b; c=d':
            return self.answer(403, {'Content-Length': '0'}) or True
        if how == 'moved':
            return self.answer(302, {'Content-Length': '0', 'Location': '/plain'}) or True
        if how == 'tofile':
            return self.answer(302, {'Content-Length': '0', 'Location': 'file:///etc/passwd'}) or True
        if how == 'round':
            return self.answer(302, {'Content-Length': '0', 'Location': '/round'}) or True
        if how == 'silent':
            silence.wait()
            self.close_connection = True
            return True
        return False

    def do_HEAD(self):
        how = self.how()
        if self.refused():
            return
        headers = {'Accept-Ranges': 'bytes', 'ETag': '"1"', 'Content-Length': str(len(DATA))}
        if how == 'noranges':
            del headers['Accept-Ranges']
        if how == 'nolength':
            del headers['Content-Length']
            self.close_connection = True
        if how == 'huge':
            headers['Content-Length'] = str((1 << 63) - 1)
        self.answer(200, headers)

    def do_GET(self):
        how = self.how()
        if self.refused():
            return
        first, last = map(int, re.match(r'bytes=(\d+)-(\d+)$', self.headers['Range']).groups())
        self.seen.append((first, last))
        body, total, etag = DATA[first:last + 1], len(DATA), '"1"'
        status, shown = 206, (first, last)
        if how == 'whole':
            return self.answer(200, {'Content-Length': str(len(DATA))}, DATA)
        if how == 'whole0' and first == 0:  # exactly what was asked for, but not as a range
            return self.answer(200, {'Content-Length': str(len(body))}, body)
        if how == 'other':
            shown = (first + 512, last + 512)
        if how == 'grown':
            total += 512
        if how == 'changed':
            etag = '"2"'
        headers = {'Content-Range': f'bytes {shown[0]}-{shown[1]}/{total}', 'ETag': etag,
                   'Content-Length': str(len(body))}
        if how == 'norange':
            del headers['Content-Range']
        if how == 'short':
            headers['Content-Length'] = str(len(body) // 2)
            body = body[:len(body) // 2]
        if how == 'long':
            headers['Content-Length'] = str(len(body) + 512)
            body += bytes(512)
        if how == 'cut':
            self.close_connection = True
            body = body[:len(body) // 2]
        if how == 'fails' and first > 0:
            return self.answer(503, {'Content-Length': '0'})
        self.answer(status, headers, body)


silence = threading.Event()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
BASE = f'http://127.0.0.1:{server.server_port}'
ENV = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}


def run(*args, tool=VMM, status=0):
    p = subprocess.run([tool, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=120, env=ENV)
    if status is not None:
        assert p.returncode == status, f'{args}: status {p.returncode}\n{p.stdout}{p.stderr}'
    return p


def test(name):
    def wrap(fn):
        global count, failed
        count += 1
        Handler.seen.clear()
        here = os.getcwd()
        with tempfile.TemporaryDirectory(prefix='img-') as work:
            os.chdir(work)
            try:
                fn()
                print(f'ok {count} - {name}', flush=True)
            except (AssertionError, subprocess.SubprocessError, OSError) as e:
                failed += 1
                print(f'not ok {count} - {name}')
                print('\n'.join('# ' + line for line in str(e).splitlines()), flush=True)
            finally:
                os.chdir(here)
    return wrap


def content(name):
    with open(name, 'rb') as f:
        return f.read()


def options(path, **more):
    text = ''.join(f',file.{k.replace("_", "-")}={v}' for k, v in more.items())
    return ['--image-opts', f'driver=raw,file.driver=http,file.url={BASE}/{path}{text}']


@test('a file is read, also by a redirection')
def _():
    for path in 'plain', 'moved':
        run('convert', '-f', 'raw', '-O', 'raw', f'{BASE}/{path}', 'out')
        assert content('out') == DATA, path
    text = run('info', '-f', 'raw', f'{BASE}/plain').stdout
    assert f'image: {BASE}/plain' in text and f'({len(DATA)} bytes)' in text, text
    with open('raw', 'wb') as f:
        f.write(DATA)
    run('compare', '-f', 'raw', '-F', 'raw', f'{BASE}/plain', 'raw')


@test('requests read ahead, and what was read is not read again')
def _():
    reads = [a for i in range(40) for a in ('-c', f'read -P {i * 512 // 1000 % 251} {i * 512} 488')]
    run('-r', *options('plain', readahead=16384), *reads[:2], '-c', 'read 0 512', '-c',
        'read 8k 4k', '-c', 'read 600k 512', tool=VMM_IO)
    assert Handler.seen == [(0, 488 + 16384 - 1), (600 * 1024, 600 * 1024 + 512 + 16384 - 1)], \
        Handler.seen
    Handler.seen.clear()
    run('-r', *options('plain', readahead=0), '-c', 'read 1024 512', '-c', 'read 2048 512',
        tool=VMM_IO)
    assert Handler.seen == [(1024, 1535), (2048, 2559)], Handler.seen
    Handler.seen.clear()
    run('-r', *options('plain'), '-c', f'read {len(DATA) - 512} 512', tool=VMM_IO)
    assert Handler.seen == [(len(DATA) - 512, len(DATA) - 1)], Handler.seen


@test('a format over it')
def _():
    global DATA
    run('create', '-q', '-f', 'qcow2', 'x', '1M')
    run('-c', 'write -P 7 64k 64k', '-f', 'qcow2', 'x', tool=VMM_IO)
    old, DATA = DATA, content('x')
    try:
        run('convert', '-O', 'raw', f'{BASE}/plain', 'out')
        assert content('out') == bytes(65536) + b'\7' * 65536 + bytes((1 << 20) - 131072)
        run('create', '-q', '-f', 'qcow2', '-b', f'{BASE}/plain', '-F', 'qcow2', 'over')
        run('-c', 'read -P 7 64k 64k', '-c', 'write -P 8 96k 4k', 'over', tool=VMM_IO)
        run('convert', '-O', 'raw', 'over', 'out')
        assert content('out')[65536:131072] == b'\7' * 32768 + b'\10' * 4096 + b'\7' * 28672
    finally:
        DATA = old


@test('it is not written to')
def _():
    p = run('-c', 'write 0 512', '-f', 'raw', f'{BASE}/plain', tool=VMM_IO, status=None)
    assert p.returncode and 'curl block device does not support writes' in p.stderr, p.stderr


@test('servers that cannot be used, and why')
def _():
    for path, words in (('missing', '404'), ('noranges', "does not support 'range' (byte ranges)"),
                        ('nolength', "Server didn't report file size"), ('huge', 'bytes long'),
                        ('secret', '401'), ('cookie', '403'), ('round', 'redirects')):
        p = run('info', '-f', 'raw', f'{BASE}/{path}', status=1)
        assert 'CURL: Error opening file' in p.stderr and words in p.stderr, (path, p.stderr)
    p = run('info', '-f', 'raw', f'{BASE}/tofile', status=1)
    assert 'CURL: Error opening file' in p.stderr and 'file' in p.stderr, p.stderr
    p = run('info', *options('silent', timeout=1), status=1)
    silence.set()
    assert 'CURL: Error opening file' in p.stderr, p.stderr
    closed = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    port = closed.server_port
    closed.server_close()
    p = run('info', '-f', 'raw', f'http://127.0.0.1:{port}/', status=1)
    assert 'CURL: Error opening file' in p.stderr, p.stderr


@test('servers that lie are found out, and what they have sent is not used')
def _():
    for path, words in (('whole', 'has not sent the range'), ('whole0', 'has not sent the range'),
                        ('other', 'sent another range'), ('norange', 'sent another range'),
                        ('grown', 'length has changed'), ('changed', 'has changed on the server'),
                        ('short', 'less than it said'), ('long', ''), ('cut', '')):
        p = run('convert', '-f', 'raw', '-O', 'raw', f'{BASE}/{path}', 'out', status=1)
        assert words in p.stderr and 'Input/output error' in p.stderr, (path, p.stderr)
    p = run('-r', *options('fails'), '-c', 'read 0 512', '-c', 'read 600k 512', '-c', 'read 8k 4k',
            tool=VMM_IO, status=None)
    assert p.stdout.count('512/512 bytes') == 1 and p.stdout.count('4096/4096 bytes') == 1 and \
        '503' in p.stderr and 'read failed: Input/output error' in p.stdout + p.stderr, p.stdout


@test('users, passwords and cookies')
def _():
    secret = ['--object', 'secret,id=s,data=pass']
    run('info', *secret, *options('secret', username='me', password_secret='s'))
    run('info', *secret, *options('secret', username='you', password_secret='s'), status=1)
    run('info', *options('cookie', cookie='a=b; c=d'))
    run('info', '--object', 'secret,id=s,data=a=b; c=d', *options('cookie', cookie_secret='s'))
    for more, words in (({'cookie': 'x', 'cookie_secret': 's'}, 'both cookie and cookie secret'),
                        ({'readahead': 100}, 'multiple of 512'), ({'timeout': 0}, 'from 1 to'),
                        ({'timeout': 99999}, 'from 1 to'), ({'password_secret': 'nobody'}, 'nobody')):
        p = run('info', *options('plain', **more), status=1)
        assert words in p.stderr, (more, p.stderr)
    p = run('info', '--image-opts', 'driver=raw,file.driver=https,file.url=http://x/', status=1)
    assert "does not start with 'https://'" in p.stderr, p.stderr


@test('https: a certificate that nobody vouches for')
def _():
    import ssl
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key',
                    '-out', 'cert', '-days', '2', '-subj', '/CN=localhost'], check=True,
                   stderr=subprocess.DEVNULL)
    tls = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    tls.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain('cert', 'key')
    tls.socket = context.wrap_socket(tls.socket, server_side=True)
    threading.Thread(target=tls.serve_forever, daemon=True).start()
    url = f'https://127.0.0.1:{tls.server_port}/plain'
    p = run('info', '-f', 'raw', url, status=1)
    assert 'certificate' in p.stderr, p.stderr
    run('convert', '--image-opts', '-O', 'raw',
        f'driver=raw,file.driver=https,file.url={url},file.sslverify=off', 'out')
    assert content('out') == DATA
    tls.shutdown()


print(f'1..{count}')
sys.exit(1 if failed else 0)
