import sys

import pytest

from moda_keras.experiments import (
    EXPERIMENTS,
    config_from_settings,
    load_settings,
    merge_settings,
    parse_setting,
)


def config(name, settings):
    return config_from_settings(EXPERIMENTS[name], settings, EXPERIMENTS)


def test_settings_that_are_not_given_have_the_paper_s_values():
    for name, experiment in EXPERIMENTS.items():
        assert config(name, {}) == experiment.config()


def test_only_settings_need_pydantic(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert EXPERIMENTS["training"].config(epochs=3).epochs == 3
    with pytest.raises(ImportError, match=r'pip install "moda-keras\[experiments\]"'):
        config("training", {})


def test_own_settings_take_precedence():
    settings = {"epochs": 60, "seeds": [0], "stability": {"seeds": [0, 1, 2]}}
    assert config("stability", settings).seeds == (0, 1, 2)
    assert config("training", settings).seeds == (0,)
    assert {config(name, settings).epochs for name in EXPERIMENTS} == {60}


def test_threshold_is_a_field_and_an_experiment():
    assert config("threshold", {"threshold": 0.8}).threshold == 0.8
    assert config("threshold", {"threshold": {"thresholds": [0.1]}}).thresholds == (0.1,)
    assert config("training", {"threshold": {"thresholds": [0.1]}}).threshold == 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs=60", {"epochs": 60}),
        ("data=my/images", {"data": "my/images"}),
        ("subtasks=null", {"subtasks": None}),
        ("seeds=0, 1", {"seeds": [0, 1]}),
        ("seeds=[0, 1]", {"seeds": [0, 1]}),
        ("networks=small_cnn", {"networks": "small_cnn"}),
        ("reuse.verified=3", {"reuse": {"verified": 3}}),
        ("data=a=b", {"data": "a=b"}),
    ],
)
def test_setting_of_a_command_line(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["epochs", "=3", "epochs=[1", ""])
def test_text_that_is_not_a_setting_is_refused(text):
    with pytest.raises(ValueError, match=r"setting"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("training", {"networks": "lenet5"}, {"networks": ("lenet5",)}),
        ("training", {"learning_rate": 1}, {"learning_rate": 1.0}),
        ("training", {"learning_rate": "1e-3"}, {"learning_rate": 0.001}),
        ("training", {"data": 7}, {"data": "7"}),
        ("training", {"subtasks": None}, {"subtasks": None}),
        ("ablation", {"ablation": {"alphas": [0, 1]}}, {"alphas": (0.0, 1.0)}),
    ],
)
def test_values_are_converted_to_the_types_of_the_config(name, settings, expected):
    found = config(name, settings)
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, r"(?s)Unknown setting.*'epochs'.*'threshold'.*Received: \['epoch'\]"),
        ({"verified": 3}, "Unknown setting"),
        ({"reuse": 3}, "Unknown setting"),
        ({"training": {"taus": [1]}}, r"Unknown setting of the experiment 'training'"),
        ({"epochs": "many"}, "Expected `epochs` to be a valid integer.*Received: epochs='many'"),
        ({"epochs": 1.5}, "Expected `epochs` to be a valid integer"),
        ({"epochs": True}, "Expected `epochs` to be a valid integer.*Received: epochs=True"),
        ({"seeds": [0, "a"]}, r"Expected `seeds\[1\]` to be a valid integer"),
        ({"image_size": "big"}, "Expected `image_size` to be a valid integer"),
        ({"scale": "nan"}, "Expected `scale` to be a finite number"),
        ({"epochs": "many", "gamma": "much"}, "`epochs`.*'many'; .*`gamma`.*'much'"),
        ({3: 4}, "Unknown setting"),
    ],
)
def test_unknown_keys_and_types_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config("training", settings)


def test_settings_are_merged_also_within_an_experiment():
    first = {"epochs": 1, "reuse": {"verified": 1, "seeds": [0]}, "gamma": 0.5}
    second = {"epochs": 2, "reuse": {"verified": 3}, "threshold": {"thresholds": [0.1]}}
    assert merge_settings(first, second) == {
        "epochs": 2,
        "reuse": {"verified": 3, "seeds": [0]},
        "gamma": 0.5,
        "threshold": {"thresholds": [0.1]},
    }
    assert first["reuse"]["verified"] == 1


def test_threshold_cannot_be_both_a_field_and_an_experiment():
    with pytest.raises(ValueError, match=r"Received both: 0\.5 and"):
        merge_settings({"threshold": 0.5}, {"threshold": {"thresholds": [0.1]}})


def test_file_of_settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("epochs: 60  # as in docs\nnetworks: [small_cnn]\nreuse:\n  verified: 2\n")
    settings = load_settings(path)
    assert config("reuse", settings) == EXPERIMENTS["reuse"].config(
        epochs=60, networks=["small_cnn"], verified=2
    )


@pytest.mark.parametrize("content", ["", "- 1\n- 2\n", "epochs: [1\n"])
def test_file_without_a_mapping_is_refused(content, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="Expected a YAML file"):
        load_settings(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none\.yaml"):
        load_settings(tmp_path / "none.yaml")
