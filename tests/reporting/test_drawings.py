import re

import pytest
from matplotlib.axes import Axes

from moda_keras.reporting.drawings import STYLE, VARIABLES, drawing


def draw(ax: Axes):
    ax.plot([0, 1], [0, 1], "-o", label="a line")
    ax.set(title="Title", xlabel="tau")
    ax.legend()


@pytest.fixture
def svg():
    return drawing(draw, (4, 3), 'A "line"')


def test_colours_are_those_of_the_page(svg):
    assert not any(colour in svg for colour in VARIABLES)
    assert {"var(--ink)", "var(--muted)", "var(--accent)"} <= set(re.findall(r"var\([^)]*\)", svg))
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#000000"}, "would not follow dark mode"


def test_text_stays_text_and_the_heading_is_left_to_the_page(svg):
    assert re.findall(r"<text[^>]*>([^<]*)</text>", svg)[-1] == "a line"
    assert "Title" not in svg


def test_element_stands_in_html_as_it_is(svg):
    assert svg.startswith('<svg role="img" aria-label="A &#34;line&#34;"')
    assert "xmlns" not in svg and "http" not in svg


def test_same_figure_gives_the_same_element(svg):
    assert svg == drawing(draw, (4, 3), 'A "line"')


def test_global_style_is_left_alone():
    import matplotlib as mpl

    before = {name: mpl.rcParams[name] for name in STYLE}
    drawing(draw, (4, 3), "label")
    assert {name: mpl.rcParams[name] for name in STYLE} == before
