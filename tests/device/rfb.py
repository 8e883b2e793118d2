# SPDX-License-Identifier: GPL-2.0-or-later
"""A VNC viewer of a few lines (RFC 6143): raw rectangles, resizing, QEMU's key event."""
import base64
import ctypes
import ctypes.util
import os
import select
import socket
import struct

RAW, DESKTOP_SIZE, POINTER_MOTION, EXTENDED_KEY = 0, -223, -257, -258
RETURN = 0xff0d


def encrypted(challenge, password):
    """DES as the library has it, which VNC alone still uses."""
    data = ctypes.create_string_buffer(challenge, 16)
    ctypes.CDLL('libvncserver.so.1').rfbEncryptBytes(data, password.encode())
    return data.raw[:16]


class WebSocket:
    """The socket's methods that a viewer uses, through RFC 6455's frames."""

    def __init__(self, connection, port, origin='localhost'):
        self.connection, self.data = connection, b''
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(f'GET /websockify HTTP/1.1\r\nHost: localhost:{port}\r\n'
                           f'Origin: http://{origin}:6080\r\nUpgrade: websocket\r\n'
                           f'Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n'
                           'Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Version: 13\r\n\r\n'
                           .encode())
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += connection.recv(1)
        assert head.startswith(b'HTTP/1.1 101 '), head

    def sendall(self, data):
        mask = os.urandom(4)
        assert len(data) < 126
        self.connection.sendall(bytes([0x82, 0x80 | len(data)]) + mask +
                                bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def exactly(self, n):
        data = b''
        while len(data) < n:
            part = self.connection.recv(n - len(data))
            if not part:
                return b''
            data += part
        return data

    def recv(self, n):
        if not self.data:
            head = self.exactly(2)
            if not head:
                return b''
            length = head[1] & 0x7f
            if length == 126:
                length, = struct.unpack('>H', self.exactly(2))
            elif length == 127:
                length, = struct.unpack('>Q', self.exactly(8))
            self.data = self.exactly(length)
        part, self.data = self.data[:n], self.data[n:]
        return part

    def close(self):
        self.connection.close()


class Viewer:
    def __init__(self, address, password=None, shared=True, web=False,
                 encodings=(RAW, DESKTOP_SIZE, EXTENDED_KEY)):
        if isinstance(address, socket.socket):
            self.socket = address
        elif isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(('127.0.0.1', address))
        self.socket.settimeout(30)
        if web:
            self.socket = WebSocket(self.socket, address)
        assert self.read(12) == b'RFB 003.008\n'
        self.send(b'RFB 003.008\n')
        self.kinds = self.read(self.read(1)[0])
        self.allowed = self.authenticate(password)
        if not self.allowed:
            return
        self.send(bytes([shared]))
        self.width, self.height = struct.unpack('>HH', self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack('>I', self.read(4))[0])
        self.send(struct.pack('>BxH', 2, len(encodings)) +
                  b''.join(struct.pack('>i', e) for e in encodings))
        self.pixels = bytearray(4 * self.width * self.height)

    def authenticate(self, password):
        self.send(b'\2' if 2 in self.kinds else b'\1')
        if 2 in self.kinds:
            self.send(encrypted(self.read(16), password or ''))
        return self.read(4) == b'\0\0\0\0'

    def send(self, data):
        self.socket.sendall(data)

    def read(self, n):
        data = bytearray()
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def request(self, incremental=True):
        self.send(struct.pack('>BBHHHH', 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """The next one: encodings of its rectangles."""
        assert self.read(1) == b'\0'
        _, count = struct.unpack('>BH', self.read(3))
        seen = []
        for _ in range(count):
            x, y, w, h, encoding = struct.unpack('>HHHHi', self.read(12))
            seen.append(encoding)
            if encoding == RAW:
                data = self.read(4 * w * h)
                for row in range(h):
                    at = 4 * ((y + row) * self.width + x)
                    self.pixels[at:at + 4 * w] = data[4 * w * row:4 * w * (row + 1)]
            elif encoding == DESKTOP_SIZE:
                self.width, self.height = w, h
                self.pixels = bytearray(4 * w * h)
        return seen

    def until(self, condition):
        """Looks at updates until the pixels are as is wanted."""
        self.request(False)
        while not condition(self):
            self.update()
            self.request()

    def settle(self, quiet=0.3):
        """Looks at updates until none comes for a while."""
        self.request()
        while select.select([self.socket], [], [], quiet)[0]:
            self.update()
            self.request()

    def line(self, row):
        """The pixels of a text row, of 16 lines."""
        return bytes(self.pixels[4 * 16 * row * self.width:4 * 16 * (row + 1) * self.width])

    def key(self, keysym):
        for down in (1, 0):
            self.send(struct.pack('>BBxxI', 4, down, keysym))

    def numbered_key(self, keysym, number, down):
        self.send(struct.pack('>BBHII', 255, 0, down, keysym, number))

    def pointer(self, x, y, buttons):
        self.send(struct.pack('>BBHH', 5, buttons, x, y))

    def type(self, text):
        for c in text:
            self.key(RETURN if c == '\n' else ord(c))

    def ended(self):
        """Whether the server has closed the connection, after what it still sent."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self.socket.close()
