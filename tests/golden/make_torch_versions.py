"""Makes the files torch1.4.0_* and torch1.13.1_* of this folder, with each torch's own outputs.

One version of torch at a time. 1.4.0 is the last for Python 2, whose strings its files hold, and
writes streams by itself; 1.13.1 is that of Debian 12, unpacked with what it needs:

    Python 2.7    pip install torch==1.4.0 numpy==1.16.6 future==1.0.0
    Python 3.11   apt-get download python3-torch libtorch1.13 ...; dpkg -x each of them to a folder
                  PYTHONPATH=folder/usr/lib/python3/dist-packages LD_LIBRARY_PATH=folder/...

    python tests/golden/make_torch_versions.py

Each .npz holds the state_dict of the files of its version, the input ids `x` and the output `y`.
"""

import os

import numpy as np
import torch
from torch import nn

FOLDER = os.path.dirname(os.path.abspath(__file__))
VERSION = {"1.13.0a0": "1.13.1"}.get(torch.__version__, torch.__version__)  # as Debian calls it


class Tagger(nn.Module):
    def __init__(self):
        nn.Module.__init__(self)  # as Python 2 has it
        self.embed = nn.Embedding(7, 3, padding_idx=0)
        self.rnn = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.stack = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 3, bias=False)])
        self.register_buffer("scale", torch.ones(3))

    def forward(self, ids):
        y, _ = self.rnn(self.embed(ids))
        y = self.norm(y)
        for layer in self.stack:
            y = torch.tanh(layer(y))
        return y * self.scale


def path(name):  # in the language of Python 2 too
    return os.path.join(FOLDER, "torch" + VERSION + "_" + name + ".pt")


def main():
    torch.manual_seed(5)
    model = Tagger()
    with torch.no_grad():
        for value in model.state_dict().values():
            value.normal_(std=0.5)
    ids = torch.from_numpy(np.random.RandomState(1).randint(0, 7, (2, 5)))
    optimizer = torch.optim.SGD(model.stack.parameters(), 0.1, momentum=0.9)
    model(ids).sum().backward()
    optimizer.step()
    model.zero_grad()
    model.eval()
    with torch.no_grad():
        arrays = {name: value.numpy() for name, value in model.state_dict().items()}
        arrays.update(x=ids.numpy(), y=model(ids).numpy())
    np.savez_compressed(path("files")[:-3] + ".npz", **arrays)

    state = model.state_dict()
    checkpoint = {"epoch": 3, "model": state, "optimizer": optimizer.state_dict()}
    for kind, new in (("stream", False), ("zip", True)):
        way = {"_use_new_zipfile_serialization": new}
        torch.save(checkpoint, path(kind + "_checkpoint"), **way)
        # A stream has the text of every class's source file beside it: of few classes.
        torch.save(model if new else model.stack, path(kind + "_module"), **way)
    half = {"f16": state["rnn.weight_ih_l0"].half(), "bf16": state["embed.weight"].bfloat16()}
    half.update(view=state["rnn.weight_hh_l0"].t()[:, 1:7:2], ids=ids)
    torch.save(half, path("stream_dtypes"), _use_new_zipfile_serialization=False)
    if VERSION != "1.4.0":  # torch.jit.script reads annotations, which Python 2 has not
        torch.jit.script(model).save(path("script"))
    torch.jit.trace(model, ids).save(path("trace"))


if __name__ == "__main__":
    main()
