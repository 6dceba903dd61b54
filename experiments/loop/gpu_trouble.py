"""Whether a training failed by its GPU: then no idea is to blame. It is tried once more; then the run waits for a person.

NVML says whether the card is still there. What a log says of CUDA is only a hint, as edited code wrote it: our own code
tries the card, in the sandbox, with a training's environment.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from django.conf import settings

from experiments.loop import alone, devices, training
from experiments.loop.errors import NotReady
from experiments.loop.lease import heartbeat
from experiments.models import Experiment
from experiments.states import Failure
from trainer import gpus, launch
from trainer.output import last_words

TRY_SECONDS = 60.0
UNDECIDED = {Failure.CRASH, Failure.TIMEOUT, Failure.NO_SCORE}
OF_THE_CARD = re.compile(r"uncorrectable (?:ECC|NVLink) error|GPU is lost|fallen off the bus", re.IGNORECASE)
HINT = re.compile(r"\b(?:CUDA|HIP|ROCm)\b.{0,60}\b(?:error|driver|device|GPU)|cudaGet|NVIDIA driver|prepare: torch .* GPU")


def check_kind(experiment: Experiment) -> None:
    """A run that trained on a GPU does not go on without one. Raises NotReady."""
    if any(map(gpus.is_gpu, devices.names())):
        return
    trained = experiment.run.experiments.exclude(hardware={}).order_by("training_at").last()
    if trained is None or not gpus.is_gpu(trained.device):
        return
    had, now, why = trained.hardware["device"], " or ".join(devices.names()), gpus.trouble()
    devices.names.cache_clear()  # looked for anew after a resume
    raise NotReady(
        "device",
        f"This run trained on {had}, and now no GPU is found{f' (its driver says: {why})' if why else ''}. Scores on {now} "
        "could not be compared with its own. See `nvidia-smi`, then resume; or start a new run.",
    )


def found(experiment: Experiment, failure: Failure, log: str) -> str:
    """What is wrong with the GPU on which it failed, with the next step; "" where nothing is, and the code is to blame."""
    device = experiment.device
    if failure not in UNDECIDED or not gpus.is_gpu(device):
        return ""
    if gpus.missing([device]):
        return f"While #{experiment.number} trained, its card was lost: {devices.are_missing([device])}."
    end = log[-8000:]
    told = OF_THE_CARD.search(end)
    if told and not experiment.losses:  # once without asking: the log may say so whatever the card does
        todo = "See `nvidia-smi -q` and the system's log; a restart of the machine resets the card"
        return f"{gpus.called(device)} failed while #{experiment.number} trained: {told[0]}. {todo}."
    if experiment.run.program.has_exam and (told or HINT.search(end)):
        with heartbeat(experiment) as lease:
            said = _try(device)
            lease.check()
            return said
    return ""


def takes_back(experiment: Experiment, failure: Failure, log: str) -> bool:
    """Back into its place, where the GPU is to blame: the next try may get another card, or find this one well.

    Raises NotReady the second time.
    """
    words = found(experiment, failure, log)
    if words:
        if experiment.losses:
            raise NotReady("device", words)
        experiment.requeue(by="loop", why=words[:500], losses=1)
        training.remove(experiment)
    return bool(words)


def _try(device: str) -> str:
    """Why our own code cannot use it; "" where it can, or where that could not be tried."""
    with alone.scratch() as folder:
        job = launch.Job(
            folder=folder, export=lambda _: None, command=["{python}", "prepare.py", "--try"],
            data=launch.Data(Path(settings.DATA_DIR)), data_dir=None, device=device, device_lock=devices.lock_path(device),
            budget_seconds=1, deadline_seconds=TRY_SECONDS, fixed=launch.fixed_files(["prepare.py"]),
            sandbox=settings.SANDBOX, read=settings.SANDBOX_READ,
        )  # fmt: skip
        try:
            launch.start(job).wait(TRY_SECONDS + 10)
            ended = alone.conclude(job)
        except (launch.LaunchError, subprocess.TimeoutExpired):  # no sandbox; or another training has the card, and trains
            return ""
    if ended.result.ended == "timeout":
        return f"{gpus.called(device)} did not answer within {TRY_SECONDS:.0f} s. A restart of the machine resets it."
    said = last_words(ended.log)
    return said.removeprefix("prepare: ") if ended.result.exit_code and said.startswith("prepare: ") else ""
