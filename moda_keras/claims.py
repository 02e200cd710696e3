"""One process at a time: a claim on a file that many processes may want to write."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from moda_keras.owners import claim_name, is_abandoned, is_claim_of, process_of

# Seconds between the signs of life by which other hosts know that a claim is alive.
BEAT = 20.0


class FileInUseError(OSError):
    """Another process, or another thread of this one, works on the same file."""


@contextlib.contextmanager
def claimed(path: str | Path) -> Iterator[None]:
    """Keeps other processes from working on a file, by a claim: a small file beside it.

    Every process has a claim of its own name, and whoever finds another's that is alive withdraws.
    So no claim is ever taken over, and two processes cannot both believe that they were first; if
    both come at the same moment, both may withdraw. The claim of a process that was killed counts
    no more: at once if it ran here, after five minutes if it ran on another host or in another
    container.

    Args:
        path: The file; it need not exist. Missing folders are created.

    Raises:
        FileInUseError: If it is claimed; names the process and the claim.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from moda_keras.claims import claimed
        >>> folder = tempfile.TemporaryDirectory()
        >>> with claimed(Path(folder.name, "results.csv")):
        ...     len(list(Path(folder.name).iterdir()))
        1
        >>> len(list(Path(folder.name).iterdir()))
        0
        >>> folder.cleanup()
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = path.parent / claim_name(path.name)
    _write(claim, path)
    try:
        _withdraw_from_others(claim, path)
        with _signs_of_life(claim):
            yield
    finally:
        claim.unlink(missing_ok=True)


def _write(claim: Path, path: Path) -> None:
    try:
        with claim.open("x", encoding="utf-8") as file:
            file.write(socket.gethostname())
    except FileExistsError as error:
        raise FileInUseError(
            f"Expected one training, search or sweep at a time to write {str(path)!r}. Received: "
            f"a second one in this process ({claim.name!r})"
        ) from error
    except OSError as error:
        if not claim.exists():  # a read-only folder
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        # The disk is full: the claim is there, without the name of the host.


def _withdraw_from_others(claim: Path, path: Path) -> None:
    now = claim.stat().st_mtime
    for each in path.parent.iterdir():
        if each == claim or not is_claim_of(path.name, each.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # it has just been withdrawn
            age = now - each.stat().st_mtime
            if is_abandoned(each.name, age):
                each.unlink()
                continue
            host = each.read_text(encoding="utf-8")
            raise FileInUseError(
                f"Expected one process at a time to write {str(path)!r}. Received: it is in use by "
                f"process {process_of(each.name)} on {host or 'this host'!r}. Wait until "
                f"that has ended. If it was killed on another host, wait five minutes, or remove "
                f"{str(each)!r}"
            )


@contextlib.contextmanager
def _signs_of_life(claim: Path) -> Iterator[None]:
    """Renews the time of the claim until the end."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(claim)

    thread = threading.Thread(target=renew, name="moda_keras claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
