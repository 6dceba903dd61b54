"""What a training's processes spend on processors is counted, however they were started and whoever waits for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.launching import make_job, run

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counted by /proc")
SPEND = """
import os, signal, sys, time

def spend(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

"""
WAITED_FOR = "if os.fork():\n    os.wait()\nelse:\n    spend(0.5)\n"
# Who started it has ended: who adopts it waits for it.
ORPHAN = """
end, mine = os.pipe()
if os.fork():
    os.wait()
    os.close(mine)
    os.read(end, 1)  # until it has ended
else:
    os.setsid()
    if os.fork() == 0:
        spend(0.5)
    os._exit(0)
"""
NOBODY_WAITS = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork():
    try:
        os.wait()
    except ChildProcessError:  # it is over
        pass
else:
    spend(1.6)
"""


@pytest.mark.parametrize(
    ("code", "level"),
    [("spend(0.5)", "auto"), (WAITED_FOR, "auto"), (ORPHAN, "auto"), (ORPHAN, "off"), (NOBODY_WAITS, "auto")],
    ids=["own", "child", "orphan", "orphan without a sandbox", "ignored"],
)
def test_all_below_it_is_counted(code: str, level: str, tmp_path: Path) -> None:
    result, log = run(make_job(tmp_path / "job", SPEND + code, sandbox=level))
    assert result.exit_code == 0, log
    assert result.processor_seconds is not None and 0.5 <= result.processor_seconds < 4, result
