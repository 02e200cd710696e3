"""The `moda` command: each sub-command is a thin call of the library.

Nothing here imports Keras before a command runs, so that help and tab completion answer at once.
"""

try:
    import rich as _rich  # noqa: F401
    import typer as _typer  # noqa: F401
except ImportError as error:
    raise SystemExit(
        "The `moda` command needs typer, rich and PyYAML: pip install 'moda-keras[cli]'"
    ) from error

from moda_keras.cli.app import app, main

__all__ = ["app", "main"]
