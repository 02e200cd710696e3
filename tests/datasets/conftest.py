import keras
import pytest
from prepared_data import prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with data sets of tensorflow-datasets."""
    pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow")
    pytest.importorskip("array_record")
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)
