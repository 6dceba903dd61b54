"""Turns one constant, says why, and prints what it cost."""
import pathlib
import sys

prompt = sys.stdin.read()
assert "Edit in place: train.py" in prompt and prompt == pathlib.Path("PROMPT.md").read_text()
print("looking at", ", ".join(sorted(path.name for path in pathlib.Path().iterdir())), flush=True)
train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.05"))
print("IDEA: a higher matrix rate")
print("HYPOTHESIS: it is still falling at the end")
print("TOKENS_IN=1200 TOKENS_OUT=340 COST_USD=0.0125")
