import keras
import pytest
from masking import check_slicing, fill_layers, randomize

from moda_keras import zoo


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "mobilenet", "lenet5", "simcnn", "rescnn"])
def test_zoo_model(name):
    config = {"dense_units": 128} if name == "vgg16" else {}
    model = randomize(getattr(zoo, name)(**config))
    sliced = check_slicing(model, classes=[3, 9, 0], fraction=0.5)
    if name in ("vgg16", "mobilenet", "lenet5", "simcnn"):
        assert fill_layers(sliced) == []


@pytest.mark.parametrize("name", ["ResNet50", "MobileNet"])
def test_application(name):
    create = getattr(keras.applications, name)
    model = create(weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None)
    check_slicing(randomize(model), classes=[5, 1], fraction=0.5)
