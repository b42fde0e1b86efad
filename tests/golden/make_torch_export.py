"""Makes the files torch2.4.1_export.* to torch2.8.0_export.* of this folder.

One version of torch at a time, each in an environment of its own:

    Python 3.11   pip install torch==2.4.1 "numpy<2"      (2.5.1, 2.6.0, 2.7.1, 2.8.0)

    python tests/golden/make_torch_export.py

Each .npz holds the inputs x0, x1 and torch's outputs y0, y1 ... of the program in the .pt2 of the
same name, and its state_dict, its names after "state/".
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent
VERSION = torch.__version__.split("+")[0]


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
        self.register_buffer("scale", torch.tensor([1.0, 2.0, -1.0, 0.5]).bfloat16())
        self.register_buffer("shift", torch.arange(12.0)[2:10:2], persistent=False)

    def forward(self, ids, mask):
        out, (h, _) = self.lstm(self.embedding(ids))
        scores = self.head(out[:, -1]) * self.scale.float() + self.shift
        first, rest = torch.split(scores.masked_fill(mask, float("-inf")), [1, 3], -1)
        return rest, first, h, out + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def main():
    torch.manual_seed(3)
    module = Tagger().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.dtype == torch.float32:
                value.copy_(torch.rand(value.shape) + 0.5 if "var" in name else value.normal_() / 2)
    inputs = (torch.randint(0, 11, (3, 4)), torch.rand(3, 4) > 0.5)
    batch = torch.export.Dim("batch", min=2, max=1000)
    dynamic = {"ids": {0: batch}, "mask": {0: batch}}
    program = torch.export.export(module, inputs, dynamic_shapes=dynamic)
    stem = FOLDER / f"torch{VERSION}_export"
    torch.export.save(program, f"{stem}.pt2")
    arrays = {f"x{place}": value.numpy() for place, value in enumerate(inputs)}
    arrays.update((f"y{place}", y.detach().numpy()) for place, y in enumerate(module(*inputs)))
    for name, value in module.state_dict().items():
        widened = value.float() if value.dtype == torch.bfloat16 else value
        arrays[f"state/{name}"] = widened.numpy()
    np.savez_compressed(f"{stem}.npz", **arrays)


if __name__ == "__main__":
    main()
