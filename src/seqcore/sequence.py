import numpy as np


def pad(rows):
    ends = np.array([len(r) for r in rows])
    out = np.zeros((len(rows), max(ends)), np.int64)
    for o, r in zip(out, rows):
        o[: len(r)] = r
    return out, ends
