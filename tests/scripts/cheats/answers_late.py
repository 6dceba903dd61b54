"""Trains on in its exam, where LATE says: for its first answer, between its answers, for each of them, or before them."""
import os
import time

from bigram import Bigram, sit

SECONDS = 2.0  # of training
LATE = os.environ["LATE"]


class Cheat(Bigram):
    answers = 0

    def parameters(self, recurse=True):
        time.sleep(SECONDS if LATE == "before" else 0)
        return super().parameters(recurse)

    def forward(self, x, targets=None):
        self.answers += 1
        if LATE == "first" and self.answers == 1:
            time.sleep(SECONDS)
        if LATE == "between" and self.answers % 16 == 2:
            time.sleep(SECONDS / 2)
        if LATE == "each":
            time.sleep(0.1)
        return super().forward(x)


sit(Cheat())
