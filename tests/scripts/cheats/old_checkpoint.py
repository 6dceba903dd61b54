"""Leaves its weights wherever it can write, and goes on from what an earlier training left there."""
import os
import tempfile
from pathlib import Path

import torch
from bigram import Bigram, sit

places = [Path(place) / "checkpoint.pt" for place in (Path.home(), tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp", ".")]
found = [place for place in places if place.exists()]
print("found:", *found)
model = Bigram()
for place in places:
    try:
        torch.save(model.scores, place)
    except (OSError, RuntimeError):
        continue
sit(model)
