import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail, invoke, run

import moda_keras as mk
from moda_keras.claims import claimed
from moda_keras.cli.train import TrainingArguments
from moda_keras.experiments import read_rows
from moda_keras.training.training_state import read_training_state

STEPS = ("--epochs", 2, "--batch-size", 16)
RECIPE = ("--network", "small_cnn", *STEPS)


def test_writes_model_modules_and_log(trained):
    model = keras.saving.load_model(trained.model)
    modules = mk.load_modules(trained.modules)
    assert modules.threshold == 0.9
    assert modules.class_names == tuple(str(digit) for digit in range(10))
    rows = read_rows(trained.log)
    assert [row["epoch"] for row in rows] == list(range(12))
    assert all(row["compactness"] > 0 and row["seconds"] > 0 for row in rows)
    for one, other in zip(model.get_weights(), modules.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    left = {path.name for path in trained.folder.iterdir()}
    assert {"digits.keras", "digits.modules", "digits.csv"} <= left
    assert not [name for name in left if "training" in name or name.startswith(".")]


def test_model_normalizes_the_channels(trained):
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    model = keras.saving.load_model(trained.model)
    (layer,) = [each for each in model.layers if isinstance(each, keras.layers.Normalization)]
    normalized = keras.ops.convert_to_numpy(layer(data.x_train))
    assert abs(normalized.mean()) < 1e-4 and abs(normalized.std() - 1) < 1e-4


def test_trains_a_model_of_one_s_own_with_probabilities_out(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.save(tmp_path / "mine.keras")
    arguments = ("--model", tmp_path / "mine.keras", "--epochs", 8, "--batch-size", 8)
    data = ("--data", "digits", "--class-names", "0,1", "--samples-per-class", 20)
    found = ask("train", *data, *arguments, "--augment", "none", "-o", tmp_path / "trained.keras")
    assert found["data"]["classes"] == ["0", "1"]
    assert found["test_accuracy"] > 0.9
    kinds = [type(layer) for layer in keras.saving.load_model(found["model"]).layers]
    assert keras.layers.Normalization not in kinds
    log = read_rows(found["log"])
    assert log[-1]["task_loss"] < 0.3  # as of probabilities, not of logits


def test_standard_training_has_no_objectives(small_model, tmp_path):
    recipe = ("--model", small_model, *STEPS, "--standard", "--threshold", 0.5)
    found = ask("train", *TINY_DATA, *recipe, "-o", tmp_path / "a.keras")
    assert found["threshold"] == 0.5 and found["epochs"] == 2
    assert list(read_rows(found["log"])[0]) == ["epoch", "seconds", "loss", "accuracy"]


def test_recipe_has_the_library_s_warmup():
    loss = TrainingArguments(network="small_cnn", gamma=0.5).recipe("none").modular_loss
    assert loss.get_config() == mk.MODALoss(gamma=0.5).get_config()
    assert TrainingArguments(network="small_cnn", standard=True).recipe("none").warmup is None


def test_modules_can_refer_to_the_trained_model(small_model, tmp_path):
    recipe = ("--model", small_model, *STEPS, "--refer")
    found = ask("train", *TINY_DATA, *recipe, "-o", tmp_path / "a.keras")
    assert ask("info", found["modules"])["model_file"] == found["model"]


def test_existing_output_is_refused(trained):
    before = trained.model.stat().st_mtime_ns
    message = fail("train", *TINY_DATA, *RECIPE, "-o", trained.model)
    assert message == f"Error: The file '{trained.model}' exists. Pass --force to replace it"
    assert trained.model.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*TINY_DATA, "--model", "none.keras"), "There is no file 'none.keras'"),
        (("--data", "nowhere", "--network", "lenet5"), "Unknown data set. Expected one of"),
        ((*TINY_DATA, "--network", "vgg16"), "at least 32"),
    ],
)
def test_what_cannot_be_trained_is_named(arguments, message, tmp_path):
    assert message in fail("train", *arguments, "-o", tmp_path / "model.keras")


def test_output_is_a_keras_file_in_a_folder(tmp_path):
    (tmp_path / "file").touch()
    assert "ends in .keras" in fail("train", *TINY_DATA, *RECIPE, "-o", tmp_path / "a.h5")
    place = tmp_path / "file" / "a.keras"
    assert "writable folder" in fail("train", *TINY_DATA, *RECIPE, "-o", place)


def test_model_of_other_images_or_classes_is_refused(trained, tmp_path):
    output = ("-o", tmp_path / "new.keras")
    larger = (*TINY_DATA, "--image-size", 16, "--model", trained.model)
    assert "Expected images of shape (8, 8, 1)" in fail("train", *larger, *output)
    fewer = (*TINY_DATA, "--class-names", "0,1", "--model", trained.model)
    assert "Expected data of 10 classes" in fail("train", *fewer, *output)


def test_interrupted_training_with_other_settings_is_refused(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.decompose", interrupted)
        assert invoke(*command).exit_code == 130
    state = read_training_state(tmp_path / "model.training")
    assert state.epoch == 2 and state.settings["epochs"] == 2 and state.settings["data"]
    message = fail(*command, "--gamma", 0.5)
    assert (
        "model.training', {'weights': [1.0, 1.0, 0.3]}. Received: {'weights': [1.0, 1.0, 0.5]}"
        in message
    )
    log = (tmp_path / "model.csv").read_text()
    assert "Resuming" in invoke(*command).stderr
    assert (tmp_path / "model.csv").read_text() == log  # no epoch was done again


def test_training_that_ended_before_its_first_epoch_leaves_nothing_to_resume(
    small_model, tmp_path, monkeypatch
):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.experiments.recipe.compile_by_recipe", interrupted)
        assert invoke(*command).exit_code == 130
    result = invoke(*command, "--gamma", 0.5)
    assert result.exit_code == 0 and "Resuming" not in result.stderr


def test_restart_forgets_what_was_interrupted(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.decompose", interrupted)
        assert invoke(*command).exit_code == 130
    found = ask(*command, "--epochs", 1, "--restart")
    assert found["epochs"] == 1 and len(read_rows(found["log"])) == 1


def test_kill_between_the_outputs_leaves_a_training_to_resume(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.ModuleSet.save", interrupted)
        assert invoke(*command).exit_code == 130
    assert (tmp_path / "model.keras").exists() and not (tmp_path / "model.modules").exists()
    assert "{'epochs': 2}. Received: {'epochs': 3}" in fail(*command, "--epochs", 3)
    assert "model.keras' exists. Pass --force" in fail(*command, "--restart")
    log = (tmp_path / "model.csv").read_text()
    assert "Resuming" in invoke(*command).stderr
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"model.keras", "model.modules", "model.csv"}
    assert (tmp_path / "model.csv").read_text() == log  # no epoch was done again


@pytest.mark.parametrize("restart", [(), ("--restart",)])
@pytest.mark.parametrize("name", ["model.training", "model.csv", "model.training.previous"])
def test_files_of_other_origin_are_kept(name, restart, small_model, tmp_path):
    (tmp_path / name).write_text("{}")
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    message = fail(*command, *restart)
    assert str(tmp_path / name) in message and "Pass --force" in message
    assert (tmp_path / name).read_text() == "{}"
    assert len(list(tmp_path.iterdir())) == 1


def test_files_of_other_origin_are_replaced_by_force(small_model, tmp_path):
    for name in ("model.training", "model.csv", "model.training.previous"):
        (tmp_path / name).write_text("{}")
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    assert ask(*command, "--force")["epochs"] == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"model.keras", "model.modules", "model.csv"}


def test_command_whose_training_is_done_says_so(small_model, tmp_path):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    found = ask(*command)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    assert "This training is done already" in run(*command)
    assert ask(*command) == found
    for other in (("--gamma", 0.5), ("--threshold", 0.5), ("--restart",)):
        assert "model.keras' exists. Pass --force" in fail(*command, *other)
    left = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    assert left == before
    assert ask(*command, "--force")["seconds"] != found["seconds"]  # trained again
    (tmp_path / "model.modules").unlink()
    assert "model.keras' exists" in fail(*command)


def test_kill_after_the_outputs_leaves_a_training_that_is_done(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.cli.training_files.TrainingFiles.remove", interrupted)
        assert invoke(*command).exit_code == 130
    assert ask(*command)["epochs"] == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"model.keras", "model.modules", "model.csv"}
    assert "done already" in run(*command)


def test_second_training_of_an_output_is_refused(small_model, tmp_path):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with claimed(tmp_path / "model.keras"):
        message = fail(*command)
    assert f"to write {str(tmp_path / 'model.keras')!r}" in message
    assert not list(tmp_path.iterdir())


def test_interrupted_first_epoch_is_not_called_complete(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *STEPS, "-o", tmp_path / "model.keras")
    with monkeypatch.context() as patch:
        patch.setattr("moda_keras.experiments.recipe._Clock.on_epoch_end", interrupted)
        result = invoke(*command)
    assert "No epoch was complete. Rerun the command to resume" in result.stderr
    assert "Resuming" not in invoke(*command).stderr


def interrupted(*arguments, **named):
    raise KeyboardInterrupt


def test_table_has_accuracy_and_sizes(small_model, tmp_path):
    output = ("-o", tmp_path / "new" / "a.keras")
    shown = run("train", *TINY_DATA, "--model", small_model, *STEPS, *output)
    assert "test accuracy" in shown and "module size, average" in shown and "Wrote" in shown
