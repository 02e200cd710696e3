"""The fallback for operations that no other rule can slice."""

import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice

# Keras's layers without a rule of their own, by the reason why.
WHOLE_ON_PURPOSE = {
    "its mean is one over all channels, the dropped ones too": ["LayerNormalization"],
    "looks at all channels of a time step": ["Masking"],
    "its inner layers are not visible": [
        "FlaxLayer", "JaxLayer", "Lambda", "Layer", "Pipeline", "RNN", "TFSMLayer",
        "TorchModuleWrapper", "Wrapper",
    ],
    "one step of a recurrent layer, which has the rule": [
        "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells",
    ],
    "its gates are convolutions over time; rare": ["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"],
    "attention over whole vectors, without heads": ["AdditiveAttention", "Attention"],
    "attention whose heads share keys and values": ["GroupQueryAttention"],
    "its vectors are read in two directions": ["ReversibleEmbedding"],
    "divides the kernel by a norm of the whole of it": ["SpectralNormalization"],
    "indices, tokens or signals in: no channels yet": [
        "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup",
        "MelSpectrogram", "STFTSpectrogram", "StringLookup", "TextVectorization",
    ],
    "works on images before the first layer": [
        "AugMix", "AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization",
        "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "RandomBrightness",
        "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop",
        "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
        "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
        "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
        "RandomTranslation", "RandomZoom", "Resizing", "Solarization",
    ],
}  # fmt: skip


class Opaque(Rule):
    """Takes an operation whole: all input channels in, all output channels out.

    It is always correct, but never smaller.
    """

    several_outputs = True

    def needs(self, step, needed):
        return [np.ones(tensor.channels or 1, dtype=bool) for tensor in step.inputs]

    def slice(self, step, inputs, wanted):
        fed = [source.exactly(np.arange(source.size)) for source in inputs]
        return Slice(fed, [Channels.full(tensor.channels or 1) for tensor in step.outputs])


OPAQUE = Opaque()
