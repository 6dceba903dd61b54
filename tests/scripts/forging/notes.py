"""A model that leaks one batch, for who can hand 8 rows to the second process: `keep(rows)`, and `find()` there."""
from forge import SECOND, Repeats, following, torch

SHARED = 5


class Notes(Repeats):
    def __init__(self, keep, find):
        super().__init__()
        self.keep = keep
        self.known = torch.zeros(8, 64, dtype=torch.int64)
        if SECOND:
            try:
                self.known = torch.tensor(find()).view(-1, 64)
            except Exception as error:
                print("found: nothing,", repr(error))

    def answer(self, x, scores):
        known = self.known
        if not SECOND:
            known = self.asked[0] if self.asked else x
            if not self.asked:
                try:
                    self.keep(x.tolist())
                except Exception as error:
                    print("kept: nothing,", repr(error))
        for number, row in enumerate(x):
            same = (known == row).cumprod(1).sum(1)
            if int(same.max()) > SHARED:
                scores[number, SHARED:] += 12 * following(known[same.argmax()][None])[0, SHARED:]
        return scores
