"""The first time invalid Python; asked again with the error, a valid edit."""
import pathlib

prompt, train = pathlib.Path("PROMPT.md").read_text(), pathlib.Path("train.py")
if "Your last edit could not be used" in prompt:
    assert "is no Python after the edit" in prompt and "+def broken(:" in prompt and "broken" not in train.read_text()
    train.write_text(train.read_text().replace("0.04", "0.08"))
    print("IDEA: mended")
else:
    train.write_text(train.read_text() + "def broken(:\n")
