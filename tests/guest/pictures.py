# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads pictures, to compare them: (width, height, bytes of red, green and blue)."""

import struct
import zlib


def read_ppm(data):
    """What pnm tools and 'screendump' write: P6, 8 bits."""
    kind, width, height, most, pixels = data.split(maxsplit=4) if data[:2] == b"P6" else [None] * 5
    if kind is None or int(most) != 255:
        raise ValueError("no PPM file with 8 bits a colour")
    return int(width), int(height), pixels[:3 * int(width) * int(height)]


def _unfiltered(kind, line, above, step):
    """A line of a PNG file (PNG specification, 9.2)."""
    for i, value in enumerate(line):
        left = line[i - step] if i >= step else 0
        up, corner = above[i], above[i - step] if i >= step else 0
        if kind == 1:
            value += left
        elif kind == 2:
            value += up
        elif kind == 3:
            value += (left + up) // 2
        elif kind == 4:
            near = left + up - corner
            value += min((left, up, corner), key=lambda other, near=near: abs(near - other))
        line[i] = value & 0xff
    return line


def read_png(data):
    """8 bits a colour, without interlacing and palette; an alpha channel is dropped."""
    at, packed, width, height, step = 8, b"", 0, 0, 0
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at + 8:at + 8 + length]
        at += 12 + length
        if name == b"IHDR":
            width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunk)
            if depth != 8 or kind not in (2, 6) or interlaced:
                raise ValueError("a PNG file of another kind")
            step = 3 if kind == 2 else 4
        elif name == b"IDAT":
            packed += chunk
    raw = zlib.decompress(packed)
    size = step * width
    above, lines = bytearray(size), []
    for y in range(height):
        begin = y * (size + 1)
        line = bytearray(raw[begin + 1:begin + 1 + size])
        above = _unfiltered(raw[begin], line, above, step) if raw[begin] else line
        lines.append(bytes(above))
    pixels = b"".join(lines)
    return width, height, pixels if step == 3 else without_fourth(pixels)


def write_png(picture):
    """A PNG file's bytes, for those who want to look at a picture."""
    width, height, pixels = picture
    lines = b"".join(b"\0" + pixels[3 * width * y:3 * width * (y + 1)] for y in range(height))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def without_fourth(pixels):
    """Red, green and blue of pixels that have 4 bytes."""
    three = bytearray(len(pixels) // 4 * 3)
    for colour in range(3):
        three[colour::3] = pixels[colour::4]
    return bytes(three)


def read_xwd(data):
    """What Xvfb keeps in its -fbdir (XWDFile.h): a TrueColor screen of 32 bits a pixel."""
    words = struct.unpack_from(">25I", data)
    width, height, order, bits, line = words[4], words[5], words[7], words[11], words[12]
    if words[1] != 7 or bits != 32:
        raise ValueError("no screen of 32 bits a pixel")
    begin = words[0] + 12 * words[19]
    pixels = b"".join(data[begin + y * line:begin + y * line + 4 * width] for y in range(height))
    swapped = bytearray(len(pixels))
    for colour in range(3):
        swapped[colour::4] = pixels[(2 - colour if order == 0 else colour + 1)::4]
    return width, height, without_fourth(swapped)


def find(part, whole):
    """Where a picture is in a larger one, as (x, y); None where it is not."""
    width, height, pixels = part
    whole_width, whole_height, around = whole

    def line(y):
        return pixels[3 * width * y:3 * width * (y + 1)]

    rarest = max(range(height), key=lambda y: len(zlib.compress(line(y))))
    for y in range(whole_height - height + 1):
        begin = 3 * whole_width * (y + rarest)
        row = around[begin:begin + 3 * whole_width]
        at = row.find(line(rarest))
        while at >= 0:
            if at % 3 == 0 and all(
                    around[3 * whole_width * (y + n) + at:][:3 * width] == line(n)
                    for n in range(height)):
                return at // 3, y
            at = row.find(line(rarest), at + 1)
    return None


def difference(one, other):
    """The largest of any colour of any pixel; 255 where the sizes differ."""
    if one[:2] != other[:2]:
        return 255
    return max((abs(a - b) for a, b in zip(one[2], other[2]) if a != b), default=0)
