"""Classes of Keras that are known and not supported, with why.

A class that is neither here nor in classes.py is the user's own, or newer than this table. Bases
that no file names (Layer, Wrapper ...) are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REFUSED"]

_IMAGES = "images are not sequences"
_VOLUMES = "volumes are not sequences"
_CHANGED = "images are not preprocessed here"
_TEXT = "text is not tokenised here"
_SPECTRA = "spectra are not computed here"
_FOREIGN = "it is code of another framework, and code in a file is not run"
_KERAS_1 = "a layer of Keras 1 alone"
_HEADS = "its heads share keys, which is not supported"
_CONVOLVED = "its cell is a convolution"
_LENGTH = "its windows depend on how long the sequence is"
_VOCABULARY = "its vocabulary changes as it runs"

REFUSED: Mapping[str, str] = {
    "Lambda": "a Lambda is code, and code in a file is not run",
    "TensorFlowOpLayer": "operations of TensorFlow 2.0 to 2.3 are raw graph nodes",
    **dict.fromkeys(["TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"], _FOREIGN),
    **dict.fromkeys(["GroupedQueryAttention", "GroupQueryAttention"], _HEADS),
    **dict.fromkeys(["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"], _CONVOLVED),
    **dict.fromkeys(["AdaptiveAveragePooling1D", "AdaptiveMaxPooling1D"], _LENGTH),
    "LocallyConnected1D": "its kernels differ from frame to frame",
    "ReversibleEmbedding": "it is called in two directions, once with its table transposed",
    "SpectralNormalization": "it wraps a layer whose kernel it changes as it runs",
    "SyncBatchNormalization": "save it as BatchNormalization, which has the same weights",
    "RandomFourierFeatures": "random features are not supported",
    **dict.fromkeys(["Highway", "MaxoutDense", "ParametricSoftplus", "SReLU"], _KERAS_1),
    # What prepares data
    **dict.fromkeys(["TextVectorization", "StringLookup", "Hashing", "HashedCrossing"], _TEXT),
    "IntegerLookup": "ids are not translated here",
    "Discretization": "features are not binned here",
    "DenseFeatures": "it reads feature columns by their names",
    "Pipeline": "data are not preprocessed here",
    **dict.fromkeys(["DynamicEmbedding", "DynamicLookup"], _VOCABULARY),
    **dict.fromkeys(["MelSpectrogram", "STFTSpectrogram"], _SPECTRA),
    **dict.fromkeys(
        [
            "AugMix", "AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization",
            "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment",
            "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
            "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip",
            "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert",
            "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
            "RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom",
            "Resizing", "Solarization",
        ],
        _CHANGED,
    ),
    # Images and volumes; the names of Keras 1 last
    **dict.fromkeys(
        [
            "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "AveragePooling2D", "Conv2D",
            "Conv2DTranspose", "Cropping2D", "DepthwiseConv2D", "GlobalAveragePooling2D",
            "GlobalMaxPooling2D", "LocallyConnected2D", "MaxPooling2D", "SeparableConv2D",
            "SpatialDropout2D", "UpSampling2D", "ZeroPadding2D",
            "AtrousConvolution2D", "Convolution2D", "Deconvolution2D", "SeparableConvolution2D",
        ],
        _IMAGES,
    ),
    **dict.fromkeys(
        [
            "AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D", "AveragePooling3D", "Conv3D",
            "Conv3DTranspose", "Cropping3D", "GlobalAveragePooling3D", "GlobalMaxPooling3D",
            "MaxPooling3D", "SpatialDropout3D", "UpSampling3D", "ZeroPadding3D", "Convolution3D",
        ],
        _VOLUMES,
    ),
}  # fmt: skip
