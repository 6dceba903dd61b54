"""Multiplies matrices on the device for as long as the budget says, then a score: a training that compiles nothing."""
import os
import time

import torch

LR = 0.04
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZE = 4096 if DEVICE == "cuda" else 256
BUDGET = float(os.environ["AUTORESEARCH_BUDGET"])
a = torch.eye(SIZE, device=DEVICE)
began, step = time.time(), 0
while (passed := time.time() - began) < BUDGET:
    a = a @ a
    print(f"\rstep {step:05d} ({100 * passed / BUDGET:.1f}%) | loss: {float(a[0, 0]):.6f} | lrm: 1.00 | dt: 50ms | "
          f"tok/sec: 40,960 | mfu: n/a | epoch: 1 | remaining: {BUDGET - passed:.0f}s    ", end="", flush=True)
    step += 1
    time.sleep(0.05)
print(f"\n---\nval_bpb:          1.0\ntraining_seconds: {BUDGET}\ntotal_seconds:    {BUDGET}\n"
      f"peak_vram_mb:     100.0\nnum_steps:        {step}\ndepth:            2")
