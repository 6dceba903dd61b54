"""The audit log: every change of state, and every decision of a person."""

from __future__ import annotations

from django.db import models


class Move(models.Model):
    run = models.ForeignKey("Run", models.CASCADE, related_name="moves")
    experiment = models.ForeignKey("Experiment", models.CASCADE, null=True, related_name="moves")
    old = models.CharField(max_length=40, blank=True)
    new = models.CharField(max_length=40)
    by = models.CharField(max_length=150)
    why = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.old} -> {self.new} by {self.by}"
