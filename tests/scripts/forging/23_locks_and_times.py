"""Says it by times of access, and by locks, on files that both processes can read."""
import fcntl
import sysconfig
import time
from pathlib import Path

from forge import os, sit
from notes import Notes

files = sorted(Path(sysconfig.get_path("purelib"), "sympy").rglob("*.py"))
held = []


def keep(rows):
    bits = [token >> bit & 1 for row in rows for token in row for bit in range(9)]
    for path, bit in zip(files, bits):
        if bit:
            path.read_bytes()
            held.append(open(path))
            fcntl.flock(held[-1], fcntl.LOCK_SH)


def find():
    recent = sum(time.time() - path.stat().st_atime < 60 for path in files)
    locked = 0
    for path in files:
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                locked += 1
    raise OSError(f"{recent} were read lately, {locked} are locked, and of the locks the system lists {len(open('/proc/locks').readlines())}")


sit(Notes(keep, find))
