import pytest
from command_line import ask, fail

import moda_keras as mk
from moda_keras import datasets, experiments
from moda_keras.cli.demo import FILES
from moda_keras.experiments.trained_model import train_model


@pytest.fixture
def few_digits(monkeypatch):
    """One epoch on few images is enough to see that everything is computed and drawn."""
    load = datasets.load

    def few(name, **options):
        return load(name, **options, samples_per_class=16, test_samples_per_class=3)

    monkeypatch.setattr(datasets, "load", few)
    monkeypatch.setattr("moda_keras.cli.demo.WEAK_EPOCHS", 1)


@pytest.fixture
def losses(monkeypatch):
    """The modular losses of the models that are trained, in their order."""
    seen = []

    def train(recipe, *rest):
        seen.append(recipe.modular_loss)
        return train_model(recipe, *rest)

    monkeypatch.setattr(experiments, "train_model", train)
    return seen


def test_demo_writes_figures_and_modules(tmp_path, few_digits, losses):
    found = ask("demo", "--epochs", 1, "--output", tmp_path / "new")
    assert set(found["models"]) == {"standard", "modular"}
    for measured in found["models"].values():
        assert [row["k"] for row in measured["subtasks"]] == list(range(2, 11))
        assert sum(row["cells"] for row in measured["subtasks"]) == 1013
    assert found["replacement"]["training_images"] == 10
    for name in ("overlap", "shared_units", "subtasks"):
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(FILES)
    modules = mk.load_modules(tmp_path / "new" / "digits.modules")
    assert modules.num_classes == 10
    assert mk.compose(modules, [0, 1]).output_shape == (None, 2)
    standard, modular, weak = losses
    assert standard is weak is None and modular.get_config() == mk.MODALoss().get_config()


@pytest.mark.parametrize("name", FILES)
def test_demo_replaces_files_only_with_force(name, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load", started)
    (tmp_path / name).touch()
    assert f"{name}' exists. Pass --force" in fail("demo", "-o", tmp_path)
    assert "started" in fail("demo", "-o", tmp_path, "--force")


def started(*arguments, **named):
    raise RuntimeError("started")
