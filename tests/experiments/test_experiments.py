import json

import keras
import pytest

from moda_keras.experiments import EXPERIMENTS, read_rows, summarize
from moda_keras.experiments.config import METHODS
from moda_keras.experiments.experiment import Workspace

TINY = {
    "data": "digits",
    "image_size": 16,
    "samples_per_class": 16,
    "test_samples_per_class": 5,
    "networks": ["small_cnn"],
    "epochs": 4,
    "batch_size": 32,
    "augment": "none",
    "subtasks": 20,
    "scale": 0.5,
}
OWN = {
    "ablation": {"alphas": [0.0], "betas": [1.0], "gammas": [0.3]},
    "replacement": {"targets": [3]},
    "stability": {"seeds": [0, 1], "methods": ["modular"]},
    "suppression": {"units": 2},
    "threshold": {"thresholds": [0.5, 0.9]},
    "modules": {"methods": ["standard", "modular"]},
    "reuse": {"methods": ["modular"], "verified": 1},
    "methods": {
        "compared": ["importance", "standard"],
        "options": {"importance": {"parameters": 0.5, "calibration_samples": 20}},
        "subtasks_per_size": 1,
        "retrain_epochs": 1,
    },
}
# Rows: networks x methods x seeds, times what is the experiment's own.
ROWS = {
    "training": 2,
    "modules": 2,
    "reuse": 9,
    "replacement": 4,
    "threshold": 2,
    "ablation": 3,
    "stability": 2,
    "methods": 2,
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """One folder for all, so that models are trained once."""
    return tmp_path_factory.mktemp("results")


def config_of(name, **changes):
    return EXPERIMENTS[name].config(**{**TINY, **OWN.get(name, {}), **changes})


TRAINS_MANY = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX compiles every model that is trained"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=TRAINS_MANY)
        if name in ("ablation", "replacement", "stability")
        else name
        for name in EXPERIMENTS
    ],
)
def test_experiment_runs_and_resumes(name, output):
    experiment, seen = EXPERIMENTS[name], []
    rows = experiment.run(config_of(name), output, lambda *news: seen.append(news))
    assert len(rows) == ROWS.get(name, len(rows)) and rows
    assert seen[0][:2] == (0, len(rows)) and seen[-1][:2] == (len(rows), len(rows))
    assert all(list(row) == [*experiment.key, *experiment.figures] for row in rows)
    assert rows == read_rows(output / f"{name}.csv")

    record = json.loads((output / f"{name}.json").read_text())
    assert record["config"]["seeds"] and record["environments"][0]["versions"]["keras"]
    assert "accelerator" in record["environments"][0]
    assert record["summary"] == json.loads(json.dumps(experiment.summary(rows)))
    assert experiment.run(config_of(name), output) == rows


@pytest.mark.parametrize("name", ["training", "modules"])
def test_existing_rows_are_not_measured_again(name, output, monkeypatch):
    EXPERIMENTS[name].run(config_of(name), output)
    monkeypatch.setattr(Workspace, "train", pytest.fail)
    assert EXPERIMENTS[name].run(config_of(name), output)


def test_results_of_a_version_with_fewer_settings_are_resumed(output, tmp_path, monkeypatch):
    EXPERIMENTS["training"].run(config_of("training"), output)
    record = json.loads((output / "training.json").read_text())
    for name in ("color", "test_fraction", "data_seed"):
        del record["config"][name]
    (tmp_path / "training.json").write_text(json.dumps(record))
    (tmp_path / "training.csv").write_text((output / "training.csv").read_text())
    monkeypatch.setattr(Workspace, "train", pytest.fail)
    assert EXPERIMENTS["training"].run(config_of("training"), tmp_path)


def test_other_config_in_the_same_folder_is_refused(output):
    EXPERIMENTS["training"].run(config_of("training"), output)
    with pytest.raises(ValueError, match=r"'gamma': 0.3.*'gamma': 0.1.*another output folder"):
        EXPERIMENTS["training"].run(config_of("training", gamma=0.1), output)


def test_classes_are_those_of_the_config(output):
    config = config_of("training", class_names=["8", "1"])
    data = Workspace(config, output).data
    assert data.class_names == ("8", "1") and set(data.y_train) == {0, 1}
    assert config.identity()["class_names"] == ["8", "1"]
    assert "cache" not in config.identity() and "data_dir" not in config.identity()


def test_number_of_workers_may_change(output):
    EXPERIMENTS["training"].run(config_of("training"), output)
    assert EXPERIMENTS["training"].run(config_of("training", n_jobs=2), output)


def test_reuse_is_verified_against_composed_models(output):
    rows = EXPERIMENTS["reuse"].run(config_of("reuse"), output)
    assert [row["k"] for row in rows] == list(range(2, 11))
    assert all(row["verified"] == 1 and row["accuracy_error"] == 0 for row in rows)
    assert all(row["logit_error"] < 1e-5 for row in rows)
    assert all(0 < row["size"] <= 1 and 0 < row["flops"] <= 1 for row in rows)


def test_higher_threshold_never_enlarges_modules(output):
    low, high = EXPERIMENTS["threshold"].run(config_of("threshold"), output)
    assert low["threshold"] < high["threshold"]
    assert low["module_size"] >= high["module_size"]


def test_papers_settings_are_the_defaults():
    for experiment in EXPERIMENTS.values():
        config = experiment.config()
        assert (config.alpha, config.beta, config.gamma) == (1.0, 1.0, 0.3)
        assert (config.epochs, config.batch_size, config.learning_rate) == (200, 128, 0.05)
        assert config.threshold == 0.9 and config.scale == 1.0 and config.warmup is None
    assert EXPERIMENTS["threshold"].config().thresholds == (0.1, 0.5, 0.8, 0.9, 0.95)
    assert EXPERIMENTS["replacement"].config().networks == ("vgg16", "resnet18")


@pytest.mark.parametrize("warmup", [None, "accuracy"])
def test_warmup_is_that_of_the_config(warmup, tmp_path, monkeypatch):
    recipes = []
    monkeypatch.setattr(
        "moda_keras.experiments.experiment.train_model", lambda recipe, *_: recipes.append(recipe)
    )
    workspace = Workspace(config_of("training", warmup=warmup), tmp_path)
    for method in METHODS:
        workspace.train("small_cnn", method, 0)
    standard, modular, no_compactness = recipes
    assert standard.modular_loss is None and standard.warmup is None
    assert modular.modular_loss.warmup == no_compactness.modular_loss.warmup == warmup
    assert modular.modular_loss.weights == {"affinity": 1.0, "dispersion": 1.0, "compactness": 0.3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ["vgg99"]}, "Expected one of"),
        ({"methods": ["magic"]}, "Expected `methods` out of"),
        ({"augment": "mixup"}, "Expected `augment` out of"),
        ({"warmup": "linear"}, "Expected `warmup` out of"),
        ({"scale": 0.0}, r"`scale` in \(0, 1\]"),
        ({"epochs": 0}, "positive integer `epochs`"),
        ({"seeds": []}, "at least one seed"),
        ({"taus": [0.5]}, "Unknown setting of the experiment 'training'"),
    ],
)
def test_impossible_config_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENTS["training"].config(**settings)


def test_summary_has_means_and_deviations_of_groups():
    rows = [
        {"method": "a", "seed": 0, "size": 1.0, "note": "x"},
        {"method": "b", "seed": 0, "size": 5.0, "note": "x"},
        {"method": "a", "seed": 1, "size": 3.0, "note": "x"},
    ]
    assert summarize(rows, ["method"], ["size", "note"]) == [
        {"method": "a", "cells": 2, "size": 2.0, "size_sd": pytest.approx(2**0.5)},
        {"method": "b", "cells": 1, "size": 5.0, "size_sd": None},
    ]


def test_settings_of_the_data_reach_load(tmp_path):
    workspace = Workspace(EXPERIMENTS["modules"].config(data="digits", extra=True), tmp_path)
    with pytest.raises(ValueError, match="`extra` only for"):
        workspace.data  # noqa: B018
