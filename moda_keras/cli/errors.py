"""Errors as one line with an exit code."""

FAILURE = 1
INTERRUPTED = 130

# What the library raises on purpose; its messages are complete.
EXPECTED = (ValueError, OSError, ImportError, IndexError)
LONGEST_MESSAGE = 1000


class CommandError(Exception):
    """An error that the user can fix; the message says how."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that can be resumed; the message says how."""


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; unexpected errors show their type."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = shortened(error)
    if isinstance(error, (CommandError, *EXPECTED)) and text:
        return text
    return f"{type(error).__name__}: {text} (run moda --debug ... for the traceback)"


def shortened(error: BaseException, longest: int = LONGEST_MESSAGE) -> str:
    """The message of an error in one line of limited length."""
    text = " ".join(str(error).split())
    return text if len(text) <= longest else f"{text[:longest]} ..."


def as_json(error: BaseException) -> dict:
    """The error as the document that `--json` prints."""
    name = "Interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    return {"error": {"type": name, "message": one_line(error)}}
