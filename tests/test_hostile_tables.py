"""Files beside module files: states, tables, settings, records. The same error, as well bounded."""

import io
import json
import os
import random
import time
import zipfile

import numpy as np
import pytest
from hostile_files import archive_of, bytes_changed

import moda_keras as mk
from moda_keras.evaluation.results_file import ResultsFile, read_rows
from moda_keras.evaluation.subtask_sweep import _check_identity
from moda_keras.experiments.settings import load_settings
from moda_keras.files import read_table
from moda_keras.methods.search_state import read_state, write_state

VARIANTS = 1000 if os.environ.get("MODA_KERAS_NIGHTLY") == "1" else 60
COLUMNS = ["seed", "accuracy"]


def good_state(path):
    write_state(path, "digest", 3, {"masks": np.ones((2, 3)), "names": np.array(["a", "b"])})


def good_table(path):
    ResultsFile(path, COLUMNS, ["seed"]).append([{"seed": 0, "accuracy": 0.5}])


def good_settings(path):
    path.write_text("epochs: 60\nnetworks: [vgg16, resnet18]\nthreshold: {thresholds: [0.5]}\n")


def good_identity(path):
    path.with_suffix(".json").write_text(json.dumps({"modules_and_data": "abc"}))
    path.write_bytes(path.with_suffix(".json").read_bytes())


def read_identity(path):
    path.with_suffix(".json").write_bytes(path.read_bytes())
    _check_identity(path, "abc")


KINDS = {
    "search": (good_state, lambda path: read_state(path, "digest")),
    "results": (good_table, lambda path: ResultsFile(path, COLUMNS, ["seed"])),
    "rows": (good_table, read_rows),
    "settings": (good_settings, load_settings),
    "identity": (good_identity, read_identity),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    write, read = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    good, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for index in range(VARIANTS):
        path.write_bytes(rng.randbytes(50) if index % 20 == 0 else bytes_changed(rng, good))
        try:
            read(path)
        except mk.ModuleFileError as error:
            refused += 1
            assert "file" in error.path and error.reason and str(error).isprintable()
            assert len(str(error)) < 1500
        except ValueError as error:  # a digest of something else is no damage
            assert "of another" in str(error) or "results of others" in str(error)
    assert refused > VARIANTS // 6


def refuse(read, path, content):
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(mk.ModuleFileError) as caught:
        read(path)
    assert time.perf_counter() - start < 3
    return str(caught.value)


def array_file(shape, dtype="<f8", data=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def test_state_with_an_array_larger_than_the_file(tmp_path):
    content = archive_of({"masks.npy": array_file((10**12,))})
    message = refuse(lambda path: read_state(path, "digest"), tmp_path / "s.npz", content)
    assert "declares the shape (1000000000000,) in 8" in message


def test_state_that_unpacks_to_too_much(tmp_path):
    zeros = array_file((300 * 2**20,), "|i1") + bytes(300 * 2**20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("masks.npy", zeros)
    read = KINDS["search"][1]
    assert "unpack to 314,57" in refuse(read, tmp_path / "s.npz", buffer.getvalue())


def test_state_with_pickled_objects(tmp_path):
    content = archive_of({"masks.npy": array_file((1,), "|O", b"cos\nsystem\n")})
    assert "needs pickle" in refuse(KINDS["search"][1], tmp_path / "s.npz", content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [1]\n" + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
            for before, name in zip("abcdefghi", "bcdefghij", strict=True)
        ), "more than 100,000 values"),
        ("a: &a {x: 1}\n" + "".join(
            f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
            for before, name in zip("abcdefghi", "bcdefghij", strict=True)
        ), "more than 100,000 values"),
        ("a: &a [*a]", "nested deeper"),
        ("[" * 200 + "]" * 200, "nested deeper"),
        ("[" * 20_000, "damaged"),
        ("a: " + "x" * 2**18, "bytes"),
        ("!!python/object/apply:os.system ['touch pwned']", "constructor"),
        ("a: 1\x1b[31m", "special characters are not allowed"),
        ("- " + "x" * 10_000, "which holds"),
    ],
    ids=range(9),
)  # fmt: skip
def test_settings_that_are_bombs(text, reason, tmp_path):
    message = refuse(load_settings, tmp_path / "settings.yaml", text.encode())
    assert reason in message and len(message) < 1500


def test_settings_may_refer_to_others(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("common: &common {epochs: 5}\nsizes: {<<: *common, seeds: [1]}\n")
    assert load_settings(path)["sizes"] == {"epochs": 5, "seeds": [1]}


def test_header_of_a_table_is_shown_in_part(tmp_path):
    content = b"x," * 10**6 + b"\n"
    message = refuse(KINDS["results"][1], tmp_path / "r.csv", content)
    assert "more]" in message and len(message) < 1500
    assert "more in row 1" in refuse(read_table, tmp_path / "r.csv", b"a,b\n1,2,3\n")
