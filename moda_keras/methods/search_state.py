"""The file that an interrupted search goes on from."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from moda_keras.files import reading, replacing
from moda_keras.modules.checked_files.arrays import read_all_arrays
from moda_keras.modules.checked_files.limits import byte_limit

if TYPE_CHECKING:
    from moda_keras.methods.search import Search, SearchProblem

SearchState = dict[str, np.ndarray]

_DIGEST, _ROUNDS = "__search__", "__rounds__"


def digest_of(search: "Search", problem: "SearchProblem") -> str:
    """What tells one search from another: method, arguments, weights and data."""
    digest = hashlib.sha256()
    settings = [search.name, search.get_config(), problem.batch_size]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    weights = problem.model.get_weights()
    arrays = (*weights, *keras.tree.flatten(problem.x), problem.y)
    for values in (each for each in arrays if each is not None):
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(_content(values))
    return digest.hexdigest()


def write_state(path: str | Path, digest: str, rounds: int, state: SearchState) -> None:
    """Writes the state after `rounds` rounds, whole or not at all.

    Args:
        path: The file.
        digest: From `digest_of`.
        rounds: Number of rounds that are done.
        state: Dict of NumPy arrays.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, **{_DIGEST: np.array(digest), _ROUNDS: np.array(rounds)}, **state)


def read_state(path: str | Path, digest: str) -> tuple[int, SearchState | None]:
    """The number of rounds that are done, and their state; 0 and None if there is no file.

    Args:
        path: The file.
        digest: From `digest_of`.

    Returns:
        The number of rounds, and a dict of NumPy arrays or None.

    Raises:
        ModuleFileError: If it is no such file, or damaged.
        ValueError: If it is the state of another search.
    """
    path = Path(path)
    if not path.exists():
        return 0, None
    expected = "`state` to be a file that a search has written, or a new one"
    with reading(path, expected):
        found = read_all_arrays(path, byte_limit(path, None))
        rounds, written_by = int(found.pop(_ROUNDS)), str(found.pop(_DIGEST))
    if written_by != digest:
        raise ValueError(
            "Expected `state` to be of the same search: the same method, arguments, weights and "
            f"data. Received: state={str(path)!r} of another. Choose another file, or remove it"
        )
    return rounds, found


def _content(values: np.ndarray) -> Any:
    if values.dtype.kind in "OUS":
        return repr(values.tolist()).encode()
    return np.ascontiguousarray(values).tobytes()
