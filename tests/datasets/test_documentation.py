"""The page on data sets: its examples run, on mock data."""

import re
from pathlib import Path

import pytest

import moda_keras as mk

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()


def test_examples_run(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    with tfds.testing.mock_data(num_examples=200):
        for block in blocks:
            if "set_visible_devices" not in block:  # only before TensorFlow is first used
                exec(block, names)
    assert names["digits"].x_train.shape == (500, 16, 16, 1)
    assert names["modules"].num_classes == 10
    assert names["data"].class_names == tuple(names["synsets"])


def test_every_name_is_on_the_page():
    assert all(f'`"{name}"`' in PAGE for name in mk.datasets.NAMES)
