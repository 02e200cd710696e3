"""One process at a time works on a file."""

import os
import time

import pytest
from test_files import name_of_process, running

from moda_keras import claims, owners
from moda_keras.claims import FileInUseError, claimed


def names(folder):
    return [each.name for each in folder.iterdir()]


def test_claim_ends_with_its_block(tmp_path):
    path = tmp_path / "new" / "a.xml"
    with pytest.raises(RuntimeError), claimed(path):
        assert names(path.parent) == [owners.claim_name("a.xml")]
        raise RuntimeError
    assert not names(path.parent)


def test_claimed_file_is_refused_with_its_owner(tmp_path):
    with running() as process:
        claim = tmp_path / name_of_process(process, "claim")
        claim.write_text("host7")
        with (
            pytest.raises(FileInUseError, match=f"process {process} on 'host7'"),
            claimed(tmp_path / "a.xml"),
        ):
            pytest.fail()
        assert names(tmp_path) == [claim.name]
        with claimed(tmp_path / "b.xml"):
            pass
    with claimed(tmp_path / "a.xml"):  # it is gone
        assert names(tmp_path) == [owners.claim_name("a.xml")]


def test_same_process_is_refused_too(tmp_path):
    with (
        claimed(tmp_path / "a.xml"),
        pytest.raises(FileInUseError, match="a second one in this process"),
        claimed(tmp_path / "a.xml"),
    ):
        pytest.fail()
    assert not names(tmp_path)


def test_claim_of_another_host_counts_for_five_minutes_after_its_last_sign(tmp_path, monkeypatch):
    with running() as process:
        claim = tmp_path / name_of_process(process, "claim")
    claim.write_text("host7")
    monkeypatch.setattr(owners, "_host", lambda: "00000000")
    with pytest.raises(FileInUseError, match="wait five minutes"), claimed(tmp_path / "a.xml"):
        pytest.fail()
    os.utime(claim, (time.time() - 301,) * 2)
    with claimed(tmp_path / "a.xml"):
        assert names(tmp_path) == [owners.claim_name("a.xml")]


def test_claim_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.02)
    with claimed(tmp_path / "a.xml"):
        claim = tmp_path / owners.claim_name("a.xml")
        os.utime(claim, (0, 0))
        end = time.monotonic() + 5
        while not claim.stat().st_mtime and time.monotonic() < end:
            time.sleep(0.01)
        assert claim.stat().st_mtime > time.time() - 60


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_never_two_at_once(tmp_path):
    """Six processes that all want the same file add to a number that is in it."""
    path = tmp_path / "number"
    path.write_text("0")
    children = [os.fork() for _ in range(6) if os.getpid() == PARENT]
    if os.getpid() != PARENT:
        os._exit(count_up(path, 20))
    codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children]
    assert codes == [0] * 6 and path.read_text() == "120"
    assert names(tmp_path) == ["number"]


PARENT = os.getpid()


def count_up(path, times):
    end = time.monotonic() + 20
    while times and time.monotonic() < end:
        try:
            with claimed(path):
                found = int(path.read_text())
                time.sleep(0.0005)
                path.write_text(str(found + 1))
            times -= 1
        except FileInUseError:
            time.sleep(0.001 * (os.getpid() % 7 + 1))
    return times
