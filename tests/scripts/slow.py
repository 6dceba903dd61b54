"""Trains for as long as the budget says, a step each 50 ms, then a score."""
import os
import time

MATRIX_LR = 0.04
EMBEDDING_LR = 0.3
SCALAR_LR = 0.5
HEAD_LR = 0.01
WARMDOWN = 0.5
DECAY = 0.1
BUDGET = float(os.environ["AUTORESEARCH_BUDGET"])
began, step = time.time(), 0
while (passed := time.time() - began) < BUDGET:
    print(f"\rstep {step:05d} ({100 * passed / BUDGET:.1f}%) | loss: {5 / (1 + passed):.6f} | lrm: 1.00 | dt: 50ms | "
          f"tok/sec: 40,960 | mfu: n/a | epoch: 1 | remaining: {BUDGET - passed:.0f}s    ", end="", flush=True)
    step += 1
    time.sleep(0.05)
print(f"\n---\nval_bpb:          {1 + (MATRIX_LR - 0.09) ** 2 * 50:.6f}\ntraining_seconds: {BUDGET}\ntotal_seconds:    {BUDGET}\n"
      f"peak_vram_mb:     100.0\nnum_steps:        {step}\ndepth:            2")
