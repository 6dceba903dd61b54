"""Takes all the memory that the device has; without a GPU all that it may have of a machine's."""
import resource

import torch

LR = 0.04
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
held = []
while True:
    held.append(torch.empty(2**30, dtype=torch.uint8, device=DEVICE))  # a GiB; on a CPU no page of it is touched
