"""An edit that crashes in training; asked to repair it, one that trains."""
import pathlib

prompt, train = pathlib.Path("PROMPT.md").read_text(), pathlib.Path("train.py")
if "A crash to repair" in prompt:
    assert "ValueError: shapes" in prompt
    train.write_text(train.read_text().replace("0.04", "0.05"))
    print("IDEA: repaired")
else:
    train.write_text('raise ValueError("shapes (3,4) and (5,6) do not match")\n' + train.read_text())
    print("IDEA: crash")
