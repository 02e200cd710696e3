"""What goes wrong, in one line and with an exit code."""

FAILURE = 1
USAGE = 2
INTERRUPTED = 130

# What the library raises on purpose; its messages say all that is needed.
EXPECTED = (ValueError, OSError, ImportError, IndexError)
LONGEST_MESSAGE = 1000


class CommandError(Exception):
    """Something that the user can put right; the message says how."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C where the same command goes on; the message says so."""


def one_line(error: BaseException) -> str:
    """The message of an error, without line breaks.

    Args:
        error: Any error.

    Returns:
        Str; it names the type of an error that nobody foresaw.
    """
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]} ..."
    if isinstance(error, (CommandError, *EXPECTED)) and text:
        return text
    return f"{type(error).__name__}: {text} (moda --debug ... shows where)"


def as_json(error: BaseException) -> dict:
    """The error as the document that `--json` prints."""
    name = "Interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    return {"error": {"type": name, "message": one_line(error)}}
