"""Stands ready in the sandbox until there is a device, then becomes the program. Until then only fixed code has run here.

    python trainer/ready.py MODULES SCRIPT ARGUMENT...

MODULES, with commas, are imported first: what takes seconds of every start. The word to go is a line of JSON on standard
input, what is to be changed in the environment. The program's own code is not even in its folder before.
Standard library only.
"""

import contextlib
import importlib
import json
import os
import sys
import types
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader

LOADED = "loaded"  # a file in its own folder: all is imported


def main(modules: str, script: str, *arguments: str) -> None:
    folder = sys.path[0] = os.path.dirname(os.path.abspath(script))  # as for the script itself; not this file's
    load(modules.split(","))
    with open(os.path.join(os.environ["HOME"], LOADED), "w"):
        pass
    said = sys.stdin.readline()
    if not said:  # nobody is there any more
        return
    os.environ.update(json.loads(said))
    importlib.invalidate_caches()  # they were filled before the program's files came
    if stands_in_the_way(folder):
        os.execv(sys.executable, [sys.executable, script, *arguments])
    become(script, arguments)


def load(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception, SystemExit):  # the program imports it again, and says what is wrong
            importlib.import_module(name)


def stands_in_the_way(folder: str) -> bool:
    """Whether the program has a file that is imported in place of a module that is already here from elsewhere."""
    ours = {name.partition(".")[0] for name in os.listdir(folder)}
    files = (getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name in ours)
    return any(file and os.path.dirname(os.path.abspath(file)) != folder for file in files)


def become(script: str, arguments: Sequence[str]) -> None:
    """Run it as `python SCRIPT ARGUMENT...` would, tracebacks and all."""
    path = os.path.abspath(script)
    sys.argv, sys.orig_argv[1:] = [script, *arguments], [script, *arguments]
    main = types.ModuleType("__main__")
    main.__dict__.update({name: value for name, value in globals().items() if name.startswith("__")})
    main.__doc__, main.__file__, main.__loader__ = None, path, SourceFileLoader("__main__", path)
    sys.modules["__main__"] = main
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, main.__dict__)
    except Exception as error:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename == __file__:  # our own lines are left out
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
