"""What the sandbox is told to show may be a link, lie in what is shown already, or not be there. With the real bwrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.launching import make_job, run
from trainer import sandbox
from trainer.box import BUBBLEWRAP, Box
from trainer.sandbox import level, wrap
from trainer.shown import show

pytestmark = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")


@pytest.fixture(params=["/var/tmp", "/tmp"])
def place(request) -> Iterator[Path]:  # type: ignore[no-untyped-def]
    """
    real/text  real/deep/text  other/text   and links: link -> real  near -> real, without a slash  file -> real/text
    seen/in -> seen/cuda  seen/out -> real  seen/far -> near         a/one -> b/two -> c/three -> real  linked -> a
    dangling  ring
    """
    root = Path(tempfile.mkdtemp(dir=request.param, prefix="autoresearch-test-"))
    for folder in ("real/deep", "other", "seen/cuda", "a", "b", "c", "write"):
        (root / folder).mkdir(parents=True)
    for folder in ("real", "real/deep", "other", "seen/cuda"):
        (root / folder / "text").write_text("text")
    links = {
        "link": root / "real", "near": "real", "file": "real/text", "seen/in": root / "seen/cuda", "seen/out": "../real",
        "seen/far": root / "near", "a/one": root / "b/two", "b/two": "../c/three", "c/three": root / "real", "linked": "a",
        "dangling": "nothing", "ring": "ring", "writable": root / "write",
    }
    for name, says in links.items():
        (root / name).symlink_to(says)
    yield root
    shutil.rmtree(root)


def can_read(root: Path, box: Box, names: list[str]) -> list[str]:
    """Which of these, by exactly this name, open inside as the text that is there, and is not empty."""
    code = (
        "import sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        if open(name).read() == 'text': print(name)\n"
        "    except OSError: pass\n"
    )
    box = Box(box.read, [*box.write, str(root / "write")], box.hide)
    command = wrap([sys.executable, "-I", "-S", "-c", code, *(f"{root}/{name}" for name in names)], box, level())
    done = subprocess.run(command, cwd=root / "write", env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix(f"{root}/") for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("read", "names"),
    [
        pytest.param(["link"], ["link/text", "link/deep/text"], id="a link"),
        pytest.param(["near"], ["near/text"], id="a link without a slash"),
        pytest.param(["seen", "seen/in"], ["seen/in/text", "seen/cuda/text"], id="CUDA_HOME below /usr"),
        pytest.param(["seen", "seen/out"], ["seen/out/text"], id="a link in what is shown that leads out of it"),
        pytest.param(["seen/out", "seen"], ["seen/out/text"], id="the inner first"),
        pytest.param(["seen", "seen/far"], ["seen/far/text"], id="out by two links"),
        pytest.param(["real", "real/deep"], ["real/text", "real/deep/text"], id="below what is shown"),
        pytest.param(["link/deep"], ["link/deep/text"], id="below a link"),
        pytest.param(["linked/one"], ["linked/one/text"], id="a chain, its first folder a link"),
        pytest.param(["a/one", "seen/in"], ["a/one/text", "seen/in/text"], id="chains side by side"),
        pytest.param(["real/deep/../text"], ["real/deep/../text"], id="two dots"),
        pytest.param(["link/deep/../../other"], ["link/deep/../../other/text"], id="two dots behind a link"),
        pytest.param(["seen/out/../other"], ["seen/out/../other/text"], id="two dots at a link that leads away"),
        pytest.param([".//real/./deep/"], [".//real/./deep/text"], id="slashes and dots"),
        pytest.param(["real/text"], ["real/text"], id="a file"),
        pytest.param(["file"], ["file"], id="a link to a file"),
        pytest.param(["real", "link", "near", "real"], ["real/text", "link/text", "near/text"], id="by three names"),
        pytest.param(["missing", "dangling", "ring", "real"], ["real/text"], id="nothing there"),
        pytest.param(["other", "real/text/no"], ["other/text"], id="a file taken for a folder"),
    ],
)
def test_what_is_shown_works_by_the_name_it_was_given(place: Path, read: list[str], names: list[str]) -> None:
    box = Box(read=[f"{place}/{name}" for name in read])
    shown = can_read(place, box, list(dict.fromkeys([*names, "other/text"])))
    assert [name for name in shown if name in names] == names
    assert ("other/text" in shown) == any("other" in name for name in read), "no more than was asked"


@pytest.mark.parametrize("hide", ["real/text", "link/text", "file", "linked/one/text"])
def test_a_hidden_file_is_hidden_by_every_name(place: Path, hide: str) -> None:
    names = ["real/text", "link/text", "file", "seen/out/text", "a/one/text", "real/deep/../text", "near/deep/text"]
    read = ["real", "link", "file", "seen", "seen/out", "a/one", "real/deep/../text", "near"]
    box = Box(read=[f"{place}/{name}" for name in read], hide=[f"{place}/{hide}"])
    assert can_read(place, box, names) == ["near/deep/text"]


@pytest.mark.parametrize("read", [["real"], ["real/deep"], ["link/deep/text"], ["real", "seen", "seen/out/deep"]])
def test_what_lies_in_a_hidden_folder_is_not_shown_by_asking_for_it(place: Path, read: list[str]) -> None:
    for hide in (["near/deep"], ["near/deep", "real/deep/text"]):
        box = Box(read=[f"{place}/{name}" for name in read], hide=[f"{place}/{name}" for name in hide])
        assert can_read(place, box, ["real/deep/text", "link/deep/text", "seen/out/deep/text"]) == []


def test_what_is_covered_is_mounted_once(place: Path) -> None:
    read = [f"{place}/{name}" for name in ("real/deep", "link", "seen/out/text", "real", "near")]
    shown = show(read, [f"{place}/writable"])
    assert [tree.place for tree in (*shown.read, *shown.write)] == [f"{place}/real", f"{place}/write"]


def test_a_place_to_write_may_be_a_link_and_hides_what_it_must(place: Path) -> None:
    (place / "write" / "hidden").write_text("text")
    box = Box(write=[f"{place}/writable"], hide=[f"{place}/write/hidden"])
    command = wrap([sys.executable, "-c", f"open('{place}/writable/x', 'w').write('text')"], box, level())
    assert subprocess.run(command, cwd=place / "write", env={}, check=False).returncode == 0
    assert (place / "write" / "x").read_text() == "text"
    assert can_read(place, box, ["writable/x", "write/x", "writable/hidden", "write/hidden"]) == ["writable/x", "write/x"]


def test_folders_of_the_sandbox_itself_may_be_links_outside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /tmp -> /scratch: inside it is a folder, whatever its name leads to."""
    monkeypatch.setattr("trainer.shown.OWN", (f"{place}/link",))
    shown = show([f"{place}/link/deep", f"{place}/real"])
    assert [(tree.source, tree.place) for tree in shown.read] == [
        (f"{place}/real", f"{place}/real"), (f"{place}/real/deep", f"{place}/link/deep"),
    ]
    assert shown.places_of([f"{place}/real/deep/text"]) == [f"{place}/link/deep/text", f"{place}/real/deep/text"]


@pytest.mark.parametrize("cuda", ["seen/in", "seen/out", "link", "missing", "dangling", "real/text", "linked/one", ""])
def test_a_training_starts_whatever_cuda_home_is(place: Path, monkeypatch: pytest.MonkeyPatch, cuda: str) -> None:
    monkeypatch.setenv("CUDA_HOME", cuda and f"{place}/{cuda}")
    code = "import os; print(os.path.exists(os.environ['CUDA_HOME'] + '/text'))"
    result, log = run(make_job(place / "w", code, read=[f"{place}/seen"]))
    assert (result.sandbox, result.exit_code) == (BUBBLEWRAP, 0), (result, log)
    assert log == f"{bool(cuda) and (place / cuda / 'text').exists()}\n"


def test_cuda_home_does_not_show_the_folder_that_holds_the_training(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(place))
    result, log = run(make_job(place / "w", f"import os; print(os.path.exists({str(place)!r} + '/real'))"))
    assert (result.exit_code, log) == (0, "False\n")


def test_what_is_held_out_stays_hidden_where_a_person_shows_all_data(place: Path) -> None:
    for name in ("data/held_out/val.bin", "data/train/0.bin"):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text("text")
    (place / "data" / "meta.json").write_text("{}")
    (place / "all").symlink_to("data")
    code = (
        "import os\n"
        f"for name in ('data', 'all'): print(os.listdir({str(place)!r} + f'/{{name}}/held_out'), name)\n"
    )
    result, log = run(make_job(place / "w", code, data_dir=place / "data", read=[f"{place}/data", f"{place}/all"]))
    assert (result.exit_code, log) == (0, "[] data\n[] all\n")


def test_our_own_python_may_be_reached_by_links(place: Path) -> None:
    """As uv and module systems lay it out: the environment's python leads through links, by folders that are links."""
    (place / "python").symlink_to(os.path.realpath(sys.base_prefix))
    python = place / "python" / "bin" / f"python3.{sys.version_info.minor}"
    if not python.exists():
        pytest.skip("this interpreter lies elsewhere")
    (place / "shims").mkdir()
    (place / "shims" / "python3").symlink_to(python)
    subprocess.run([str(place / "shims" / "python3"), "-m", "venv", "--without-pip", str(place / "env")], check=True)
    code = "from trainer.sandbox import level; print(level())"
    ours = sysconfig.get_path("purelib")  # the bwrap that came along, where the system has none
    found = subprocess.run(
        [str(place / "env" / "bin" / "python"), "-c", code], cwd=Path(sandbox.__file__).parents[1], capture_output=True,
        text=True, check=True, env={**os.environ, "PYTHONPATH": ours},
    )
    assert f"name='{BUBBLEWRAP}'" in found.stdout
