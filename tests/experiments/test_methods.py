"""The experiment that compares methods, with a search of a few lines in their place."""

import importlib.machinery
import sys
import types
from dataclasses import replace
from functools import partial
from typing import ClassVar

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.experiments import COMPARED_METHODS, EXPERIMENTS, read_rows
from moda_keras.experiments.compared_methods import (
    OfLoss,
    OfSearch,
    OfSubtaskSearch,
    compared_method,
)
from moda_keras.experiments.experiment import Workspace
from moda_keras.experiments.method_figures import choose_subtasks
from moda_keras.methods import Search

METHODS = EXPERIMENTS["methods"]
OF_MODULES = (
    "module_size", "module_overlap", "kernels_kept", "cohesion", "coupling", "side_by_side_size",
    "side_by_side_flops",
)  # fmt: skip


class Halves(Search):
    """Gives each class, round by round, one more random half of the units."""

    name = "halves"
    asked: ClassVar[list] = []

    def __init__(self, halves=2, *, classes=None, seed=0):
        super().__init__(seed=seed)
        self.asked.append(classes)
        self.halves = halves
        self.classes = classes

    def get_config(self):
        return {"halves": self.halves, "classes": self.classes, "seed": self.seed}

    def rounds(self, problem):
        return self.halves

    def start(self, problem):
        return {h.name: np.zeros((problem.classes, h.units), bool) for h in problem.hidden}

    def advance(self, problem, state, index):
        random = self.random(index)
        return {name: units | (random.random(units.shape) < 0.5) for name, units in state.items()}

    def units(self, problem, state):
        return state


def config_of(**changes):
    settings = {
        "data": "digits",
        "image_size": 8,
        "samples_per_class": 12,
        "test_samples_per_class": 5,
        "networks": ["small_cnn"],
        "epochs": 2,
        "batch_size": 30,
        "augment": "none",
        "threshold": 0.8,
        "compared": ["standard", "moda", "halves", "halves_subtask", "importance", "head_only"],
        "options": {"importance": {"parameters": 0.5, "calibration_samples": 20}},
        "sizes": [2, 3],
        "subtasks_per_size": 2,
        "retrain_epochs": 1,
    }
    return METHODS.config(**{**settings, **changes})


@pytest.fixture(scope="module", autouse=True)
def halves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMPARED_METHODS, "halves", partial(OfSearch, Halves))
        patch.setitem(COMPARED_METHODS, "halves_subtask", partial(OfSubtaskSearch, Halves))
        yield


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("methods")


@pytest.fixture(scope="module")
def rows(output):
    return {row["method"]: row for row in METHODS.run(config_of(), output)}


@pytest.fixture(scope="module")
def data():
    return config_of().load_data().standardized()


def modules_of(output, method):
    folder, pattern = {
        "standard": ("models", "*-standard-*.modules"),
        "moda": ("models", "*-modular-*.modules"),
        "halves": ("modules", "*-halves.modules"),
    }[method]
    (path,) = (output / folder).glob(pattern)
    modules = mk.load_modules(path)
    return modules if method == "halves" else modules.with_threshold(0.8)


def parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def accuracy(model, data, classes, columns=None):
    """The share of a sub-task's test images whose largest output is that of their class."""
    rows = [i for i, label in enumerate(data.y_test) if label in classes]
    outputs = model.predict(data.x_test[rows], verbose=0)
    outputs = outputs if columns is None else outputs[:, columns]
    chosen = [classes[int(np.argmax(row))] for row in outputs]
    return sum(int(a == b) for a, b in zip(chosen, data.y_test[rows], strict=True)) / len(rows)


def test_a_row_for_each_method_with_what_it_has(rows):
    assert list(rows) == list(config_of().compared)
    for method in ("standard", "moda", "halves"):
        assert None not in rows[method].values()
        assert 0 < rows[method]["module_size"] <= rows[method]["size"] <= 1
    for method in ("halves_subtask", "importance", "head_only"):
        absent = {name for name, value in rows[method].items() if value is None}
        costly = {"reuse_accuracy"} if method == "halves_subtask" else set()
        assert absent == {*OF_MODULES, *costly}


@pytest.mark.parametrize("method", ["standard", "moda", "halves"])
def test_figures_are_those_of_composed_models(method, rows, output, data):
    modules, row = modules_of(output, method), rows[method]
    subtasks = choose_subtasks(10, [2, 3], 2)
    assert sorted(map(len, subtasks)) == [2, 2, 3, 3]
    composed = {subtask: mk.compose(modules, subtask) for subtask in subtasks}
    single = [mk.compose(modules, [index]) for index in range(10)]
    expected = {
        "reuse_accuracy": [accuracy(m, data, s) for s, m in composed.items()],
        "full_accuracy": [accuracy(modules.model, data, s, list(s)) for s in subtasks],
        "size": [parameters(m) / parameters(modules.model) for m in composed.values()],
        "flops": [mk.metrics.count_flops(m) for m in composed.values()],
        "side_by_side_flops": [
            sum(mk.metrics.count_flops(single[index]) for index in s) for s in subtasks
        ],
        "side_by_side_size": [
            sum(parameters(single[index]) for index in s) / parameters(modules.model)
            for s in subtasks
        ],
        "module_size": [parameters(m) / parameters(modules.model) for m in single],
    }
    for name in ("flops", "side_by_side_flops"):
        expected[name] = np.array(expected[name]) / mk.metrics.count_flops(modules.model)
    for name, values in expected.items():
        assert row[name] == pytest.approx(np.mean(values)), name
    assert row["parameters"] == parameters(modules.model)
    before = [accuracy(mk.compose(modules, s), data, s) for s in choose_subtasks(10, [2, 3], 1)]
    assert row["before_retraining"] == pytest.approx(np.mean(before))


def test_model_of_a_sub_task_by_importance_is_within_its_size(rows):
    row = rows["importance"]
    assert 0.3 < row["size"] <= 0.5
    assert row["parameters"] == rows["standard"]["parameters"]
    assert row["full_accuracy"] == rows["standard"]["full_accuracy"]


def test_head_alone_is_the_model_restricted_to_the_sub_task(rows):
    row = rows["head_only"]
    assert row["reuse_accuracy"] == row["full_accuracy"] == rows["standard"]["full_accuracy"]
    assert 0.9 < row["size"] < 1


def test_retraining_changes_accuracy_and_starts_from_the_composed_model(output, rows):
    found = read_rows(next((output / "subtasks").glob("*-halves-retrained.csv")))
    assert [len(row["classes"].split()) for row in found] == [2, 3]
    assert np.mean([row["after"] for row in found]) == rows["halves"]["retrained_accuracy"]
    assert any(row["after"] != row["before"] for row in found)


def test_search_for_a_sub_task_is_told_its_classes(output, rows):
    found = sorted(path.stem for path in (output / "modules").glob("*-halves_subtask-*.modules"))
    few = choose_subtasks(10, [2, 3], 1)
    assert [path.partition("halves_subtask-")[2] for path in found] == sorted(
        "-".join(map(str, subtask)) for subtask in few
    )
    assert all(list(subtask) in Halves.asked for subtask in few)
    assert rows["halves_subtask"]["before_retraining"] is not None


def test_seconds_of_searches_are_apart_from_those_of_training(rows):
    assert rows["halves"]["train_seconds"] == rows["standard"]["train_seconds"] > 0
    assert rows["moda"]["train_seconds"] != rows["standard"]["train_seconds"]
    assert all(row["modularize_seconds"] > 0 for row in rows.values())


def test_finished_rows_are_kept_and_a_missing_one_needs_no_search(output, rows, monkeypatch):
    monkeypatch.setattr(Halves, "advance", pytest.fail)
    monkeypatch.setattr("moda_keras.experiments.trained_model.fit_by_recipe", pytest.fail)
    monkeypatch.setattr("moda_keras.experiments.compared_methods.calibrate", pytest.fail)
    path = output / "methods.csv"
    before = path.read_text()
    assert METHODS.run(config_of(), output) == list(rows.values())
    assert path.read_text() == before
    path.write_text("".join(line for line in before.splitlines(True) if ",halves," not in line))
    again = {row["method"]: row for row in METHODS.run(config_of(), output)}
    assert again["halves"] == rows["halves"]


def test_interrupted_search_goes_on_and_its_seconds_add_up(output, rows, tmp_path, monkeypatch):
    (tmp_path / "models").symlink_to(output / "models")
    advance = Halves.advance

    def interrupted(self, problem, state, index):
        if index == 1:
            raise KeyboardInterrupt
        return advance(self, problem, state, index)

    config = config_of(compared=["halves"])
    monkeypatch.setattr(Halves, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        METHODS.run(config, tmp_path)
    (spent,) = (tmp_path / "modules").glob("*.seconds")
    assert float(spent.read_text()) > 0
    spent.write_text("1000.0")
    rounds = []
    monkeypatch.setattr(Halves, "advance", lambda *of: rounds.append(of[-1]) or advance(*of))
    (row,) = METHODS.run(config, tmp_path)
    assert rounds == [1]
    assert row["modularize_seconds"] == float(spent.read_text()) > 1000
    same = [name for name in row if "seconds" not in name]
    assert [row[name] for name in same] == [rows["halves"][name] for name in same]


def test_figure_has_a_mark_for_each_method(output, rows):
    assert (output / "methods.png").read_bytes().startswith(b"\x89PNG")
    figure = METHODS.draw(METHODS.summary(list(rows.values())))
    modules, composed = figure.axes
    marks = {line.get_label(): line.get_xydata().tolist() for line in modules.lines}
    assert list(marks) == ["standard", "moda", "halves"]
    row = rows["halves"]
    assert marks["halves"] == [[row["module_size"], row["reuse_accuracy"]]]
    assert [line.get_label() for line in composed.lines] == [*marks, "importance", "head_only"]


def test_figure_that_cannot_be_drawn_is_told(output, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match=r"methods.png' is not drawn: .*matplotlib"):
        METHODS.run(config_of(), output)


def test_summary_has_the_figures_that_only_some_methods_have(output, rows):
    summary = {row["method"]: row for row in read_rows(output / "methods-summary.csv")}
    assert summary["head_only"]["module_size"] is None
    assert summary["standard"]["module_size"] == rows["standard"]["module_size"]


# ----------------------------------------------------------------- methods with their own model


class Negated(mk.ModularModel):
    """A model whose logits are those of a network with the other sign."""

    @classmethod
    def from_model(cls, model):
        return cls(model.input, model.output * -1.0)


def plain_modules(model, batches, *, class_names, threshold, verbose):
    plain = keras.Model(model.input, model.get_layer("logits").output)
    modules = mk.decompose(plain, batches, class_names=class_names, verbose=verbose)
    return modules.with_threshold(threshold)


@pytest.fixture
def negated(monkeypatch):
    """A folder `moda_keras.methods.negated` and the method in the table."""
    name = "moda_keras.methods.negated"
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.Loss, module.Model, module.find = mk.MODALoss, Negated, plain_modules
    monkeypatch.setitem(sys.modules, name, module)
    names = {"loss": "negated.Loss", "model": "negated.Model", "find": "negated.find"}
    monkeypatch.setitem(COMPARED_METHODS, "negated", partial(OfLoss, names))
    keras.saving.register_keras_serializable(package="tests")(Negated)


def test_method_with_a_model_of_its_own(negated, tmp_path, data):
    options = {"negated": {"gamma": 0.1, "small_cnn": {"threshold": 0.5}}}
    config = config_of(compared=["negated"], options=options, retrain_epochs=0)
    (row,) = METHODS.run(config, tmp_path)
    (path,) = (tmp_path / "models").glob("small_cnn-negated-seed0-*.modules")
    modules = mk.load_modules(path)
    assert modules.threshold == 0.5
    trained = keras.saving.load_model(path.with_suffix(".keras"))
    assert isinstance(trained, Negated)
    assert trained.get_compile_config()["modular_loss"]["config"]["gamma"] == 0.1
    np.testing.assert_allclose(
        trained.predict(data.x_test, verbose=0),
        -modules.model.predict(data.x_test, verbose=0),
        rtol=1e-5,
    )
    assert row["accuracy"] == pytest.approx(accuracy(trained, data, list(range(10))))
    full = [accuracy(trained, data, s, list(s)) for s in choose_subtasks(10, [2, 3], 2)]
    assert row["full_accuracy"] == pytest.approx(np.mean(full))
    assert row["full_accuracy"] > row["reuse_accuracy"]
    assert row["parameters"] == parameters(modules.model)
    assert row["before_retraining"] is None and row["retrained_accuracy"] is None
    assert METHODS.run(config, tmp_path) == [row]


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compared": ["magic"]}, r"Expected `compared` .*'standard', 'moda'.*\['magic'\]"),
        ({"compared": []}, "Expected `compared` .*Received: none"),
        ({"options": {"magic": {}}}, "Expected `options` "),
        ({"subtasks_per_size": 0}, "`subtasks_per_size` >= 1"),
        ({"retrained_per_size": 0}, "`retrained_per_size` >= 1"),
        ({"retrain_epochs": -1}, "`retrain_epochs` >= 0"),
    ],
)
def test_impossible_config_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"halves": {"thirds": 3}}}, "options that the method 'halves' has.*thirds"),
        ({"options": {"importance": {"size": 3}}}, "options that the method 'importance' has"),
        ({"options": {"head_only": {"size": 3}}}, "options that the method 'head_only' has"),
        ({"sizes": [2, 11]}, "Expected `sizes` from 2 to 10"),
        ({"sizes": [1]}, "Expected `sizes` from 2 to 10"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(
    settings, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(Workspace, "train", pytest.fail)
    with pytest.raises(ValueError, match=message):
        METHODS.run(config_of(**settings), tmp_path)


@pytest.mark.parametrize("name", ["nowhere.Search", "search.Nothing"])
def test_method_that_is_not_there_is_refused_with_those_that_are(name, monkeypatch):
    monkeypatch.setitem(COMPARED_METHODS, "missing", partial(OfSearch, name))
    with pytest.raises(ValueError, match=rf"which has \[.*'moda'.*Received: '{name}'"):
        compared_method("missing", {})


def test_streamed_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Workspace, "data", object())
    with pytest.raises(ValueError, match=r"fits into memory.*Received: data='digits'"):
        METHODS.run(config_of(), tmp_path)


def test_options_for_one_network_come_on_top():
    options = {"halves": {"halves": 3, "small_vgg": {"halves": 5}}}
    config = config_of(options=options)
    assert config.options_of("halves", "small_cnn") == {"halves": 3}
    assert config.options_of("halves", "small_vgg") == {"halves": 5}
    assert config.options_of("moda", "small_vgg") == {}


def test_moda_comes_with_the_warm_up_of_the_config_and_with_constant_weights(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def train_by(self, recipe, data=None):
        recipes.append(recipe)
        raise Stop

    recipes = []
    monkeypatch.setattr(Workspace, "train_by", train_by)
    workspace = Workspace(config_of(warmup="accuracy"), tmp_path)
    for name in ("moda", "moda_constant"):
        with pytest.raises(Stop):
            compared_method(name, {}).find(workspace, name, "small_cnn", 0)
    assert [recipe.warmup for recipe in recipes] == ["accuracy", None]
    assert recipes[1] == replace(recipes[0], warmup=None)


def test_sample_of_sub_tasks_is_seeded_and_a_smaller_one_is_part_of_it():
    many = choose_subtasks(10, [2, 5], 20)
    assert len(many) == len(set(many)) == 40 and many == choose_subtasks(10, [2, 5], 20)
    assert set(choose_subtasks(10, [2, 5], 3)) < set(many)
    assert choose_subtasks(3, [2], 99) == [(0, 1), (0, 2), (1, 2)]
