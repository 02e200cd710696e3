"""Composed models leave Keras in every format that it offers here, with equal outputs."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import BACKEND, random_modules

import moda_keras as mk


@pytest.fixture(scope="module", params=["fills", "plain", "other"])
def composed(request):
    """A model with folded constants; a gate, a residual sum and fills; the output "other"."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(x)
    if request.param == "fills":
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        y = layers.Multiply()([y, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    model = randomize(keras.Model(image, layers.Dense(5, activation="softmax")(x)))
    options = {}
    if request.param == "other":
        samples = np.random.default_rng(1).normal(0, 3, (64, 8, 8, 3)).astype("float32")
        options = {"other": True, "other_data": samples}
    small = mk.compose(random_modules(model), [3, 0, 1], **options)
    has_fills = any(type(layer).__name__ == "ChannelFill" for layer in small.layers)
    assert has_fills == (request.param == "fills")
    small(np.zeros((1, 8, 8, 3), "float32"))  # Keras exports what was called once
    return small


@pytest.fixture(scope="module")
def image():
    # With torch, Keras exports for one sample at a time.
    return np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")


def outputs(model, image):
    return keras.ops.convert_to_numpy(model(image, training=False))


def check(received, composed, image):
    np.testing.assert_allclose(received, outputs(composed, image), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras writes no SavedModel with torch")
def test_saved_model(composed, image, tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    composed.export(tmp_path / "model", format="tf_saved_model", verbose=False)
    loaded = tensorflow.saved_model.load(str(tmp_path / "model"))
    check(loaded.serve(image).numpy(), composed, image)


def test_onnx(composed, image, tmp_path):
    needed = {"torch": "onnxscript", "tensorflow": "tf2onnx", "jax": "jax2onnx"}
    pytest.importorskip(needed[BACKEND])
    onnxruntime = pytest.importorskip("onnxruntime")
    path = str(tmp_path / "model.onnx")
    composed.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (output,) = session.run(None, {session.get_inputs()[0].name: image})
    check(output, composed, image)


@pytest.mark.skipif(BACKEND == "jax", reason="OpenVINO cannot read what Keras writes with jax")
def test_openvino(composed, image, tmp_path):
    openvino = pytest.importorskip("openvino")
    path = str(tmp_path / "model.xml")
    composed.export(path, format="openvino", verbose=False)
    (output,) = openvino.compile_model(path, "CPU")(image).values()
    check(output, composed, image)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras writes no LiteRT with jax")
def test_litert(composed, image, tmp_path):
    if BACKEND == "torch":
        pytest.importorskip("litert_torch")
    tensorflow = pytest.importorskip("tensorflow")
    path = str(tmp_path / "model.tflite")
    composed.export(path, format="litert", verbose=False)
    interpreter = tensorflow.lite.Interpreter(model_path=path)
    (output,) = interpreter.get_signature_runner()(**{"image": image}).values()
    check(output, composed, image)


@pytest.mark.skipif(BACKEND != "torch", reason="a format of torch")
def test_torch_program(composed, image, tmp_path):
    import torch

    path = str(tmp_path / "model.pt2")
    composed.export(path, format="torch", verbose=False)
    output = torch.export.load(path).module()(torch.from_numpy(image))
    check(output.detach().numpy(), composed, image)


def test_quantized_to_int8(composed, image, tmp_path):
    quantized = keras.models.clone_model(composed)
    quantized.set_weights(composed.get_weights())
    quantized.quantize("int8")
    kernels = [w for w in quantized.weights if w.name == "kernel"]
    assert {"int8"} == {w.dtype for w in kernels if len(w.shape) == 2}
    np.testing.assert_allclose(outputs(quantized, image), outputs(composed, image), atol=0.05)
    quantized.save(tmp_path / "quantized.keras")
    loaded = keras.models.load_model(tmp_path / "quantized.keras")
    check(outputs(loaded, image), quantized, image)
