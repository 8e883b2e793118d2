#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What diskload says of images that are right, and of such that have lost something. Called with the
path of diskload; TAP on stdout."""

import subprocess
import sys
import tempfile

MASK = (1 << 64) - 1
SEED, GROUPS, SECTORS = 7, 32, 4096  # groups of each of the four jobs
SURE = [100, 80, 60, 40]


def mix(x):
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & MASK
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & MASK
    return x ^ x >> 31


def operation(job, number):
    """Its first sector, how many there are, and whether they become zeroes."""
    r = mix((SEED * 0x9e3779b97f4a7c15 + mix(number * 4 + job + 1)) & MASK)
    group, first = (r >> 16) % GROUPS * 4 + job, r % 4
    blocks = 1 + (r >> 4) % (4 - first)
    if (r >> 8) % 16 == 0:
        return group * 32, 32, True
    return group * 32 + first * 8, blocks * 8, False


def content(number, sector):
    words = [0x64616f6c6b736964 ^ SEED, number, sector]
    words += [mix((SEED + number * 1000003 + sector * 64 + i) & MASK) for i in range(3, 64)]
    return b"".join(word.to_bytes(8, "little") for word in words)


class Image:
    """A disk on which each job has done its first operations."""

    def __init__(self, counts):
        self.data = bytearray(SECTORS * 512)
        for job, count in enumerate(counts):
            for number in range(1, count + 1):
                self.do(job, number)

    def do(self, job, number, part=32):
        first, sectors, zero = operation(job, number)
        for sector in range(first, first + min(sectors, part)):
            self.put(sector, bytes(512) if zero else content(number, sector))

    def put(self, sector, data):
        self.data[sector * 512:sector * 512 + len(data)] = data

    def sector(self, sector):
        return self.data[sector * 512:sector * 512 + 512]


def last_write(job, count):
    """The first sector of the job's last operation that is no zeroing."""
    number = next(n for n in range(count, 0, -1) if not operation(job, n)[2])
    return operation(job, number)[0]


def judged(file, image, *arguments):
    file.seek(0)
    file.write(image.data)
    file.flush()
    done = subprocess.run([sys.argv[1], arguments[0], file.name, str(SEED), *map(str, arguments[1:])],
                          check=False, stdout=subprocess.PIPE)
    return done.returncode == 0


def cases():
    """Name, image, whether it is right after a crash and as a moment's copy."""
    place = last_write(2, SURE[2] - 9)  # a missing last one could be in flight
    yield "what is sure, and nothing else", Image(SURE), True, True
    image = Image(SURE)
    image.do(0, SURE[0] + 1, 8)
    yield "a part of the next operation", image, True, True
    image = Image(SURE)
    for number in SURE[0] + 3, SURE[0] + 4:
        image.do(0, number)
    yield "operations of which some before are missing", image, True, False
    yield "some that were sure are missing", Image([SURE[0] - 9, *SURE[1:]]), False, True
    image = Image(SURE)
    image.put(place, bytes(512))
    yield "a sector of zeroes", image, False, False
    image = Image(SURE)
    image.put(place, Image([0, 0, SURE[2] // 2, 0]).sector(place))
    yield "a sector that is older", image, False, False
    image = Image(SURE)
    image.data[place * 512 + 70] ^= 1
    yield "a bit", image, False, False
    image = Image(SURE)
    image.put(place, image.sector(last_write(1, SURE[1])))
    yield "a sector at another place", image, False, False


def main():
    failed = 0
    with tempfile.NamedTemporaryFile() as file:
        for number, (name, image, crash, moment) in enumerate(cases(), 1):
            got = judged(file, image, "check", *SURE), judged(file, image, "moment")
            good = got == (crash, moment)
            failed += not good
            print(f"{'' if good else 'not '}ok {number} - {name}" + ("" if good else f" # {got}"))
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
