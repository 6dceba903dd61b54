"""Has three others train beside it, for as long as one second of a processor each."""
import os
import time

from bigram import Bigram, sit

children = []
for _ in range(3):
    children.append(os.fork())
    if not children[-1]:
        until = time.process_time() + 1.0
        while time.process_time() < until:
            pass
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
sit(Bigram())
