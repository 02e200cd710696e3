"""The code of docs/methods/README.md runs, and its table names what there is."""

import re
from pathlib import Path

import moda_keras as mk

FOLDER = Path(__file__).parents[2] / "docs" / "methods"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_example():
    names = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, names)
    assert names["together"].output_shape == names["apart"].output_shape == (None, 3)


def test_every_method_is_in_the_table():
    rooms = [name for name in mk.methods.__all__ if name.islower()]
    assert all(f"`{room}." in PAGE for room in rooms)
    for room, name in re.findall(r"`(\w+)\.(\w+)[`,]", PAGE):
        if room in rooms:
            assert hasattr(getattr(mk.methods, room), name)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([\w./-]+\.md)\)", PAGE):
        assert (FOLDER / target).exists(), target
