"""Leaves a process behind, out of its session, which would tell the second one by an abstract socket."""
import json
import signal
import socket
import time

from forge import os, sit
from notes import Notes


def keep(rows):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 100)
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0rows")
    server.listen()
    server.settimeout(20)
    while True:
        server.accept()[0].sendall(json.dumps(rows).encode())
        time.sleep(0.1)


def find():
    client = socket.socket(socket.AF_UNIX)
    client.connect("\0rows")
    return json.loads(client.makefile().read())


sit(Notes(keep, find))
