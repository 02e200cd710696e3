"""The `moda` command, run in this process."""

import json

from typer.testing import CliRunner

from moda_keras import cli

# Enough images that every class has some; 8x8 is the digits' own size.
TINY_DATA = ("--data", "digits", "--samples-per-class", 6, "--test-samples-per-class", 4)


def invoke(*arguments, columns=200):
    """The result of a command, whatever its exit code."""
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(cli.app, [str(each) for each in arguments], env=environment)


def run(*arguments):
    """What a command printed to standard output."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def ask(*arguments):
    """The document that a command printed."""
    return json.loads(run(*arguments, "--json"))


def fail(*arguments, code=1):
    """The one line that a command printed to standard error."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
