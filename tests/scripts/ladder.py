"""Every change is a gain: the score falls with each constant that is no longer as at the start."""

MATRIX_LR = 0.04

# far apart, so that one change can be taken back without the others


EMBEDDING_LR = 0.3

#


SCALAR_LR = 0.5

#


HEAD_LR = 0.01

#


BIAS_LR = 0.02
start = {"MATRIX_LR": 0.04, "EMBEDDING_LR": 0.3, "SCALAR_LR": 0.5, "HEAD_LR": 0.01, "BIAS_LR": 0.02}
distance = sum(abs(globals()[name] / value - 1) for name, value in start.items())
print(f"---\nval_bpb:          {40 - distance:.6f}\npeak_vram_mb:     100.0")
