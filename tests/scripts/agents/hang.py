"""Edits, then never ends; ignores SIGTERM, and has children of which one left the session."""
import os
import pathlib
import signal
import subprocess
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("train.py").write_text("X = 1\n")
subprocess.Popen(["sleep", "1000"])
subprocess.Popen(["sleep", "1000"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
print("working", flush=True)
time.sleep(1000)
