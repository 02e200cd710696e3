"""What all commands have in common."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import fail, invoke, run
from small_models import BACKEND, run_in_fresh_process

from moda_keras import cli, experiments
from moda_keras.cli import backend, completion
from moda_keras.cli.app import COMMANDS as COMMANDS_OF_APP
from moda_keras.datasets import AUGMENTATIONS, NAMES

COMMANDS = (
    "train", "decompose", "tune", "compose", "replace", "evaluate", "experiment", "report", "info",
    "demo",
)  # fmt: skip
# As the installed script does it.
SCRIPT = """
import sys
from moda_keras.cli import main
try:
    main()
finally:
    heavy = {"keras", "torch", "tensorflow", "jax"} & set(sys.modules)
    print("imported:", sorted(heavy), file=sys.stderr)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "moda"
    path.write_text(SCRIPT)
    return path


def run_script(script, *arguments, **environment):
    root = Path(cli.__file__).parents[2]
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_the_commands():
    assert tuple(each.__name__ for each in COMMANDS_OF_APP) == COMMANDS
    shown = run("--help")
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name):
    shown = run(name, "--help")
    assert "Example" in shown
    assert f"moda {name}" in shown.partition("Example")[2]
    assert "--json" in shown


def test_no_command_shows_the_help():
    assert "Usage" in invoke().output


def test_help_and_completion_import_no_keras(script):
    result = run_script(script, "train", "--help")
    assert result.returncode == 0, result.stderr
    assert "--network" in result.stdout
    assert result.stderr.splitlines()[-1] == "imported: []"
    words = {"COMP_WORDS": "moda experiment su", "COMP_CWORD": "2"}
    result = run_script(script, _MODA_COMPLETE="complete_bash", **words)
    assert result.stdout.split() == ["suppression"]
    assert result.stderr.splitlines()[-1] == "imported: []"


def test_worker_processes_of_the_command_import_everything():
    """Workers are given the command's `sys.argv`, and unpickle functions of single modules."""
    run_in_fresh_process(
        "import sys; sys.argv[0] = 'moda'\n"
        "from moda_keras.evaluation.subtask_sweep import _measure\n"
        "import keras; assert keras.saving.get_registered_object('moda_keras>ChannelFill')"
    )


def test_wrong_usage_is_a_document_too(script):
    result = run_script(script, "compose", "--json", "some.modules")
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["type"] == "UsageError"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dome",),
        ("demo", "--epochs", "0"),
        ("demo", "--cow"),
        ("compose",),
        ("train", "--data", "digits", "-o", "model.keras"),
        ("train", "--data", "digits", "--network", "vgg16", "--model", "a.keras", "-o", "b.keras"),
        ("train", "--data", "digits", "--network", "vgg99", "-o", "model.keras"),
        ("train", "--data", "digits", "--network", "vgg16", "--augment", "mix", "-o", "a.keras"),
        ("evaluate", "no.keras", "--data", "digits", "--classes", "1", "--subtasks", "-1"),
        ("compose", "a.modules", "1", "-o", "model.exe"),
        ("compose", "a.modules", "1", "-o", "model", "--format", "exe"),
        ("experiment",),
        ("experiment", "cow"),
        ("replace", "a.keras", "b.modules", "1", "--data", "digits", "-o", "c.keras",
         "--strategy", "hope"),
        ("tune", "a.modules", "--data", "digits", "-o", "b.modules", "--on", "monday"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and "Usage: moda" in result.stderr


def test_version():
    assert run("--version").split()[0] == "moda_keras"


def test_unexpected_error_is_one_line_with_its_type(monkeypatch):
    monkeypatch.setattr("moda_keras.evaluation.module_size", broken)
    monkeypatch.setattr("moda_keras.experiments.environment.describe_environment", broken)
    assert fail("info") == "Error: RuntimeError: in two lines (moda --debug ... shows where)"
    result = invoke("--debug", "info")
    assert isinstance(result.exception, RuntimeError)


def broken(*arguments):
    raise RuntimeError("in\n  two lines")


def test_interrupt_has_an_exit_code_and_a_document(monkeypatch):
    monkeypatch.setattr("moda_keras.experiments.environment.describe_environment", interrupted)
    assert fail("info", code=130) == "Interrupted"
    result = invoke("info", "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout) == {"error": {"type": "Interrupted", "message": "Interrupted"}}


def interrupted():
    raise KeyboardInterrupt


def test_names_for_completion_are_the_library_s():
    assert sorted(completion.NETWORKS) == sorted(experiments.NETWORKS)
    assert list(completion.EXPERIMENTS) == list(experiments.EXPERIMENTS)
    assert sorted(completion.AUGMENTATIONS) == sorted(AUGMENTATIONS)
    assert sorted(completion.DATA) == sorted(NAMES)


def test_classes_of_a_module_file_are_completed(trained):
    assert completion.class_names_of(trained.modules) == [str(digit) for digit in range(10)]
    assert completion.class_names_of(trained.model) == []
    assert completion.class_names_of("no.modules") == []


def test_backend_that_does_not_run_here_is_refused():
    other = "jax" if BACKEND != "jax" else "torch"
    assert f"Keras runs on '{BACKEND}'" in fail("--backend", other, "info")
    assert "Expected a backend out of" in fail("--backend", "theano", "info")


@pytest.mark.parametrize(
    ("configured", "installed", "chosen"),
    [
        ("tensorflow", {"tensorflow", "torch"}, "tensorflow"),
        ("tensorflow", {"torch", "jax"}, "torch"),
        ("tensorflow", {"jax"}, "jax"),
        ("openvino", {"tensorflow"}, "tensorflow"),
    ],
)
def test_backend_that_is_installed_is_chosen(configured, installed, chosen, monkeypatch):
    monkeypatch.setattr(
        backend.importlib.util, "find_spec", lambda name: "found" if name in installed else None
    )
    assert backend._installed_backend(configured) == chosen
    with pytest.raises(backend.CommandError, match="pip install"):
        backend._require_installed("tensorflow" if "tensorflow" not in installed else "jax")
