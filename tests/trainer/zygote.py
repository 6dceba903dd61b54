"""Imports torch once and forks a training for each line it is given: a test that needs ten trainings imports it once.

A line is JSON: {"script", "env", "output"}; the reply is the training's exit code, -N for signal N. Of the environment
TEMPLATE names a folder with prepare.py, and LIMIT, where it is there, the bytes of address space.
"""

import gc
import json
import os
import resource
import runpy
import sys
import traceback

import numpy  # noqa: F401
import tiktoken  # noqa: F401
import torch
import torch._dynamo
import torch.nn.attention.flex_attention

torch.set_num_threads(1)
gc.collect()
gc.freeze()  # torch's own objects are no rubbish: no child looks through them, or copies their pages


def train(script: str, env: dict, output: str) -> int:
    """In the child: what `python script` would do, in the script's folder."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(env)
    if "LIMIT" in env:
        resource.setrlimit(resource.RLIMIT_AS, (int(env["LIMIT"]), int(env["LIMIT"])))
    sys.path[:0] = [os.path.dirname(script), env["TEMPLATE"]]
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        os._exit(train(**job))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
