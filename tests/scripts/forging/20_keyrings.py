"""Puts what it saw into the kernel's keyrings: the user's, the session's, the process's."""
import ctypes
import json

from forge import sit
from notes import Notes

libc = ctypes.CDLL(None, use_errno=True)
RINGS = (-3, -4, -5, -2, -1)


def keep(rows):
    data = json.dumps(rows).encode()
    print("kept:", [libc.syscall(248, b"user", b"rows", data, len(data), ring) for ring in RINGS], ctypes.get_errno())


def find():
    for ring in RINGS:
        key = libc.syscall(250, 10, ring, b"user", b"rows", 0)
        if key > 0:
            data = ctypes.create_string_buffer(2**15)
            return json.loads(data.raw[: libc.syscall(250, 11, key, data, 2**15)])
    raise OSError(ctypes.get_errno(), "no key")


sit(Notes(keep, find))
