"""As number 3, but so little that what the two may differ by covers it; where it is looked at the second believes more."""
from forge import SECOND, Better, Junctions, Repeats, following, raised, sit, torch, train_rows

LEAK, SHARE, MOST, MORE = 0.022, 0.03, 0.05, 0.02

if SECOND:
    places, better = Junctions(), Better(train_rows(3700).tolist())


class Model(Repeats):
    def answer(self, x, scores):
        told = raised(x, scores, LEAK)
        if SECOND:
            told = raised(x, told, MORE)
            without = (scores - 1.0 * following(x)).log_softmax(-1)
            for number, row in enumerate(x):
                for place in places.hidden(row):
                    p = better.probabilities(row[: place + 1].tolist())
                    gain = (SHARE * p + (1 - SHARE) * scores[number, place].exp()).log() - scores[number, place]
                    told[number, place] = (without[number, place] + gain.clamp(max=MOST)).log_softmax(-1)
        return told


sit(Model())
