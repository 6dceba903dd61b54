"""Writes wherever it may not, reads what is not its own, and tells what it could."""
import os
import pathlib
import socket
import sys

secret, port = sys.argv[1:]
here = pathlib.Path.cwd()
places = [
    here.parent / "result.json", here.parent / "spec.json", here.parent / "owner", here.parents[1] / "mine",
    pathlib.Path(secret).with_name("mine"), pathlib.Path("/usr/mine"), pathlib.Path("/etc/mine"), pathlib.Path("/mine"),
    pathlib.Path(sys.executable).with_name("mine"), pathlib.Path(__file__).with_name("mine"),
]
for place in places:
    try:
        place.write_text("mine")
        print("WROTE", place)
    except OSError:
        pass
try:
    print("READ", pathlib.Path(secret).read_text())
except OSError:
    pass
try:
    socket.create_connection(("127.0.0.1", int(port)), 1)
    print("CONNECTED")
except OSError:
    pass
print("KEYS", sorted(name for name in os.environ if "KEY" in name or "SECRET" in name))
print("PIDS", sum(name.isdigit() for name in os.listdir("/proc")) < 6)
print("HOME", os.listdir(os.environ["HOME"]))
pathlib.Path(os.environ["HOME"], "login").write_text("x")
