import pytest
from tuning_oracle import labelled_mlp

import moda_keras as mk


@pytest.fixture(scope="session")
def labelled():
    """Modules with some dozen thresholds, and other data of the same kind to choose on."""
    model, x, y = labelled_mlp()
    modules = mk.decompose(model, x[:36], y[:36], threshold=0.9, verbose=0)
    return modules, x[36:], y[36:]


@pytest.fixture(scope="session")
def modules(labelled):
    return labelled[0]


@pytest.fixture(scope="session")
def data(labelled):
    return labelled[1:]
