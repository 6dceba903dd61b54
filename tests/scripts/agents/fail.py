"""Ends with exit code 3, with a change where an argument is given."""
import pathlib
import sys

if len(sys.argv) > 1:
    train = pathlib.Path("train.py")
    train.write_text(train.read_text().replace("0.04", "0.12"))
print("could not sign in", file=sys.stderr)
sys.exit(3)
