"""Prints a step each 100 ms for as long as the budget says; each line carries the time at which it was printed."""
import os
import time

MATRIX_LR = 0.04
BUDGET = float(os.environ["AUTORESEARCH_BUDGET"])
began, step = time.time(), 0
while (passed := time.time() - began) < BUDGET:
    print(f"\rstep {step:05d} ({100 * passed / BUDGET:.1f}%) | loss: {5 / (1 + passed):.6f} | lrm: 1.00 | dt: 100ms | "
          f"tok/sec: 40,960 | at: {time.time():.3f} | epoch: 1 | remaining: {BUDGET - passed:.0f}s    ", end="", flush=True)
    step += 1
    time.sleep(0.1)
print("\n---\nval_bpb:          1.000000\npeak_vram_mb:     100.0")
