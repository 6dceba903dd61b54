"""200 MB of output, then a score."""
import sys

LR = 0.04
line = "x" * 1023 + "\n"
for _ in range(200 * 1024):
    sys.stdout.write(line)
print("---\nval_bpb:          1.000000\npeak_vram_mb:     100.0")
