"""A landscape with a local optimum: near MATRIX_LR 0.08 every other change is worse. From 0.04, WINDOW 2 leads far lower."""

MATRIX_LR = 0.04
WINDOW = 1
DROPOUT = 0.0
CLIP = 1.0

score = 1.0 + 100 * (MATRIX_LR - 0.08) ** 2 + DROPOUT + 0.5 * abs(CLIP - 1.0)
if WINDOW == 2:
    score = 0.7 + 20 * abs(MATRIX_LR - 0.04) + DROPOUT + 0.5 * abs(CLIP - 1.0)
print(f"---\nval_bpb:          {score:.6f}\npeak_vram_mb:     100.0")
