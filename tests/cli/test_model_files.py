"""Commands check the model files that they read, of any format, before they cost anything."""

import json

import h5py
import hostile_files as hostile
import keras
import pytest
import typer
from command_line import TINY_DATA, ask, fail, invoke

from moda_keras import cli
from moda_keras.cli import file_limits
from moda_keras.cli.app import COMMANDS, READ_NO_MODELS


@pytest.fixture(scope="module")
def bombs(small_model, tmp_path_factory):
    """Model files of a few kilobytes that ask for 40 GB."""
    folder = tmp_path_factory.mktemp("bombs")
    model = keras.saving.load_model(small_model, compile=False)
    model.save(folder / "bomb.h5")
    with h5py.File(folder / "bomb.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(enlarged(config))
    members = hostile.members_of(small_model.read_bytes())
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(enlarged(config)).encode()
    (folder / "bomb.keras").write_bytes(hostile.archive_of(members))
    return folder


def enlarged(config):
    config["config"]["layers"][-1]["config"]["units"] = 10**9
    return config


COMMANDS_ON_MODELS = [
    ("info", "MODEL"),
    ("evaluate", "MODEL", *TINY_DATA),
    ("decompose", "MODEL", *TINY_DATA, "-o", "a.modules"),
    ("train", "--model", "MODEL", *TINY_DATA, "--epochs", 1, "-o", "a.keras"),
    ("slim", "MODEL", "--classes", "1,2", *TINY_DATA, "--size", 0.5, "-o", "a.keras"),
    ("replace", "MODEL", "MODULES", "3", *TINY_DATA, "-o", "a.keras"),
]


@pytest.mark.parametrize("command", COMMANDS_ON_MODELS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", ["bomb.h5", "bomb.keras"])
def test_bombs_are_refused_in_one_line(name, command, bombs, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"MODEL": bombs / name, "MODULES": trained.modules}
    arguments = [files.get(each, each) for each in command]
    message = hostile.assert_cheap(lambda: fail(*arguments))
    assert name in message and "the weights of its model take" in message
    assert "--max-bytes" in message
    assert not list(tmp_path.iterdir())


def test_error_for_programs_is_a_module_file_error(bombs):
    result = invoke("info", bombs / "bomb.h5", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["type"] == "ModuleFileError"


def test_commands_that_read_models_have_a_limit():
    commands = typer.main.get_command(cli.app).commands
    for each in COMMANDS:
        options = [name for parameter in commands[each.__name__].params for name in parameter.opts]
        assert ("--max-bytes" in options) == (each not in READ_NO_MODELS)


def test_limit_of_a_command(small_model, trained, tmp_path):
    model = keras.saving.load_model(small_model, compile=False)
    model.save(tmp_path / "model.h5")
    for path in (trained.model, trained.modules, tmp_path / "model.h5"):
        assert "over the limit of 1,000. " in fail("info", path, "--max-bytes", 1000)
        ask("info", path, "--max-bytes", 10**6)
    # The limit is that of one command.
    ask("info", trained.model)
    assert "1" in fail("info", trained.model, "--max-bytes", 0, code=2)


def test_limit_of_modules_that_refer_to_their_model(trained, tmp_path):
    path = tmp_path / "a.modules"
    ask("decompose", trained.model, *TINY_DATA, "--refer", "-o", path)
    compose = ("compose", path, 1, "-o", tmp_path / "b.keras")
    assert "over the limit of 1,000. " in fail(*compose, "--max-bytes", 1000)
    assert ask("info", path, "--max-bytes", 10**6)["model_file"]
    # The model takes more than what refers to it.
    limit = trained.model.stat().st_size // 2
    message = fail(*compose, "--max-bytes", limit)
    assert "digits.keras" in message and f"over the limit of {limit:,}. " in message


def test_limit_of_a_command_ends_with_it(trained):
    fail("info", trained.model, "--max-bytes", 1000)
    assert file_limits.max_bytes.get() is None
