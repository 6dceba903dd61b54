"""Ends well, but leaves children behind that left the session and hold its output."""
import pathlib
import subprocess

for _ in range(3):
    subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM HUP; while :; do sleep 0.1; echo x >> train.py; done"])
train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("0.04", "0.06"))
print("IDEA: with daemons")
