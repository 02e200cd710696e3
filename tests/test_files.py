"""Files are written whole or not at all."""

import pytest

from moda_keras.files import replacing


def write(path, **settings):
    with replacing(path, **settings) as beside:
        beside.write_text("graph")
        beside.with_suffix(".bin").write_text("weights")


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_companions_are_moved_along_on_demand(tmp_path):
    write(tmp_path / "new" / "a.xml")
    assert content(tmp_path / "new") == {"a.xml": "graph"}
    write(tmp_path / "new" / "a.xml", companions=True)
    assert content(tmp_path / "new") == {"a.xml": "graph", "a.bin": "weights"}


def test_no_companion_is_replaced_without_overwrite(tmp_path):
    (tmp_path / "a.bin").write_text("another's")
    with pytest.raises(FileExistsError, match=r"a\.bin' exists"):
        write(tmp_path / "a.xml", companions=True, overwrite=False)
    assert content(tmp_path) == {"a.bin": "another's"}
    write(tmp_path / "a.xml", companions=True)
    assert content(tmp_path) == {"a.xml": "graph", "a.bin": "weights"}


def test_exception_leaves_the_old_file(tmp_path):
    (tmp_path / "a.xml").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.xml") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert content(tmp_path) == {"a.xml": "old"}
