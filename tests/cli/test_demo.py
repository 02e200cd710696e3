import pytest
from command_line import ask, fail
from small_models import BACKEND

import moda_keras as mk
from moda_keras.cli.demo import FILES


@pytest.mark.skipif(BACKEND != "torch", reason="one backend is enough for the demo, which is slow")
def test_demo_writes_figures_and_modules(tmp_path, monkeypatch):
    from moda_keras.experiments import demo

    # One sub-task of each number of classes is enough to see that everything is drawn.
    # Ten epochs of the weak LeNet5 train nothing that this test looks at.
    monkeypatch.setattr(demo, "weak_lenet5", lambda data: demo.zoo.lenet5(data.x_train.shape[1:]))
    few = {**demo.run_demo.__kwdefaults__, "subtasks": 1}
    monkeypatch.setattr(demo.run_demo, "__kwdefaults__", few)
    found = ask("demo", "--epochs", 1, "--output", tmp_path / "new")
    assert set(found["models"]) == {"standard", "modular"}
    for name in ("overlap", "shared_units", "subtasks"):
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(FILES)
    modules = mk.load_modules(tmp_path / "new" / "digits.modules")
    assert modules.num_classes == 10
    assert mk.compose(modules, [0, 1]).output_shape == (None, 2)


@pytest.mark.parametrize("name", FILES)
def test_demo_replaces_files_by_force_alone(name, tmp_path, monkeypatch):
    runs = []

    def run_demo(output, **options):
        runs.append(output)
        return {}

    monkeypatch.setattr("moda_keras.experiments.demo.run_demo", run_demo)
    (tmp_path / name).touch()
    assert f"{name}' exists. Pass --force" in fail("demo", "-o", tmp_path) and not runs
    ask("demo", "-o", tmp_path, "--force")
    assert runs == [tmp_path]
