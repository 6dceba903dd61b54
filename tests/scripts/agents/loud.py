"""Prints 100 MB, then its idea and its cost."""
import pathlib
import sys

for _ in range(1000):
    sys.stdout.write(("x" * 99 + "\n") * 1000)
train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("0.04", "0.09"))
print("IDEA: loud\nCOST_USD=0.5")
