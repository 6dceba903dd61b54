"""Leaves a process behind in a session of its own."""
import subprocess
import sys

LR = 0.04
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
print("---\nval_bpb:          1.000000\npeak_vram_mb:     100.0")
