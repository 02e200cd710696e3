"""The classifiers of KerasHub at a tiny size, with random weights.

KerasHub is no dependency of moda_keras: `pip install keras-hub`.
"""

from collections.abc import Callable

import keras
import keras_hub
import numpy as np

hub = keras_hub.models

CLASSES = 5
SIDE, LENGTH, VOCABULARY = 32, 12, 40
IMAGE = (SIDE, SIDE, 3)
TRANSFORMER = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}


def _image(kind: type, backbone: keras.Model, **kwargs) -> keras.Model:
    return kind(backbone=backbone, num_classes=CLASSES, **kwargs)


def _resnet(block_type: str, **kwargs) -> keras.Model:
    settings = {
        "input_conv_filters": [16],
        "input_conv_kernel_sizes": [3],
        "stackwise_num_filters": [64, 32],  # KerasHub wants 64 first
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_strides": [1, 2],
        "image_shape": IMAGE,
    }
    backbone = hub.ResNetBackbone(block_type=block_type, **settings | kwargs)
    return _image(hub.ResNetImageClassifier, backbone)


def _mobilenet() -> keras.Model:
    backbone = hub.MobileNetBackbone(
        stackwise_expansion=[[12, 16], [24, 24]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [12, 12]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=16,
        input_activation="hard_swish",
        output_activation="hard_swish",
        input_num_filters=8,
        image_shape=IMAGE,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=16,
    )
    return _image(hub.MobileNetImageClassifier, backbone, num_features=16)


def _mobilenetv5() -> keras.Model:
    backbone = hub.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "mqa"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["gelu", "gelu"]],
        stackwise_exp_ratios=[[2.0], [3.0, 3.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],  # those above zero fail in KerasHub
        stackwise_dw_kernel_sizes=[[0], [5, 3]],
        stackwise_dw_start_kernel_sizes=[[0], [3, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, 2]],
        stackwise_key_dims=[[0], [0, 8]],
        stackwise_value_dims=[[0], [0, 8]],
        stackwise_kv_strides=[[0], [0, 1]],
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
        image_shape=IMAGE,
    )
    return _image(hub.MobileNetV5ImageClassifier, backbone, head_hidden_size=16)


def _efficientnet() -> keras.Model:
    backbone = hub.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3, 3, 3],
        stackwise_num_repeats=[1, 2, 1],
        stackwise_input_filters=[8, 8, 16],
        stackwise_output_filters=[8, 16, 16],
        stackwise_expansion_ratios=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.0, 0.25, 0.25],
        stackwise_strides=[1, 2, 1],
        stackwise_block_types=["fused", "unfused", "v1"],
        stackwise_force_input_filters=[0] * 3,
        stackwise_nores_option=[False] * 3,
        num_features=24,
        input_shape=IMAGE,
    )
    return _image(hub.EfficientNetImageClassifier, backbone)


def _cspnet(block_type: str, stage_type: str, **kwargs) -> keras.Model:
    backbone = hub.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[16, 24],
        block_type=block_type,
        stage_type=stage_type,
        image_shape=IMAGE,
        **kwargs,
    )
    return _image(hub.CSPNetImageClassifier, backbone)


def _hgnetv2() -> keras.Model:
    backbone = hub.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[(8, 8, 16, 1, 2, 3), (16, 8, 24, 1, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, True],
        image_shape=IMAGE,
    )
    return _image(hub.HGNetV2ImageClassifier, backbone, preprocessor=None)


def _mit() -> keras.Model:
    backbone = hub.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[8, 16],
        image_shape=IMAGE,
    )
    return _image(hub.MiTImageClassifier, backbone)


def _swin() -> keras.Model:
    backbone = hub.SwinTransformerBackbone(
        image_shape=IMAGE, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4, patch_size=2
    )
    return _image(hub.SwinTransformerImageClassifier, backbone)


def _vit() -> keras.Model:
    sizes = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24}
    return _image(hub.ViTImageClassifier, hub.ViTBackbone(image_shape=IMAGE, **sizes))


IMAGE_CLASSIFIERS: dict[str, Callable[[], keras.Model]] = {
    "CSPNet": lambda: _cspnet(
        "dark_block",
        "csp",
        block_ratio=[1.0, 0.5],
        bottle_ratio=[0.5, 1.0],
        expand_ratio=[2.0, 1.0],
    ),
    "CSPNet, cross stage 3": lambda: _cspnet("bottleneck_block", "cs3", block_ratio=[0.5]),
    "DeiT": lambda: _image(
        hub.DeiTImageClassifier, hub.DeiTBackbone(image_shape=IMAGE, patch_size=8, **TRANSFORMER)
    ),
    "DenseNet": lambda: _image(
        hub.DenseNetImageClassifier,
        hub.DenseNetBackbone(stackwise_num_repeats=[2, 2], growth_rate=8, image_shape=IMAGE),
    ),
    "EfficientNet": _efficientnet,
    "HGNetV2": _hgnetv2,
    "MiT": _mit,
    "MobileNet": _mobilenet,
    "MobileNetV5": _mobilenetv5,
    "ResNet": lambda: _resnet("bottleneck_block"),
    "ResNet v2": lambda: _resnet("basic_block", use_pre_activation=True, input_conv_filters=[64]),
    "ResNet vd": lambda: _resnet(
        "basic_block_vd",
        input_conv_filters=[8, 8, 16],
        input_conv_kernel_sizes=[3, 3, 3],
    ),
    "SwinTransformer": _swin,
    "VGG": lambda: _image(
        hub.VGGImageClassifier,
        hub.VGGBackbone(
            stackwise_num_repeats=[1, 2], stackwise_num_filters=[8, 12], image_shape=IMAGE
        ),
        pooling="flatten",
        pooling_hidden_dim=24,
    ),
    "ViT": _vit,
    "Xception": lambda: _image(
        hub.XceptionImageClassifier,
        hub.XceptionBackbone(
            stackwise_conv_filters=[[8, 12], [16, 16], [24, 24]],
            stackwise_pooling=[True, True, False],
            image_shape=IMAGE,
        ),
    ),
}


def _text(kind: type, backbone: type, settings: dict = TRANSFORMER, **kwargs) -> keras.Model:
    made = backbone(vocabulary_size=VOCABULARY, **settings | kwargs)
    return kind(backbone=made, num_classes=CLASSES)


_LENGTHS = {"max_sequence_length": LENGTH}
_WITHOUT_HEADS = {name: size for name, size in TRANSFORMER.items() if name != "num_heads"}

TEXT_CLASSIFIERS: dict[str, Callable[[], keras.Model]] = {
    "ALBERT": lambda: _text(
        hub.AlbertTextClassifier, hub.AlbertBackbone, embedding_dim=8, **_LENGTHS
    ),
    "BERT": lambda: _text(hub.BertTextClassifier, hub.BertBackbone, **_LENGTHS),
    "DeBERTaV3": lambda: _text(
        hub.DebertaV3TextClassifier, hub.DebertaV3Backbone, bucket_size=4, **_LENGTHS
    ),
    "DistilBERT": lambda: _text(hub.DistilBertTextClassifier, hub.DistilBertBackbone, **_LENGTHS),
    "ESM": lambda: _text(hub.ESMProteinClassifier, hub.ESMBackbone, **_LENGTHS),
    "FNet": lambda: _text(
        hub.FNetTextClassifier, hub.FNetBackbone, settings=_WITHOUT_HEADS, **_LENGTHS
    ),
    "RoBERTa": lambda: _text(hub.RobertaTextClassifier, hub.RobertaBackbone, **_LENGTHS),
    "RoFormerV2": lambda: _text(hub.RoformerV2TextClassifier, hub.RoformerV2Backbone, head_size=8),
    "XLM-RoBERTa": lambda: _text(hub.XLMRobertaTextClassifier, hub.XLMRobertaBackbone, **_LENGTHS),
}
CLASSIFIERS = IMAGE_CLASSIFIERS | TEXT_CLASSIFIERS
_BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768}
# Of the sizes that are in use.
BASE_MODELS = {
    "ViT-B/16": lambda: hub.ViTImageClassifier(
        backbone=hub.ViTBackbone(image_shape=(224, 224, 3), patch_size=16, mlp_dim=3072, **_BASE),
        num_classes=CLASSES,
    ),
    "BERT base": lambda: hub.BertTextClassifier(
        backbone=hub.BertBackbone(
            vocabulary_size=30_522, max_sequence_length=128, intermediate_dim=3072, **_BASE
        ),
        num_classes=CLASSES,
    ),
}


def data_for(model: keras.Model, batch: int = 8) -> np.ndarray | dict[str, np.ndarray]:
    """Random images, or token ids with a padding of different length in each text."""
    random = np.random.default_rng(2)
    if not isinstance(model.input, dict):
        coarse = random.normal(size=(batch, 4, 4, 3)) * random.uniform(0.2, 2, (batch, 1, 1, 3))
        fine = random.normal(0, 0.3, (batch, *IMAGE))
        repeated = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
        return (repeated + fine).astype("float32")
    lengths = random.integers(LENGTH // 2, LENGTH + 1, batch)
    is_text = np.arange(LENGTH) < lengths[:, None]
    made = {
        "token_ids": random.integers(1, VOCABULARY, (batch, LENGTH)) * is_text,
        "padding_mask": is_text,
        "segment_ids": random.integers(0, 2, (batch, LENGTH)) * is_text,
    }
    return {name: made[name].astype("int32") for name in model.input}
