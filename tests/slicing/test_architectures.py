import keras
import numpy as np
import pytest
from masking import check_slicing, fill_layers, randomize

from moda_keras import zoo


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "mobilenet", "lenet5", "simcnn", "rescnn"])
def test_zoo_model(name):
    config = {"dense_units": 128} if name == "vgg16" else {}
    model = randomize(getattr(zoo, name)(**config))
    sliced = check_slicing(model, classes=[3, 9, 0])
    if name in ("vgg16", "mobilenet", "lenet5", "simcnn"):
        assert fill_layers(sliced) == []


@pytest.mark.parametrize("name", ["VGG16", "ResNet50", "MobileNet", "MobileNetV2"])
def test_application(name):
    create = getattr(keras.applications, name)
    # VGG16's dense layers of 4,096 units are of no interest here.
    config = {"include_top": False, "pooling": "max"} if name == "VGG16" else {"classes": 7}
    model = create(weights=None, input_shape=(32, 32, 3), **config)
    if name == "VGG16":
        model = keras.Model(model.inputs, keras.layers.Dense(7)(model.outputs[0]))
    check_slicing(randomize(model), classes=np.array([5, 1]))
