"""The truth: programs, runs, experiments, their moves and streams."""

from experiments.models.experiment import Experiment
from experiments.models.idea import Idea
from experiments.models.move import Move
from experiments.models.program import BriefConflict, BriefVersion, Program
from experiments.models.run import Note, Run
from experiments.models.stream import Chunk

__all__ = ["BriefConflict", "BriefVersion", "Chunk", "Experiment", "Idea", "Move", "Note", "Program", "Run"]
