"""What all commands share: the start of Keras, `--json`, one-line errors, exit codes."""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import typer
from rich.console import RenderableType

from moda_keras.backend_choice import configured_backend
from moda_keras.cli import errors, file_limits, terminal, user_modules
from moda_keras.cli.errors import CommandError
from moda_keras.cli.options import AsJson, Backend, MaxBytes
from moda_keras.files import temporary_folder

# The options before the command.
debug: ContextVar[bool] = ContextVar("debug", default=False)
backend: ContextVar[str | None] = ContextVar("backend", default=None)

# In the order of preference.
BACKENDS = typing.get_args(Backend)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result of a command.

    Attributes:
        document: For `--json`.
        shown: For people: texts and rich's tables.
    """

    document: dict[str, Any]
    shown: Sequence[RenderableType] = ()


def command(function: Callable[..., Answer], *, reads_models: bool = False) -> Callable[..., None]:
    """Turns a function that returns an `Answer` into a command for typer.

    Parameters that are dataclasses become one option per field, and `--json` is added, and
    `--max-bytes` to commands that read models.

    Args:
        function: The command, with all parameters annotated for typer.
        reads_models: Whether it reads model or module files.

    Returns:
        The function for `app.command()`.
    """
    signature = inspect.signature(function)
    groups = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }
    parameters = [
        each
        for parameter in signature.parameters.values()
        for each in _expanded(parameter, groups.get(parameter.name))
    ]
    if reads_models:
        parameters.append(_option("max_bytes", None, MaxBytes))
    parameters.append(_option("as_json", False, AsJson))

    @functools.wraps(function)
    def run(as_json: bool = False, max_bytes: int | None = None, **arguments: Any) -> None:
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group)]
            arguments[name] = group(**{field: arguments.pop(field) for field in fields})
        before = file_limits.max_bytes.set(max_bytes)
        try:
            _run(functools.partial(function, **arguments), as_json)
        finally:
            file_limits.max_bytes.reset(before)

    run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _option(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _expanded(parameter: inspect.Parameter, group: type | None) -> list[inspect.Parameter]:
    if group is None:
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    hints = typing.get_type_hints(group, include_extras=True)
    empty = inspect.Parameter.empty
    return [
        _option(
            field.name,
            empty if field.default is dataclasses.MISSING else field.default,
            hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]


def _run(function: Callable[[], Answer], as_json: bool) -> None:
    try:
        # Keeps what libraries print out of the document.
        aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
        with terminal.tidy_warnings(), aside, _own_temporary_files():
            _start_keras()
            user_modules.import_asked()
            answer = function()
    except (BrokenPipeError, typer.Exit, typer.BadParameter):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if debug.get():
            raise
        _report(error, as_json)
        is_interrupt = isinstance(error, KeyboardInterrupt)
        raise typer.Exit(errors.INTERRUPTED if is_interrupt else errors.FAILURE) from None
    if as_json:
        terminal.print_json(answer.document)
    else:
        terminal.show(answer.shown)


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Puts what libraries write for a moment into a folder that the next command clears of kills.

    Keras makes a folder whenever it saves or loads a model, and a kill leaves it.
    """
    before = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no temporary files here: few commands need them
            tempfile.tempdir = str(stack.enter_context(temporary_folder()))
        try:
            yield
        finally:
            tempfile.tempdir = before


def _report(error: BaseException, as_json: bool) -> None:
    if as_json:
        terminal.print_json(errors.as_json(error))
    elif isinstance(error, KeyboardInterrupt):
        terminal.say(errors.one_line(error), style="yellow")
    else:
        terminal.say(f"Error: {errors.one_line(error)}", style="red")


def _start_keras() -> None:
    """Imports Keras and registers the package's classes with it."""
    choose_backend(backend.get())
    name = "moda_keras.api"
    if name not in sys.modules:
        with terminal.working("Starting Keras"):
            importlib.import_module(name)


def choose_backend(name: str | None) -> None:
    """Sets KERAS_BACKEND, if Keras is not imported yet.

    Args:
        name: A backend. By default the one that the environment or Keras's configuration names; if
            it is only Keras's default and not installed, any that is installed.

    Raises:
        CommandError: If the chosen backend is unknown, not installed, or not the running one.
    """
    # TensorFlow's start-up messages are for its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    asked = name or os.environ.get("KERAS_BACKEND")
    if asked is not None and asked not in BACKENDS:
        raise CommandError(f"Expected a backend out of {list(BACKENDS)}. Received: {asked!r}")
    if "keras" in sys.modules:
        running = sys.modules["keras"].backend.backend()
        if asked not in (None, running):
            raise CommandError(f"Keras runs on {running!r} in this process. Received: {asked!r}")
    elif asked is None:
        os.environ["KERAS_BACKEND"] = _installed_backend(configured_backend())
    else:
        _require_installed(asked)
        os.environ["KERAS_BACKEND"] = asked


def _require_installed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise CommandError(
            f"The backend {name!r} is not installed. Install it with: "
            f'pip install "moda-keras[{name}]", or choose another with --backend'
        )


def _installed_backend(preferred: str) -> str:
    for name in (preferred, *BACKENDS):
        if name in BACKENDS and importlib.util.find_spec(name) is not None:
            if name != preferred:
                terminal.say(f"Keras's backend {preferred!r} is not installed: using {name!r}.")
            return name
    raise CommandError(
        "No backend of Keras is installed. Install one, for example with: "
        'pip install "moda-keras[torch]"'
    )
