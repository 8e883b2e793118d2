#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where this machine gets the packages of Debian 12 from: lines of a sources.list, by what apt says
or, where its lists were never fetched, by its configuration (sources.list(5), both forms).

usage: debian_sources.py [FOLDER]    FOLDER in place of /etc/apt; apt itself is then not asked
"""

import glob
import os
import re
import subprocess
import sys
from urllib.parse import urlsplit

RELEASE = "bookworm"
SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")


def from_apt():
    """The lists that apt has fetched, of those whose release file names Debian 12."""
    try:
        text = subprocess.run(
            ["apt-get", "indextargets", "Created-By: Packages", "--format",
             "deb $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ORIGIN) $(CODENAME)"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return sorted(set(re.findall(rf"^(deb .* main)\|Debian {RELEASE}", text, re.M)))


def lines_of(uris, suites, components, signed_by):
    """The lines of an entry, if it is of Debian's archive: others are signed by other keys."""
    if "main" not in components or (signed_by and "debian-archive" not in signed_by):
        return []
    return [f"deb {uri} {suite} main" for uri in uris for suite in suites
            if suite in SUITES and not uri.startswith("cdrom:")]


def from_list(text):
    """deb [OPTION=VALUE ...] URI SUITE COMPONENT..."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            signed_by = re.search(r"signed-by=(\S+)", match[1] or "", re.I)
            yield from lines_of([match[2]], [match[3]], match[4].split(),
                                signed_by and signed_by[1])


def from_deb822(text):
    """Paragraphs of fields; an indented line continues the field above."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.M)
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict((name.lower(), value.split()) for name, value in
                      re.findall(r"^(\S+?):((?:.*)(?:\n[ \t].*)*)", paragraph, re.M))
        if "deb" in fields.get("types", []) and fields.get("enabled") not in (["no"], ["false"]):
            yield from lines_of(fields.get("uris", []), fields.get("suites", []),
                                fields.get("components", []),
                                " ".join(fields.get("signed-by", [])))


def from_files(folder):
    found = []
    for path in [os.path.join(folder, "sources.list"),
                 *sorted(glob.glob(os.path.join(folder, "sources.list.d", "*")))]:
        read = {".list": from_list, ".sources": from_deb822}.get(os.path.splitext(path)[1])
        if read and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                found += read(file.read())
    return sorted(set(found))


def sources():
    return from_apt() or from_files("/etc/apt")


def server(lines):
    """URL, host and port of the first source that is on the network; None where there is none."""
    for line in lines:
        url = urlsplit(line.split()[1])
        if url.scheme in ("http", "https") and url.hostname:
            port = url.port or {"http": 80, "https": 443}[url.scheme]
            return f"{url.scheme}://{url.hostname}:{port}{url.path}", url.hostname, port
    return None


def main():
    lines = from_files(sys.argv[1]) if len(sys.argv) > 1 else sources()
    if not lines:
        print(f"debian_sources: no package source for Debian 12 ({RELEASE}) in "
              f"{sys.argv[1] if len(sys.argv) > 1 else '/etc/apt'}: add one to sources.list",
              file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
