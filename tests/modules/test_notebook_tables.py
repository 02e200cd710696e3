"""What notebooks show: small tables, with everything escaped."""

from xml.etree import ElementTree

import keras
import numpy as np
from keras import layers

import moda_keras as mk


def modules_of(names=("cat", "<b>dog</b>", "owl")):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, activation="relu", name="first"), layers.Dense(3)],
        name="pets",
    )
    units = {"first": np.arange(24).reshape(3, 8) % 5 > 1}
    return mk.ModuleSet.from_units(model, units, list(names))


def parsed(html):
    """Fails if it is no well-formed fragment."""
    return ElementTree.fromstring(f"<div>{html}</div>")


def cells(html):
    rows = parsed(html).iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_module_set_has_a_row_and_a_bar_for_each_class():
    modules = modules_of()
    html = modules._repr_html_()
    header, *rows = cells(html)
    assert header[:3] == ["class", "first (8)", "size"]
    assert [row[0] for row in rows] == ["cat", "<b>dog</b>", "owl"]
    assert "<b>" not in html
    for index, row in enumerate(rows):
        assert row[1] == str(modules.units["first"][index].sum())
        assert row[2] == f"{100 * modules[index].size:.1f} %"
    assert html.count("background:#4b7bec") == 3


def test_many_classes_are_shortened():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(50)])
    html = mk.ModuleSet.from_units(model, {})._repr_html_()
    assert len(cells(html)) == 21
    assert "... and 30 more classes" in html


def test_class_without_samples_has_no_bar():
    modules = mk.ModuleSet.from_counts(
        modules_of().model, {"first": np.ones((3, 8), int)}, [1, 0, 1]
    )
    assert cells(modules._repr_html_())[2][2] == "no samples"
    assert modules._repr_html_().count("background:#4b7bec") == 2


def test_module_has_a_row_for_each_activation():
    module = modules_of()["<b>dog</b>"]
    html = module._repr_html_()
    assert cells(html)[1][:2] == ["first", f"{module.units['first'].sum()} of 8"]
    assert "<b>" not in html


def test_findings_and_explanations():
    modules = modules_of()
    found = modules.diagnose()
    assert isinstance(found, list)
    rows = cells(found._repr_html_())[1:]
    assert [row[0] for row in rows] == [each.sign for each in found]
    explained = mk.explain(modules.model)
    assert cells(explained._repr_html_())[1][:5] == ["first", "Dense", "40", "5", "8"]
