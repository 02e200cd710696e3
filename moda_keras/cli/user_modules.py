"""Modules of the user's own that commands import before they read a file: `moda --import`."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from moda_keras.cli.class_names import free_name
from moda_keras.cli.errors import CommandError, shortened
from moda_keras.cli.files import require_file

# What `moda --import` was given; no file that is read can add to it.
asked: ContextVar[Sequence[str]] = ContextVar("asked", default=())


def import_asked() -> None:
    """Imports the modules of `moda --import`, which register their classes with Keras.

    Raises:
        CommandError: If there is no such module, or it fails.
    """
    for text in asked.get():
        with _explaining(text):
            _import_file(Path(text)) if _is_path(text) else _import_module(text)


def _is_path(text: str) -> bool:
    return text.endswith(".py") or "/" in text or "\\" in text


@contextlib.contextmanager
def _explaining(text: str) -> Iterator[None]:
    try:
        yield
    except CommandError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {shortened(error)}".rstrip(": ")
        raise CommandError(
            "Expected --import to be a Python file or module that can be imported. Received: "
            f"{text} ({said})"
        ) from error


def _import_module(name: str) -> None:
    """Imports a module that is installed, or in the current folder as with `python -m`."""
    _search_in(Path.cwd())
    importlib.import_module(name)


def _import_file(path: Path) -> None:
    """Imports a Python file, which may import others beside it."""
    require_file(path)
    path = path.resolve()
    if any(_file_of(module) == path for module in list(sys.modules.values())):
        return
    name = path.stem
    # Under the name of another module, that one could no longer be imported.
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        name = free_name(f"{name}_imported", sys.modules)
    _search_in(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def _search_in(folder: Path) -> None:
    """Lets Python look for modules in a folder, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
