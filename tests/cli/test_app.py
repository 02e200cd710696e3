"""What all commands have in common."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from command_line import fail, invoke, run
from small_models import BACKEND, run_in_fresh_process

from moda_keras import cli, datasets, experiments
from moda_keras.cli import command, options
from moda_keras.cli.app import COMMANDS as COMMANDS_OF_APP
from moda_keras.cli.data import DataArguments
from moda_keras.datasets.pixels import PIXELS
from moda_keras.observing.criteria import CRITERIA, FREQUENCY

COMMANDS = (
    "train", "decompose", "tune", "compose", "slim", "replace", "evaluate", "experiment", "report",
    "info", "demo",
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


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_option_names_whole_on_a_narrow_terminal(name):
    shown = invoke(name, "--help", columns=80).output
    assert not re.findall(r"--\S*…", shown)
    assert max(map(len, shown.splitlines())) <= 80


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


def test_usage_error_is_a_document_too(script):
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
def test_usage_error_is_one_line(arguments):
    message = fail(*arguments, code=2)
    assert message.startswith("Error: ") and re.search(r"See: .* --help$", message)


def test_module_runs_the_command(tmp_path):
    root = Path(cli.__file__).parents[2]
    shown = subprocess.run(
        [sys.executable, "-m", "moda_keras", "--version"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert shown.stdout.startswith("moda_keras ")


def test_version():
    assert run("--version").split()[0] == "moda_keras"


def test_unexpected_error_is_one_line_with_its_type(monkeypatch):
    monkeypatch.setattr("moda_keras.evaluation.module_size", broken)
    monkeypatch.setattr("moda_keras.experiments.environment.describe_environment", broken)
    assert (
        fail("info") == "Error: RuntimeError: in two lines (run moda --debug ... for the traceback)"
    )
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


def test_names_of_options_are_the_library_s():
    assert sorted(get_args(options.Network)) == sorted(experiments.NETWORKS)
    assert tuple(experiments.EXPERIMENTS) == options.EXPERIMENTS
    assert sorted(get_args(options.Augmentation)) == sorted(datasets.AUGMENTATIONS)
    assert get_args(options.CriterionName) == (FREQUENCY, *CRITERIA)
    assert get_args(options.Pixels) == tuple(PIXELS)
    assert sorted(options.DATA) == sorted(datasets.NAMES)
    names = {field.name for field in fields(DataArguments)}
    settings = {field.name for field in fields(datasets.DataSettings)}
    assert names - {"synsets", "no_extra", "pixels"} == settings - {"extra"}


def test_classes_of_a_module_file_are_completed(trained):
    assert options.class_names_of(trained.modules) == [str(digit) for digit in range(10)]
    assert options.class_names_of(trained.model) == []
    assert options.class_names_of("no.modules") == []
    context = SimpleNamespace(params={"file": trained.modules})
    assert options.complete_class(context, "3,") == [f"3,{digit}" for digit in "012456789"]
    context = SimpleNamespace(params={"modules": trained.modules, "classes": ["3"]})
    assert options.complete_class(context, "") == list("012456789")


@pytest.mark.parametrize(
    ("typed", "joined"),
    [
        ("f --classes cat dog -o a", "f --classes cat,dog -o a"),
        ("f --classes cat, dog", "f --classes cat,,dog"),
        ("f --class-names cat dog cow", "f --class-names cat,dog,cow"),
        ("--classes cat,dog f", "--classes cat,dog f"),
        ("--classes cat THIS --json", "--classes cat THIS --json"),
        ("compose f cat dog", "compose f cat dog"),
        ("f --classes", "f --classes"),
    ],
)
def test_lists_are_separated_by_spaces_or_commas(typed, joined):
    words = [__file__ if word == "THIS" else word for word in typed.split()]
    expected = [__file__ if word == "THIS" else word for word in joined.split()]
    assert options.join_lists(words) == expected


def test_backend_that_does_not_run_here_is_refused():
    other = "jax" if BACKEND != "jax" else "torch"
    assert f"Keras runs on '{BACKEND}'" in fail("--backend", other, "info")
    assert "'theano' is not one of 'torch', 'tensorflow', 'jax'" in fail(
        "--backend", "theano", "info", code=2
    )


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
        command.importlib.util, "find_spec", lambda name: "found" if name in installed else None
    )
    assert command._installed_backend(configured) == chosen
    with pytest.raises(command.CommandError, match="pip install"):
        command._require_installed("tensorflow" if "tensorflow" not in installed else "jax")
