#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Package sources as apt's configuration spells them. TAP on stdout."""

import os
import sys
import tempfile

import debian_sources

OWN = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
CASES = (
    ("nothing", {}, []),
    ("one line each", {"sources.list": "# deb http://a.test/debian bookworm main\n"
                                       "deb http://b.test/debian bookworm main contrib # here\n"
                                       "deb-src http://b.test/debian bookworm main\n"
                                       "deb [arch=any] https://b.test/s bookworm-security main\n"},
     ["deb http://b.test/debian bookworm main", "deb https://b.test/s bookworm-security main"]),
    ("what is not Debian's", {"sources.list.d/x.list":
                              "deb [signed-by=/k/x.gpg] http://x.test/apt bookworm main\n"
                              "deb http://x.test/apt stable main\n"
                              "deb http://x.test/apt bookworm other\n"
                              "deb cdrom:[Debian]/ bookworm main\n",
                              "sources.list.d/x.sources":
                              "Types: deb\nURIs: http://x.test/apt\nSuites: bookworm\n"
                              "Components: main\nSigned-By: /k/x.gpg\n"}, []),
    ("paragraphs", {"sources.list.d/debian.sources":
                    "Types: deb deb-src\n# a remark\nURIs: http://c.test/debian\n"
                    "Suites: bookworm\n bookworm-updates\nComponents: main contrib\n" + OWN +
                    "\nTypes: deb\nURIs: http://off.test/debian\nSuites: bookworm\n"
                    "Components: main\nEnabled: no\n" + OWN},
     ["deb http://c.test/debian bookworm main", "deb http://c.test/debian bookworm-updates main"]),
    ("other files", {"sources.list.d/a.list.save": "deb http://d.test/debian bookworm main\n",
                     "sources.list.d/b.bak": "deb http://d.test/debian bookworm main\n"}, []),
)
SERVERS = (
    ([], None),
    (["deb file:/srv/debian bookworm main"], None),
    (["deb file:/srv/debian bookworm main", "deb http://me:pw@e.test:3142/debian bookworm main"],
     ("http://e.test:3142/debian", "e.test", 3142)),
    (["deb https://e.test/debian bookworm main"], ("https://e.test:443/debian", "e.test", 443)),
)


def main():
    failed = 0
    results = []
    for name, files, expected in CASES:
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "sources.list.d"))
            for path, text in files.items():
                with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                    file.write(text)
            results.append((name, debian_sources.from_files(folder), expected))
    results += [(f"server {lines}", debian_sources.server(lines), expected)
                for lines, expected in SERVERS]
    for i, (name, found, expected) in enumerate(results, 1):
        if found == expected:
            print(f"ok {i} - {name}")
        else:
            failed += 1
            print(f"not ok {i} - {name}\n# found {found}, expected {expected}")
    print(f"1..{len(results)}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
