"""Files are written whole or not at all."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moda_keras import owners
from moda_keras.evaluation.results_file import ResultsFile
from moda_keras.files import replacing, temporary_folder, write_text

only_posix = pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")


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


def test_file_is_on_disk_before_it_takes_its_place_and_so_is_its_name(tmp_path, monkeypatch):
    calls, flush, replace = [], os.fsync, os.replace

    def fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("name"), replace(*paths)))
    write(tmp_path / "a.xml", companions=True)
    assert calls == ["file", "file", "name", "name", "folder"]


def name_of_process(process, kind="part", start=None):
    """A name as that process would give it."""
    start = owners._start_of(process) if start is None else start
    random = "-0123abcd" if kind == "part" else ""
    return f".a.xml~{owners._host()}-{process}-{start}{random}.{kind}"


@contextlib.contextmanager
def running():
    """A process that runs."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()


def left_by_killed(folder, **named):
    with running() as process:
        name = name_of_process(process, **named)
    (folder / name).mkdir()
    (folder / name / "model.keras").write_text("half")
    return name


def test_what_a_killed_process_left_is_removed(tmp_path):
    left_by_killed(tmp_path)
    (tmp_path / name_of_process(10**30, start=5)).mkdir()
    write(tmp_path / "another.xml")
    assert content(tmp_path) == {"another.xml": "graph"}


def test_what_a_running_process_writes_stays(tmp_path):
    with running() as process:
        name = name_of_process(process)
        (tmp_path / name).mkdir()
        # The same number, but another process: it was started at another time.
        (tmp_path / name_of_process(process, start=1)).mkdir()
        write(tmp_path / "a.xml")
        assert {each.name for each in tmp_path.iterdir()} == {"a.xml", name}


def test_what_another_host_writes_stays_for_a_day(tmp_path, monkeypatch):
    name = left_by_killed(tmp_path)
    monkeypatch.setattr(owners, "_host", lambda: "00000000")
    write(tmp_path / "a.xml")
    assert {each.name for each in tmp_path.iterdir()} == {"a.xml", name}
    os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    write(tmp_path / "a.xml")
    assert {each.name for each in tmp_path.iterdir()} == {"a.xml"}


def test_files_of_others_stay(tmp_path):
    for name in (".a.xml-tmp", "a~b.part", ".a.xml~123-4-5.part.txt"):
        (tmp_path / name).write_text("mine")
    write(tmp_path / "a.xml")
    assert len(content(tmp_path)) == 4


def test_temporary_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left_by_killed(tmp_path)
    with temporary_folder() as folder:
        assert [*tmp_path.iterdir()] == [folder]
    assert not [*tmp_path.iterdir()]


def test_long_names_have_room_for_the_process(tmp_path):
    name = "\u00e9" * 120 + ".txt"
    write_text(tmp_path / name, "text")
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert owners.claim_name("a" * 200 + "1") != owners.claim_name("a" * 200 + "2")


@contextlib.contextmanager
def largest_file(size):
    """As a disk that is full after `size` bytes: Python gets the error, not the signal."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@only_posix
def test_full_disk_leaves_the_old_file_and_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with largest_file(1000), pytest.raises(OSError, match="not written; an older one") as error:
        write_text(tmp_path / "a.txt", "new" * 1000)
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "a.txt")
    assert content(tmp_path) == {"a.txt": "old"}


def test_rows_are_on_disk_when_append_returns(tmp_path, monkeypatch):
    flushed, flush = [], os.fsync

    def fsync(descriptor):
        flush(descriptor)
        flushed.append((tmp_path / "a.csv").read_text())

    results = ResultsFile(tmp_path / "a.csv", ["x"], ["x"])
    monkeypatch.setattr(os, "fsync", fsync)
    results.append([{"x": 1}, {"x": 2}])
    assert flushed == ["x\n1\n2\n"]


@only_posix
def test_full_disk_leaves_the_rows_that_are_there(tmp_path):
    results = ResultsFile(tmp_path / "a.csv", ["x", "y"], ["x"])
    results.append([{"x": 1, "y": "a"}])
    row = {"x": 2, "y": "b" * 2000}
    with largest_file(1000), pytest.raises(OSError) as error:
        results.append([row])
    assert error.value.filename == str(tmp_path / "a.csv")
    assert not results.has(x=2)
    again = ResultsFile(tmp_path / "a.csv", ["x", "y"], ["x"])
    again.append([row])
    assert again.rows() == [{"x": 1, "y": "a"}, row]


def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def mkdir(path, *arguments, **named):
        if "~" in path.name:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OSError, match="Read-only file system") as error:
        write_text(tmp_path / "a.txt", "new")
    assert error.value.filename == str(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Unable to flush (errno = 28, error message = 'No space left on device')"),
        OSError("Can't write data (file write failed: errno = 28, error message = ...)"),
    ],
)
def test_full_disk_that_hdf5_reports_is_named(error, tmp_path):
    with pytest.raises(OSError) as raised, replacing(tmp_path / "a.txt"):
        raise error
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path / "a.txt")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="another"), replacing(tmp_path / "a.txt"):
        (tmp_path / "another").read_text()
