import os

LR = 0.04
os.write(1, bytes(range(256)) * 400)
print("\n---\nval_bpb:          1.000000\npeak_vram_mb:     100.0")
