"""The queue of ideas: what is to be tried next, by whom, and which experiment took it up."""

from __future__ import annotations

from django.db import models


class Idea(models.Model):
    """An open idea waits its turn by `position`; a used or dropped one stays as a record."""

    run = models.ForeignKey("Run", models.CASCADE, related_name="ideas")
    text = models.TextField()
    author = models.CharField(max_length=150)  # a person, or "researcher"
    position = models.PositiveIntegerField()  # among the open ones of the run; the lowest is next
    created_at = models.DateTimeField(auto_now_add=True)
    used_by = models.ForeignKey("Experiment", models.SET_NULL, null=True, related_name="ideas")
    dropped_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.text[:60]
