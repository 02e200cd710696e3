import matplotlib

matplotlib.use("Agg")

import pytest
from small_models import BACKEND
from typer.testing import CliRunner

import moda_keras as mk
from moda_keras import cli

WIDE = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], env=WIDE)


def test_help_names_the_commands():
    result = invoke("--help")
    assert result.exit_code == 0
    assert "demo" in result.output


def test_help_of_the_demo_names_its_options():
    result = invoke("demo", "--help")
    assert result.exit_code == 0
    assert all(option in result.output for option in ("--output", "--epochs", "--seed"))


def test_no_command_shows_the_help():
    assert "Usage" in invoke().output


@pytest.mark.parametrize("arguments", [("demo", "--epochs", "0"), ("dome",), ("demo", "--cow")])
def test_wrong_usage(arguments):
    assert invoke(*arguments).exit_code == 2


def test_command_is_installed_as_the_entry_point(monkeypatch):
    monkeypatch.setattr("sys.argv", ["moda", "--help"])
    with pytest.raises(SystemExit) as exit_information:
        cli.main()
    assert exit_information.value.code == 0


@pytest.mark.skipif(BACKEND != "torch", reason="one backend is enough for the demo, which is slow")
def test_demo_writes_figures_and_modules(tmp_path, monkeypatch):
    from moda_keras import demo

    # One sub-task of each number of classes is enough to see that everything is drawn.
    # Ten epochs of the weak LeNet5 train nothing that this test looks at.
    monkeypatch.setattr(demo, "weak_lenet5", lambda data: demo.zoo.lenet5(data.x_train.shape[1:]))
    few = {**demo.run_demo.__kwdefaults__, "subtasks": 1}
    monkeypatch.setattr(demo.run_demo, "__kwdefaults__", few)
    result = invoke("demo", "--epochs", 1, "--output", tmp_path / "new")
    assert result.exit_code == 0, result.output
    for table in ("Training and modules", "Accuracy, means over sub-tasks", "replaced class"):
        assert table in result.output
    for name in ("overlap", "shared_units", "subtasks"):
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    modules = mk.load_modules(tmp_path / "new" / "digits.modules")
    assert modules.num_classes == 10
    assert mk.compose(modules, [0, 1]).output_shape == (None, 2)
