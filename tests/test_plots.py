import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from small_models import mlp, random_modules

import moda_keras as mk
from moda_keras import metrics, plots


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
    for name, share in plots.shared_units(modules).items():
        table = modules.units[name]
        pairs = [jaccard(table[c], table[d]) for c, d in ((0, 1), (0, 2), (1, 2))]
        assert share == pytest.approx(sum(pairs) / 3)


def test_shared_units_are_bars_side_by_side(modules):
    others = random_modules(mlp(), seed=2)
    ax = plots.plot_shared_units({"standard": modules, "modular": others})
    assert len(ax.containers) == 2
    for bars, shown in zip(ax.containers, (modules, others), strict=True):
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx(list(plots.shared_units(shown).values()))
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
