"""Trains on after the end of its budget, before it calls the exam."""
import time

from bigram import Bigram, sit
from prepare import TIME_BUDGET

model = Bigram()
time.sleep(TIME_BUDGET * 1.1 + 12)  # on a busy machine one start-up may take ten seconds more than another
sit(model)
