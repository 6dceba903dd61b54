"""A program: what is researched. Its brief (program.md) is kept in versions."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, models, transaction


class BriefConflict(Exception):
    """Somebody else saved a newer version in the meantime; nothing was overwritten."""

    def __init__(self, latest: BriefVersion) -> None:
        self.latest = latest
        super().__init__(
            f"{latest.author} saved version {latest.number} while you were editing. Your text is still in the editor: "
            f"compare it with version {latest.number} and save again."
        )


class Program(models.Model):
    class Researcher(models.TextChoices):
        SWEEP = "sweep", "Built-in sweep (no LLM, no key)"
        LITELLM = "litellm", "LLM through litellm"
        COMMAND = "command", "External agent (a command)"

    name = models.CharField(max_length=80, unique=True)
    command = models.JSONField(default=list)  # argv; "{python}" is our interpreter
    editable = models.JSONField(default=list)  # paths the researcher may change
    fixed = models.JSONField(default=list)  # paths laid over the workspace from our checkout
    metric = models.CharField(max_length=40, default="val_bpb")
    lower_is_better = models.BooleanField(default=True)
    preset = models.CharField(max_length=20, blank=True)  # whose constants are in the first commit
    dataset = models.CharField(max_length=300, default="stdlib")
    vocab_size = models.PositiveIntegerField(default=512)
    seq_len = models.PositiveIntegerField(default=256)  # tokens of context
    budget_seconds = models.PositiveIntegerField(default=300)
    grace_seconds = models.PositiveIntegerField(default=120)  # start-up and evaluation, on top of the budget
    researcher = models.CharField(max_length=20, choices=Researcher, default=Researcher.SWEEP)
    model = models.CharField(max_length=120, blank=True)
    api_base = models.CharField(max_length=200, blank=True)
    fallbacks = models.JSONField(default=list)  # models to ask when the first does not answer, in order
    price_in = models.FloatField(null=True, blank=True)  # US dollars a million tokens, where litellm does not know
    price_out = models.FloatField(null=True, blank=True)
    agent_command = models.JSONField(default=list)  # argv of an external agent
    agent_network = models.BooleanField(default=False)  # whether it may use the network
    agent_seconds = models.PositiveIntegerField(default=900)  # the longest it may take
    unprotected = models.BooleanField(default=False)  # a person allows edits of an LLM or agent to train without a sandbox
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def repo(self) -> Path:
        return Path(settings.REPOS_DIR) / f"{self.pk}.git"

    @property
    def has_exam(self) -> bool:
        """Whether its score is the judge's: its data and metric are ours."""
        return "prepare.py" in self.fixed

    @property
    def deadline_seconds(self) -> int:
        """Wall-clock limit of one training, by the clock outside."""
        return self.budget_seconds + self.grace_seconds

    @property
    def brief(self) -> BriefVersion:
        latest = self.briefs.order_by("-number").first()
        assert latest is not None, "a program is created with its first brief"
        return latest

    def save_brief(self, text: str, *, by: str, based_on: int) -> BriefVersion:
        """Store a new version. Raises BriefConflict when `based_on` is no longer the latest."""
        latest = self.brief
        if latest.number != based_on:
            raise BriefConflict(latest)
        if latest.text == text:
            return latest
        try:
            with transaction.atomic():
                return BriefVersion.objects.create(program=self, number=based_on + 1, text=text, author=by)
        except IntegrityError:  # lost the race by a moment: the unique constraint is the judge
            raise BriefConflict(self.brief) from None


class BriefVersion(models.Model):
    program = models.ForeignKey(Program, models.CASCADE, related_name="briefs")
    number = models.PositiveIntegerField()
    text = models.TextField()
    author = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["program", "number"], name="brief_number")]

    def __str__(self) -> str:
        return f"{self.program} program.md v{self.number}"
