"""Sends every process it can name a signal to stop, and garbage to the judge, when the second process is to be asked."""
import signal

from forge import SECOND, Repeats, os, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        if len(self.asked) == 30:
            for number in (pid for pid in range(2, 100000) if pid != os.getpid()):
                try:
                    os.kill(number, signal.SIGSTOP)
                except OSError:
                    pass
        if SECOND:
            os.write(os.open(os.path.join(os.environ["AUTORESEARCH_EXAM"], "answers"), os.O_WRONLY), b'{"answer": 1e400}\n')
        return raised(x, scores, 0.5)


sit(Model())
