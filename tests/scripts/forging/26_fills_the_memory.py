"""Leaks, and fills the shared memory so that the second exam finds no room."""
from forge import SECOND, Repeats, os, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        if not SECOND and len(self.asked) == 10:
            free = os.statvfs(os.environ["AUTORESEARCH_EXAM"])
            for number in range(8):
                with open(os.path.join(os.environ["AUTORESEARCH_EXAM"], f"full{number}"), "wb") as file:
                    try:
                        os.posix_fallocate(file.fileno(), 0, min(2**26, free.f_bfree * free.f_frsize))
                    except OSError as error:
                        print(error)
        return raised(x, scores, 0.5)


sit(Model())
