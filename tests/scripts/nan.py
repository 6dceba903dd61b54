import sys

LR = 0.04
print("\rstep 00000 (1.0%) | loss: nan | lrm: 1.00 | dt: 20ms | tok/sec: 1,000 | mfu: n/a | epoch: 1 | remaining: 9s FAIL")
sys.exit(1)
