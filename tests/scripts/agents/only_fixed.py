"""Changes only what it may not."""
import pathlib

pathlib.Path("prepare.py").write_text("F = 0\n")
