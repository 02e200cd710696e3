import importlib
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from small_models import cnn, mlp, random_modules, run_in_fresh_process

import moda_keras as mk
from moda_keras import evaluation as metrics
from moda_keras.evaluation.shared_units import shared_units
from moda_keras.reporting import plots


@pytest.fixture(scope="module")
def modules():
    return random_modules(mlp(), seed=1)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_overlap_shows_the_matrix(modules):
    ax = plots.plot_overlap(modules, title="Shared", maximum=0.5)
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), metrics.module_overlap(modules))
    assert image.get_clim() == (0, 0.5)
    assert tick_labels(ax.xaxis) == tick_labels(ax.yaxis) == ["0", "1", "2"]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("Shared", "module", "module")
    assert "weights" in ax.figure.axes[1].get_ylabel()


def test_overlap_is_drawn_into_given_axes(modules):
    figure, (left, right) = plt.subplots(1, 2)
    assert plots.plot_overlap(modules, right) is right
    assert not left.images
    assert figure.get_axes()[1].get_title() == "Weights that modules share"


def test_overlap_with_a_class_without_samples():
    counts = {"first": np.full((3, 6), 2), "second": np.full((3, 5), 2)}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [2, 0, 2], class_names=["a", "b", "c"])
    ax = plots.plot_overlap(modules)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert np.isnan(shown[1]).all()
    assert np.isfinite(shown[0, 2])
    assert tick_labels(ax.xaxis) == ["a", "b", "c"]
    ax.figure.canvas.draw()


def test_many_classes_have_no_labels_of_their_own():
    many = plots.MAX_LABELLED_CLASSES + 1
    modules = random_modules(mlp(classes=many))
    ax = plots.plot_overlap(modules)
    assert ax.images[0].get_array().shape == (many, many)
    assert len(ax.get_xticks()) < many


def jaccard(first, second):
    return (first & second).sum() / (first | second).sum()


def test_shared_units_are_mean_jaccard_indices(modules):
    for name, share in shared_units(modules).items():
        table = modules.units[name]
        pairs = [jaccard(table[c], table[d]) for c, d in ((0, 1), (0, 2), (1, 2))]
        assert share == pytest.approx(sum(pairs) / 3)


def test_shared_units_are_bars_side_by_side(modules):
    others = random_modules(mlp(), seed=2)
    ax = plots.plot_shared_units({"standard": modules, "modular": others})
    assert len(ax.containers) == 2
    for bars, shown in zip(ax.containers, (modules, others), strict=True):
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx(list(shared_units(shown).values()))
    left, right = ([bar.get_x() for bar in bars] for bars in ax.containers)
    width = ax.containers[0][0].get_width()
    np.testing.assert_allclose(np.subtract(right, left), width)
    assert tick_labels(ax.xaxis) == ["first", "second"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["standard", "modular"]
    assert ax.texts[0].get_text() == f"{100 * ax.containers[0][0].get_height():.0f}"


def test_subtasks_are_lines_with_a_colour_for_each_model():
    curves = {
        "standard": {"composed": [0.9, 0.8], "full": [0.95, 0.9]},
        "modular": {"composed": [0.92, 0.85], "full": [0.94, 0.91]},
    }
    ax = plots.plot_subtasks([2, 3], curves, "accuracy", title="Accuracy")
    assert [line.get_ydata().tolist() for line in ax.lines] == [
        values for lines in curves.values() for values in lines.values()
    ]
    assert all(line.get_xdata().tolist() == [2, 3] for line in ax.lines)
    colours = [line.get_color() for line in ax.lines]
    styles = [line.get_linestyle() for line in ax.lines]
    assert colours == ["C0", "C0", "C1", "C1"]
    assert styles[:2] == styles[2:]
    assert styles[0] != styles[1]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["standard, composed", "standard, full", "modular, composed", "modular, full"]
    labels = (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())
    assert labels == ("classes composed", "accuracy", "Accuracy")


def test_module_sizes_are_bars_with_a_mean(modules):
    ax = plots.plot_module_sizes(modules)
    sizes = [modules[index].size for index in range(3)]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(sizes)
    assert ax.lines[0].get_ydata() == pytest.approx([np.mean(sizes)] * 2)
    assert tick_labels(ax.xaxis) == ["0", "1", "2"]
    ax.figure.canvas.draw()


def test_module_sizes_leave_out_a_class_without_samples():
    counts = {"first": np.full((3, 6), 2), "second": np.full((3, 5), 2)}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [2, 0, 2])
    ax = plots.plot_module_sizes(modules)
    assert np.isnan(ax.patches[1].get_height())
    assert np.isfinite(ax.lines[0].get_ydata()).all()
    ax.figure.canvas.draw()


def test_class_accuracy_is_a_dot_for_each_model_and_class():
    accuracy = {"before": [0.9, 0.8, np.nan], "after": [0.7, 0.85, 0.6]}
    ax = plots.plot_class_accuracy(accuracy, ["cat", "dog", "fox"], title="By class")
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], [*accuracy.values()])
    spans = [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()]
    assert spans == [[0.7, 0.9], [0.8, 0.85], [0.6, 0.6]]
    assert tick_labels(ax.xaxis) == ["cat", "dog", "fox"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after"]
    assert ax.get_title() == "By class"


def test_threshold_curve_is_in_the_order_of_tau():
    rows = [
        {"threshold": 0.9, "reuse_accuracy": 0.8, "full_accuracy": 0.9, "module_size": 0.1},
        {"threshold": 0.5, "reuse_accuracy": 0.88, "full_accuracy": 0.9, "module_size": 0.3},
    ]
    ax = plots.plot_threshold_curve(rows, threshold=0.9)
    reuse, full, size, mark = (line.get_ydata() for line in ax.lines)
    assert all(list(line.get_xdata()) == [0.5, 0.9] for line in ax.lines[:3])
    assert (list(reuse), list(full), list(size)) == ([0.88, 0.8], [0.9, 0.9], [0.3, 0.1])
    assert list(ax.lines[3].get_xdata()) == [0.9, 0.9]
    assert len(mark) == 2
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["reuse accuracy", "full model", "module size", "tau = 0.9"]


def test_bars_of_many_classes_have_no_labels_of_their_own():
    many = plots.MAX_LABELLED_CLASSES + 1
    ax = plots.plot_module_sizes(random_modules(mlp(classes=many)))
    assert len(ax.patches) == many
    assert len(ax.get_xticks()) < many
    assert ax.get_xlabel() == "class"


def test_plots_are_imported_when_they_are_asked_for():
    code = """
import sys
import moda_keras as mk
assert "moda_keras.reporting.plots" not in sys.modules
print(mk.plots.plot_overlap.__name__)
"""
    assert run_in_fresh_process(code).split() == ["plot_overlap"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delitem(sys.modules, "moda_keras.reporting.plots")
    with pytest.raises(ImportError, match=r'pip install "moda-keras\[plots\]"'):
        importlib.import_module("moda_keras.reporting.plots")


@pytest.mark.parametrize("measure", ["accuracy", "agreement"])
def test_size_curve_shows_slim_models_and_the_head_only(measure):
    def row(model, share, value):
        accuracy = value if measure == "accuracy" else None
        return {"model": model, "flops_share": share, "accuracy": accuracy, "agreement": value}

    rows = [row("full", 1.0, 0.9), row("head only", 0.98, 0.9), row("slim", 0.5, 0.7)]
    rows += [row("repaired", 0.5, 0.85), row("slim", 0.2, 0.4), row("repaired", 0.2, 0.6)]
    ax = plots.plot_size_curve(rows, by="flops", chosen=0.2)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines["slim"] == [[0.2, 0.4], [0.5, 0.7]]
    assert lines["slim and repaired"] == [[0.2, 0.6], [0.5, 0.85]]
    assert lines["head only"] == [[0.98, 0.9]]
    assert [x for x, _ in lines["chosen size"]] == [0.2, 0.2]
    assert measure in ax.get_ylabel() and "multiply-accumulates" in ax.get_xlabel()
    assert ax.get_title() == "What smaller models cost"


def test_methods_have_one_mark_each_and_keep_it():
    rows = [
        {"method": "a", "module_size": 0.2, "size": 0.3, "reuse_accuracy": 0.9},
        {"method": "b", "module_size": None, "size": 0.5, "reuse_accuracy": 0.8},
        {"method": "c", "size": 0.4, "module_size": 0.1, "reuse_accuracy": 0.7},
        {"method": "d", "size": 0.4, "module_size": 0.1, "reuse_accuracy": None},
    ]
    modules, composed = (plots.plot_methods(rows, size=name) for name in ("module_size", "size"))
    found = {line.get_label(): line for line in modules.lines}
    assert {name: line.get_xydata().tolist() for name, line in found.items()} == {
        "a": [[0.2, 0.9]],
        "c": [[0.1, 0.7]],
    }
    assert [line.get_label() for line in composed.lines] == ["a", "b", "c"]
    others = {line.get_label(): line for line in composed.lines}
    assert all(found[name].get_marker() == others[name].get_marker() for name in found)
    assert len({line.get_marker() for line in composed.lines}) == 3
    assert modules.get_ylabel() == "reuse accuracy" and "module" in modules.get_xlabel()
    with pytest.raises(ValueError, match="Expected `size` out of"):
        plots.plot_methods(rows, size="weight")


NOTHING_TO_DRAW = {
    "no rows": (lambda m: plots.plot_size_curve([]), r"one dict.*size_curve.*rows=\[\]"),
    "no thresholds": (lambda m: plots.plot_threshold_curve([]), r"one dict.*rows=\[\]"),
    "no methods": (lambda m: plots.plot_methods([]), r"one dict.*rows=\[\]"),
    "one row alone": (lambda m: plots.plot_size_curve({"model": "slim"}), "list of at least one"),
    "unknown cost": (lambda m: plots.plot_size_curve([{}], by="bytes"), "Expected `by` out of"),
    "modules alone": (lambda m: plots.plot_shared_units(m), r"dict.*`\{\"trained\": modules\}`"),
    "no modules": (lambda m: plots.plot_shared_units({}), "at least one `ModuleSet`"),
    "a model": (lambda m: plots.plot_shared_units({"a": m.model}), "`mk.decompose"),
    "other architecture": (
        lambda m: plots.plot_shared_units({"a": m, "b": random_modules(cnn())}),
        r"one architecture.*\['first', 'second'\] and \['relu1'",
    ),
    "fewer names": (
        lambda m: plots.plot_class_accuracy({"a": [1, 1], "b": [1, 1, 0]}, ["cat", "dog"]),
        r"lists of 2 numbers, one for each of the `class_names`. Received: \['3 for b'\]",
    ),
    "accuracy alone": (
        lambda m: plots.plot_class_accuracy([0.5, 0.6], ["cat", "dog"]),
        r"dict of lists.*Received: \[0.5, 0.6\]",
    ),
    "fewer sizes": (
        lambda m: plots.plot_subtasks([2], {"a": {"composed": [0.9, 0.8]}}, "accuracy"),
        r"lists of 1 numbers.*'2 for composed'",
    ),
}


@pytest.mark.parametrize("kind", NOTHING_TO_DRAW)
def test_what_cannot_be_drawn_is_refused(kind, modules):
    draw, message = NOTHING_TO_DRAW[kind]
    with pytest.raises(ValueError, match=message):
        draw(modules)
    assert not plt.get_fignums()


def test_class_without_accuracy_has_no_dot(recwarn):
    ax = plots.plot_class_accuracy({"a": [0.5, np.nan], "b": [0.7, np.nan]}, ["cat", "dog"])
    assert len(ax.collections[0].get_segments()[1]) == 0
    assert len(ax.collections[0].get_segments()[0]) == 2
    assert not [each for each in recwarn if "NaN" in str(each.message)]
