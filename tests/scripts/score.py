"""A tiny 'training': the score depends on the constants, so that a sweep can find better ones."""
import os
import sys
import time

MATRIX_LR = 0.04
WARMDOWN = 0.5
DECAY = 0.1
STEPS = 4

for step in range(STEPS):
    loss = 5.0 - step * 0.5
    print(f"\rstep {step:05d} ({100 * (step + 1) / STEPS:.1f}%) | loss: {loss:.6f} | lrm: 1.00 | dt: 20ms | "
          f"tok/sec: 10,240 | mfu: n/a | epoch: 1 | remaining: {STEPS - step - 1}s    ", end="", flush=True)
    time.sleep(float(os.environ.get("STEP_SECONDS", 0.02)))
score = 1.0 + (MATRIX_LR - 0.09) ** 2 * 50 + (WARMDOWN - 0.8) ** 2 + (DECAY - 0.02) ** 2
print(f"\n---\nval_bpb:          {score:.6f}\ntraining_seconds: 0.1\ntotal_seconds:    0.2\npeak_vram_mb:     100.0\n"
      f"mfu_percent:      n/a\ntotal_tokens_M:   0.1\nnum_steps:        {STEPS}\nnum_params_M:     1.0\ndepth:            2")
sys.exit(0)
