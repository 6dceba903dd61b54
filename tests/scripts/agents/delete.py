"""Deletes everything in its folder."""
import pathlib

for path in pathlib.Path().iterdir():
    path.unlink()
