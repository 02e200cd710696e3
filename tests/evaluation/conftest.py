import pytest
from labelled_data import labelled_inputs
from small_models import cnn, random_modules


@pytest.fixture(scope="module")
def modules():
    return random_modules(cnn(), fraction=0.6)


@pytest.fixture(scope="module")
def data(modules):
    return labelled_inputs(modules.model)
