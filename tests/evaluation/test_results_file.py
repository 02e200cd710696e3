import os

import pytest

from moda_keras.evaluation.results_file import ResultsFile, read_rows, write_rows

COLUMNS = ["classes", "accuracy", "note"]


def row(classes, accuracy=0.5, note=None):
    return {"classes": classes, "accuracy": accuracy, "note": note}


def open_results(path):
    return ResultsFile(path, COLUMNS, key=["classes"])


def test_rows_are_read_back_as_they_were(tmp_path):
    results = open_results(tmp_path / "deep" / "results.csv")
    results.append([row((0, 3)), row((1, 2), 1 / 3, "why, 'so'")])
    assert results.rows() == [
        {"classes": "0 3", "accuracy": 0.5, "note": None},
        {"classes": "1 2", "accuracy": 1 / 3, "note": "why, 'so'"},
    ]
    assert results.has(classes=(0, 3)) and not results.has(classes=(0, 1))


def test_key_is_written_once_also_after_opening_again(tmp_path):
    path = tmp_path / "results.csv"
    open_results(path).append([row((0, 1), 0.25)])
    results = open_results(path)
    results.append([row((0, 1), 0.75), row((0, 2)), row((0, 2))])
    assert [each["accuracy"] for each in results.rows()] == [0.25, 0.5]


@pytest.mark.parametrize("torn", ["0 2", "0 2,0.1", '0 2,0.125,"wh'])
def test_torn_last_line_is_dropped(tmp_path, torn):
    path = tmp_path / "results.csv"
    open_results(path).append([row((0, 1))])
    with path.open("a") as file:
        file.write(torn)
    results = open_results(path)
    assert [each["classes"] for each in results.rows()] == ["0 1"]
    results.append([row((0, 2))])
    assert [each["classes"] for each in read_rows(path)] == ["0 1", "0 2"]


def test_torn_header_is_written_anew(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("classes,acc")
    results = open_results(path)
    results.append([row((0, 1))])
    assert len(read_rows(path)) == 1


def test_rows_are_on_disk_when_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(number))
    results = open_results(tmp_path / "results.csv")
    before = len(synced)
    results.append([row((0, 1))])
    assert len(synced) == before + 1


def test_file_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("seed,size\n1,2\n")
    with pytest.raises(ValueError, match="Choose another folder"):
        open_results(path)


def test_whole_file_replaces_an_old_one(tmp_path):
    path = tmp_path / "table.csv"
    write_rows(path, [row((0, 1)), row((0, 2))])
    write_rows(path, [row((1, 2))])
    assert [each["classes"] for each in read_rows(path)] == ["1 2"]
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
