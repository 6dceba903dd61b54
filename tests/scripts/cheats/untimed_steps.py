"""Trains on for much longer than its budget before it calls the exam."""
import time

from bigram import Bigram, sit
from prepare import TIME_BUDGET

model = Bigram()
time.sleep(TIME_BUDGET * 0.1 + 4)
sit(model)
