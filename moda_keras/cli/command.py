"""What all commands have in common: `--json`, one-line errors, exit codes."""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from moda_keras.cli import errors, terminal
from moda_keras.cli.backend import choose_backend
from moda_keras.cli.progress import working

# The options that come before the command: whether errors are to be shown with their traceback, and
# the backend that was asked for.
debug: ContextVar[bool] = ContextVar("debug", default=False)
backend: ContextVar[str | None] = ContextVar("backend", default=None)

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document to standard output, also of an error."),
]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        document: For `--json`.
        shown: For people: texts and rich's tables.
    """

    document: dict[str, Any]
    shown: Sequence[RenderableType] = ()


def command(function: Callable[..., Answer]) -> Callable[..., None]:
    """Makes a command for typer of a function that gives an `Answer`.

    Parameters that are dataclasses become an option for each of their fields, and `--json` is
    added.

    Args:
        function: The command, all of its parameters annotated as typer wants them.

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
    json_option = inspect.Parameter(
        "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson
    )

    @functools.wraps(function)
    def run(as_json: bool = False, **arguments: Any) -> None:
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group)]
            arguments[name] = group(**{field: arguments.pop(field) for field in fields})
        _run(functools.partial(function, **arguments), as_json)

    run.__signature__ = signature.replace(
        parameters=[*parameters, json_option], return_annotation=None
    )
    run.__annotations__ = {each.name: each.annotation for each in [*parameters, json_option]}
    return run


def _expanded(parameter: inspect.Parameter, group: type | None) -> list[inspect.Parameter]:
    if group is None:
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    hints = typing.get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if field.default is dataclasses.MISSING
            else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]


def _run(function: Callable[[], Answer], as_json: bool) -> None:
    try:
        # What the library and its frameworks print is no part of the document.
        aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
        with terminal.tidy_warnings(), aside:
            _start_keras()
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


def _start_keras() -> None:
    """Imports Keras and registers the package's classes with it."""
    choose_backend(backend.get())
    name = "moda_keras.api"
    if name not in sys.modules:
        with working("Starting Keras"):
            importlib.import_module(name)


def _report(error: BaseException, as_json: bool) -> None:
    if as_json:
        terminal.print_json(errors.as_json(error))
        return
    is_interrupt = isinstance(error, KeyboardInterrupt)
    message = errors.one_line(error)
    terminal.say(
        message if is_interrupt else f"Error: {message}", style="yellow" if is_interrupt else "red"
    )
