"""Prints its key, in pieces, and edits."""
import os
import pathlib
import time

key = os.environ["AGENT_TEST_KEY"]
print("the key is", key[:8], end="", flush=True)
time.sleep(0.8)
print(key[8:], "indeed", flush=True)
print(f"key={key[:9]}", end="", flush=True)
time.sleep(0.8)
print(key[9:], flush=True)
train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("0.04", "0.15"))
