from pathlib import Path

import pytest
from command_line import ask, fail, invoke, run

from moda_keras.claims import claimed
from moda_keras.experiments import EXPERIMENTS, load_settings, read_rows
from moda_keras.experiments.settings import config_from_settings

CONFIGS = Path(__file__).parents[2] / "benchmarks" / "configs"
TINY = """
data: digits
samples_per_class: 6
test_samples_per_class: 3
networks: [small_cnn]
epochs: 4
batch_size: 16
augment: none
methods: [modular]
threshold:
  thresholds: [0.5, 0.9]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture
def arguments(folder):
    return ("--config", folder / "tiny.yaml", "--scale", 0.25, "-o", folder / "results")


def test_runs_and_resumes(folder, arguments):
    found = ask("experiment", "training", "threshold", *arguments)
    assert list(found["experiments"]) == ["training", "threshold"]
    config = found["experiments"]["training"]["config"]
    assert (config["scale"], config["epochs"], config["gamma"]) == (0.25, 4, 0.3)
    rows = read_rows(folder / "results" / "threshold.csv")
    assert [row["threshold"] for row in rows] == [0.5, 0.9]
    summary = found["experiments"]["threshold"]["summary"]
    assert summary == EXPERIMENTS["threshold"].summary(rows)
    times = {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*.modules")}
    assert ask("experiment", "training", "threshold", *arguments) == found
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_restart_discards_results_and_keeps_models(folder, arguments):
    ask("experiment", "threshold", *arguments)
    results = folder / "results"
    models = {path: path.stat().st_mtime_ns for path in (results / "models").iterdir()}
    state = results / "models" / "small_cnn-other.training"
    state.write_text("damaged")
    other = (*arguments, "--set", "threshold.thresholds=0.7")
    assert "--restart" in fail("experiment", "threshold", *other)
    (results / "threshold.json").write_text("{")
    assert f"Received: {str(results / 'threshold.json')!r}, which is not one or is damaged" in fail(
        "experiment", "threshold", *other
    )
    ask("experiment", "threshold", *other, "--restart")
    assert [row["threshold"] for row in read_rows(results / "threshold.csv")] == [0.7]
    assert {path: path.stat().st_mtime_ns for path in (results / "models").iterdir()} == models
    ask("experiment", "threshold", *arguments, "--restart")


def test_second_run_in_a_folder_is_refused(folder, arguments):
    with claimed(folder / "results" / "training.csv"):
        assert "training.csv" in fail("experiment", "training", *arguments)


def test_tables_for_people_and_pages(folder, arguments):
    shown = run("experiment", "training", *arguments)
    assert "training: Test accuracy and training time" in shown and "small_cnn" in shown
    page = run("experiment", "training", *arguments, "--markdown").splitlines()
    assert page[0].startswith("## training: ")
    assert page[2].startswith("| network | method | cells | accuracy |")
    assert set(page[3]) <= set("|-") and page[4].startswith("| small_cnn | modular | 1 |")
    assert page[2].count("|") == page[3].count("|") == page[4].count("|")


def test_methods_side_by_side(folder):
    settings = "methods:\n  compared: [standard, importance]\n  subtasks_per_size: 1\n"
    settings += "  retrain_epochs: 0\n  options: {importance: {calibration_samples: 10}}\n"
    own = TINY.replace("methods: [modular]\n", "") + settings
    (folder / "methods.yaml").write_text(own)
    output = folder / "methods"
    arguments = ("--config", folder / "methods.yaml", "--scale", 0.25, "-o", output)
    page = run("experiment", "methods", *arguments, "--markdown").splitlines()
    columns = [cell.strip() for cell in page[2].split("|")]
    standard, importance = ([cell.strip() for cell in row.split("|")] for row in page[4:6])
    assert columns[1:3] == ["network", "method"] and importance[2] == "importance"
    place = columns.index("module_size")
    assert float(standard[place]) > 0 and importance[place] == ""
    assert (output / "methods.png").exists()
    message = fail("experiment", "methods", *arguments, "--set", "methods.compared=magic")
    assert "Expected `compared` to have names out of" in message
    fields = ask("experiment", "--list")["methods"]["fields"]
    assert fields["options"] == {} and fields["sizes"] == [2, 3, 5]


def test_settings_come_after_the_file_and_flags_last(folder):
    output = ("-o", folder / "other", "--set", "epochs=1", "--set", "training.scale=0.9")
    found = ask("experiment", "training", "--config", folder / "tiny.yaml", *output, "--scale", 1)
    config = found["experiments"]["training"]["config"]
    assert (config["epochs"], config["scale"], config["batch_size"]) == (1, 1, 16)


def test_other_settings_in_the_same_folder_are_refused(folder, arguments):
    run("experiment", "training", *arguments)
    message = fail("experiment", "training", *arguments, "--set", "gamma=0.5")
    assert "Choose another output folder" in message


def test_list():
    shown = run("experiment", "--list")
    assert all(name in shown for name in EXPERIMENTS)
    fields = ask("experiment", "--list")["threshold"]["fields"]
    assert fields["thresholds"] == [0.1, 0.5, 0.8, 0.9, 0.95]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "epoch=3"), "Unknown setting. Expected fields of all experiments"),
        (("--set", "epochs=many"), "Expected `epochs` to be a valid integer"),
        (("--set", "epochs"), "Expected a setting such as"),
        (("--config", "none.yaml"), "There is no file"),
        (("--scale", "2"), "`scale` in (0, 1]"),
    ],
)
def test_impossible_settings_are_refused(arguments, message, tmp_path):
    assert message in fail("experiment", "training", *arguments, "-o", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_interrupt_says_how_to_resume(folder, monkeypatch):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("moda_keras.experiments.experiment.train_model", interrupted)
    result = invoke("experiment", "training", "--set", "data=digits", "-o", folder / "killed")
    assert result.exit_code == 130
    assert "Rerun the command to resume" in result.stderr


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_of_the_benchmarks_are_valid(path):
    settings = load_settings(path)
    for experiment in EXPERIMENTS.values():
        assert config_from_settings(experiment, settings, EXPERIMENTS).networks
