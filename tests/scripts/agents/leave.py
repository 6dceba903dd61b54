"""Leaves train.py as something else: the first argument says what."""
import os
import pathlib
import sys

train = pathlib.Path("train.py")
match sys.argv[1]:
    case "binary":
        train.write_bytes(bytes(range(256)) * 10)
    case "nul":
        train.write_text("X = 1\n\0\n")
    case "large":
        train.write_text("X = 1\n" * 900_000)
    case "invalid":
        train.write_text(train.read_text() + "def broken(:\n")
    case "link":
        train.unlink()
        train.symlink_to(sys.argv[2])
    case "folder":
        train.unlink()
        train.mkdir()
    case "pipe":
        train.unlink()
        os.mkfifo(train)
    case "linked-folder":
        pathlib.Path("src/model.py").unlink()
        pathlib.Path("src").rmdir()
        pathlib.Path("src").symlink_to(os.path.dirname(sys.argv[2]))
    case "comment":
        train.write_text(train.read_text() + "# a comment\n")
    case "key":
        train.write_text(train.read_text() + f"KEY = {os.environ['AGENT_TEST_KEY']!r}\n")
    case "windows":
        train.write_text(train.read_text().replace("0.04", "0.08"), newline="\r\n")
    case "deep":
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
        os.chmod("..", 0)
