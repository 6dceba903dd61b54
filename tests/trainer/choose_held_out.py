"""Writes trainer/template/held_out.txt: pieces of code that each of some Pythons' standard libraries has unchanged.

    python -m tests.trainer.choose_held_out LIBRARY LIBRARY … > trainer/template/held_out.txt

LIBRARY is a folder such as /usr/lib/python3.11. The list of today was made of 3.11.2, 3.11.7, 3.12.1, 3.13.0, 3.13.5,
3.13.18, 3.14.10 and 3.15.2; 3.11.3, 3.12.7, 3.13.2 and 3.14 of Pyodide, asked afterwards, have every piece of it. Another
list is another text: it gets another number in sources.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.trainer.template_modules import load_template

sources = load_template("sources")

# Modules that no training imports and that every system's package of Python holds. xml is a package of its own on some.
MODULES = {
    "validation": ("modulefinder.py", "pyclbr.py", "wsgiref", "xmlrpc"),
    "secret": (
        "_pyio.py", "filecmp.py", "ftplib.py", "imaplib.py", "mailbox.py", "poplib.py", "sched.py",
        "smtplib.py", "symtable.py", "tabnanny.py", "xml/dom", "xml/sax", "zipapp.py",
    ),
}  # fmt: skip
VALIDATION_BYTES = 160 * 2**10  # 128 KiB are scored; the rest takes the place of pieces that a Python lacks


def pieces_of(library: Path) -> tuple[dict[str, set[str]], set[str]]:
    """The pieces of each held-out module, and those of all others."""
    modules = [module for names in MODULES.values() for module in names]
    held: dict[str, set[str]] = {module: set() for module in modules}
    others: set[str] = set()
    for name, path in sources.files(library, sources.SKIPPED):
        pieces = sources.held_pieces(sources.read(path))
        held.get(sources.owner(name, modules), others).update(pieces)
    return held, others


def choose(libraries: list[Path]) -> dict[str, dict[str, list[str]]]:
    """By side and module, the pieces that all libraries have there and nowhere else."""
    found = [pieces_of(library) for library in libraries]
    elsewhere: set[str] = set().union(*(others for _, others in found))
    chosen: dict[str, dict[str, list[str]]] = {side: {} for side in MODULES}
    for side, modules in MODULES.items():
        left = VALIDATION_BYTES if side == "validation" else 2**30
        common = {module: set.intersection(*(held[module] for held, _ in found)) - elsewhere for module in modules}
        for piece in sources.in_order(set().union(*common.values())):
            left -= len(piece.encode())
            if left >= 0:
                module = next(module for module in modules if piece in common[module])
                chosen[side].setdefault(module, []).append(piece)
        elsewhere |= set().union(*common.values())
    return chosen


def main(folders: list[str]) -> None:
    print("# Side, module, and hashes of the pieces that are held out: see sources.py. By tests/trainer/choose_held_out.py.")
    for side, modules in choose([Path(folder) for folder in folders]).items():
        for module, pieces in sorted(modules.items()):
            print(side, module, *(sources.short_hash(piece) for piece in pieces))


if __name__ == "__main__":
    main(sys.argv[1:])
