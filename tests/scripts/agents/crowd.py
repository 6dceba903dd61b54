"""Starts more and more processes, one after the other, up to 150."""
import os
import time

for _ in range(150):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.005)
time.sleep(60)
