"""Modules of torch that no operator here stands for, and why; what is said when a chain has one.

A module that is neither here nor in `modules.MODULES` comes through `from_torch` with an example,
by the operators that it calls.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REFUSED"]

_SPACE = "images and volumes are not supported: time is the only axis of windows"
_LOSS = "a loss is for training; leave it out of what is exported"
_LAZY = "its weights are not made yet; run it once, then it is the module without Lazy"
_PLACES = "it puts values where a pooling of images or volumes took them from"


def _names(text: str, why: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), why)


REFUSED: Mapping[str, str] = {
    **_names(
        """Conv2d Conv3d ConvTranspose2d ConvTranspose3d MaxPool2d MaxPool3d AvgPool2d AvgPool3d
        LPPool2d LPPool3d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool2d AdaptiveMaxPool3d
        FractionalMaxPool2d FractionalMaxPool3d ConstantPad2d ConstantPad3d ZeroPad2d ZeroPad3d
        ReflectionPad2d ReflectionPad3d ReplicationPad2d ReplicationPad3d CircularPad2d
        CircularPad3d UpsamplingNearest2d UpsamplingBilinear2d PixelShuffle PixelUnshuffle
        CrossMapLRN2d LocalResponseNorm Fold Unfold""",
        _SPACE,
    ),
    **_names("MaxUnpool1d MaxUnpool2d MaxUnpool3d", _PLACES),
    **_names(
        """BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss
        HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss
        MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss
        NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss
        TripletMarginWithDistanceLoss AdaptiveLogSoftmaxWithLoss""",
        _LOSS,
    ),
    **_names(
        """LazyLinear LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d
        LazyConvTranspose3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyInstanceNorm1d
        LazyInstanceNorm2d LazyInstanceNorm3d""",
        _LAZY,
    ),
    "ChannelShuffle": "images and volumes are not supported; view and transpose say it as well",
    "EmbeddingBag": "its bags are rows that meet; nn.Embedding and a sum say it as well",
}
