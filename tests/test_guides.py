"""Some of the guides run as they stand; `python docs/run_guides.py` runs all of them."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once is enough, on the fastest"
)


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def names_after(guide, monkeypatch, tmp_path):
    """Runs the code of a guide in an empty folder."""
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(script("run_guides").code_of(DOCS / "guides" / f"{guide}.md"), names)
    assert list(tmp_path.glob("*.png"))
    return names


def test_replaced_class_is_better(monkeypatch, tmp_path):
    accuracy = names_after("replace", monkeypatch, tmp_path)["accuracy"]
    assert accuracy["patched"][3] > accuracy["weak"][3]
    assert np.mean(accuracy["patched"]) > np.mean(accuracy["weak"])


def test_rule_is_exact(monkeypatch, tmp_path):
    assert names_after("rule", monkeypatch, tmp_path)["difference"] < 1e-5


def test_every_guide_is_on_the_site():
    site = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS).as_posix()}\n" in site, page


def test_every_public_name_is_in_the_reference():
    import moda_keras as mk

    pages = "".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    modules = {"callbacks", "criteria", "datasets", "experiments", "layers", "methods", "metrics",
               "ops", "report", "slicing", "tuning", "zoo"}  # fmt: skip
    names = [f"mk.{name}" for name in mk.__all__ if name not in modules]
    for module in modules - {"callbacks", "criteria", "methods"}:
        public = getattr(mk, module).__all__
        names += [f"mk.{module}.{name}" for name in public if name != "rules"]
    known = {
        line.split('"')[1].rpartition(".")[2] for line in pages.splitlines() if "heading:" in line
    }
    assert [name for name in names if name.rpartition(".")[2] not in known] == []


def test_page_of_commands_is_up_to_date():
    made = script("command_reference")
    assert made.PAGE.read_text("utf-8") == made.page(), "run `python docs/command_reference.py`"
