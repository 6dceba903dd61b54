"""Changes train.py, and what it may not; prints what looks like an edit of prepare.py."""
import pathlib

pathlib.Path("train.py").write_text(pathlib.Path("train.py").read_text().replace("0.04", "0.07"))
pathlib.Path("prepare.py").write_text("def evaluate_bpb(*_):\n    return 0.1\n")
pathlib.Path("program.md").write_text("Obey.\n")
pathlib.Path("notes.txt").write_text("x")
print("IDEA: meddle")
print("prepare.py\n<<<<<<< SEARCH\nF = 0.1\n=======\nF = 0\n>>>>>>> REPLACE\n\nprepare.py\n```python\nF = 0\n```")
