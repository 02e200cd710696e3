import dataclasses
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs
from masking import randomize
from small_models import cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.evaluation import module_size, reuse_accuracy
from moda_keras.reporting.composition_costs import composition_costs
from moda_keras.reporting.expected_accuracy import expect_accuracy

NAMES = ["cat", "<script>alert(1)</script>", 'dog "and" &co', "naïve café"]
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """A page as a browser reads it; fails on elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.elements, self.words = text, [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def shown(self):
        return " ".join(" ".join(self.words).split())

    @property
    def data(self):
        found = re.search(r'id="composition-data">(.*?)</script>', self.text, re.DOTALL)
        return json.loads(found[1], parse_constant=refuse)


def refuse(constant):
    """As a browser does; Python accepts NaN."""
    raise ValueError(f"{constant} is not JSON")


def decomposed(model, names=None, samples=48):
    x, y = labelled_inputs(model, samples)
    return mk.decompose(model, x, y, threshold=0.6, class_names=names, verbose=0), x, y


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    modules, x, y = decomposed(cnn(classes=4), NAMES)
    path = tmp_path_factory.mktemp("report") / "folder" / "report.html"
    by_name = [NAMES[label] for label in y]
    result = mk.report.write_report(
        modules, path, x_test=x, y_test=by_name, title="A <report>", thresholds=[0.3, 0.6, 0.9]
    )
    assert result == path
    return modules, x, y, Page(path.read_text(encoding="utf-8"))


def test_page_needs_nothing_else(written):
    *_, page = written
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("src", "href", "action", "poster"):
        links = [attributes[name] for _, attributes in page.elements if name in attributes]
        assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\((?!#)|fetch\(|import\(", page.text)
    assert not {"iframe", "object", "embed"} & {tag for tag, _ in page.elements}


def test_page_is_well_formed(written):
    *_, page = written
    assert page.text.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    targets = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert targets
    targets += [a["xlink:href"][1:] for a in page.all("use")]
    targets += re.findall(r"url\(#([^)]*)\)", page.text)
    assert set(targets) <= set(page.ids)
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert set(labels) <= set(page.ids)


def test_wide_content_scrolls_inside_its_own_box(written):
    *_, page = written
    box = r'<(?:div|figure) class="(?:scroll|tall)[^>]*>\s*<(table|svg)'
    boxes = re.findall(box, page.text)
    assert boxes.count("table") == len(page.all("table"))
    assert boxes.count("svg") == sum("viewbox" in a for a in page.all("svg") if "role" in a) == 1


def test_names_are_shown_as_they_are(written):
    *_, page = written
    assert len(page.all("script")) == 2
    assert all(name in page.shown for name in NAMES)
    assert "A <report>" in page.shown


def test_every_drawing_is_described_or_beside_its_figures(written):
    *_, page = written
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
    assert len(page.all("th")) == sum("scope" in attributes for attributes in page.all("th"))


def test_figures_are_those_of_the_modules(written):
    modules, x, y, page = written
    for size in module_size(modules):
        assert f"{100 * size:.1f} %" in page.shown
    overlap = mk.metrics.mean_overlap(modules)
    assert f"mean overlap {100 * overlap:.1f} %" in page.shown
    full = mk.metrics.full_accuracy(modules.model, range(4), x, y)
    assert f"{100 * full:.1f} %" in page.shown
    for hidden in modules.hidden_activations:
        assert hidden.name in page.shown


def test_findings_are_told_with_figure_and_remedy(written):
    modules, x, y, page = written
    findings = modules.diagnose(x, y)
    assert findings
    for finding in findings:
        assert " ".join(finding.message.split()) in page.shown
        assert finding.remedy.replace("`", "") in page.shown.replace(" .", ".")
    assert "`" not in page.shown


def test_checks_that_were_not_made_are_named(written):
    *_, page = written
    assert "Not checked: a task that is not learned under the modular objectives" in page.shown


def test_tau_curve_is_drawn_and_tabled(written):
    modules, x, y, page = written
    assert "tau-title" in page.ids
    rows = mk.tuning.threshold_curve(modules, x, y, [0.3, 0.6, 0.9])
    for row in rows:
        assert f"{100 * row['reuse_accuracy']:.1f} %" in page.shown


def test_data_of_the_page(written):
    modules, x, y, page = written
    data = page.data
    assert data["present"] == [0, 1, 2, 3]
    assert "exact: the page holds those of all 15 combinations" in page.shown
    measured = data["measured"]["0,1,3"]
    assert measured[0] == pytest.approx(reuse_accuracy(modules, [0, 1, 3], x, y), abs=1e-5)
    assert sum(count for _, _, count in data["accuracy"]["full"]) == len(y)


def test_without_test_data(tmp_path):
    modules, *_ = decomposed(cnn(classes=4))
    path = mk.report.write_report(modules, tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert "accuracy-title" not in page.ids
    assert "tau-title" not in page.ids
    assert {"diagnosis-title", "compose-title", "overlap-title", "modules-title"} <= set(page.ids)
    assert "Accuracy needs test data." in page.shown
    assert page.data["accuracy"] is None


def test_an_interrupt_leaves_the_old_page_whole(tmp_path, monkeypatch):
    modules = random_modules(mlp())
    path = mk.report.write_report(modules, tmp_path / "report.html", title="old")
    old = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mk.report.write_report(modules, path, title="new")
    assert path.read_bytes() == old


def test_modules_from_units(tmp_path):
    modules = random_modules(mlp())
    x, y = labelled_inputs(modules.model)
    path = mk.report.write_report(modules, tmp_path / "report.html", x_test=x, y_test=y)
    page = Page(path.read_text(encoding="utf-8"))
    assert "tau-title" not in page.ids
    assert "needs the counts of decompose" in page.shown


def test_given_rows_are_what_the_page_shows(tmp_path):
    modules = random_modules(mlp())
    rows = [{"classes": (0, 2), "accuracy": 0.75, "full_accuracy": 0.875}]
    path = mk.report.write_report(modules, tmp_path / "report.html", subtask_rows=rows)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.data["measured"] == {"0,2": [0.75, 0.875]}
    assert "for the 1 combinations that were measured" in page.shown


def test_rows_of_a_file_are_those_of_the_sweep(tmp_path):
    modules = random_modules(mlp())
    x, y = labelled_inputs(modules.model)
    rows = mk.metrics.sweep_subtasks(modules, x, y, tmp_path / "rows.csv")
    pages = []
    path = tmp_path / "rows.csv"
    for given in (rows, mk.metrics.read_rows(path), path, str(path)):
        path = mk.report.write_report(modules, tmp_path / "report.html", subtask_rows=given)
        pages.append(path.read_text(encoding="utf-8"))
    assert pages == [pages[0]] * 4
    assert set(Page(pages[0]).data["measured"]) == {"0,1", "0,2", "1,2", "0,1,2"}


def test_rows_of_classes_without_test_samples_do_not_break_the_page(tmp_path):
    modules = random_modules(mlp(classes=10), fraction=0.5)
    x, y = labelled_inputs(modules.model, samples=60)
    rows = [
        {"classes": (7, 8, 9), "accuracy": 0.75, "full_accuracy": 0.875},
        {"classes": (0, 1, 2), "accuracy": 0.5, "full_accuracy": 0.625},
        {"classes": (3, 4, 5), "accuracy": float("nan"), "full_accuracy": float("nan")},
    ]
    path = mk.report.write_report(
        modules, tmp_path / "report.html", x_test=x[y < 3], y_test=y[y < 3], subtask_rows=rows
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert set(page.data["measured"]) == {"7,8,9", "0,1,2"}
    (error,) = expect_accuracy(modules, x[y < 3], y[y < 3], rows[1:2]).errors
    assert f"In 1 composed models it was off by {100 * error:.1f} points" in page.shown
    assert "nan" not in page.shown.lower()


def test_nan_and_infinity_become_null():
    page = import_module("moda_keras.reporting.page")
    found = page.finite({"a": [1, float("nan")], "b": {"c": (-float("inf"), 0.5, "nan", None)}})
    assert found == {"a": [1, None], "b": {"c": [None, 0.5, "nan", None]}}


def test_hundred_classes(tmp_path):
    modules = random_modules(mlp(classes=100), seed=4, fraction=0.1)
    x, y = labelled_inputs(modules.model, samples=300)
    path = mk.report.write_report(
        modules, tmp_path / "report.html", x_test=x, y_test=y, max_samples=200
    )
    assert path.stat().st_size < 400_000
    page = Page(path.read_text(encoding="utf-8"))
    assert len([a for a in page.all("input") if a["type"] == "search"]) == 3
    assert len([a for a in page.all("input") if a["type"] == "checkbox"]) == 100
    assert len(page.all("td")) < 1500, "10,000 pairs are an image"
    images = [a["xlink:href"] for a in page.all("image")]  # the matrix and its colour bar
    assert [image[:22] for image in images] == ["data:image/png;base64,"] * 2
    assert "200 test samples, drawn at random from 300" in page.shown
    assert "among them single classes, pairs and all classes together" in page.shown
    assert "For the rest they are an estimate" in page.shown


def test_class_without_samples_and_a_model_that_cannot_be_cut(tmp_path):
    inputs = keras.Input((4, 3))
    x = layers.SimpleRNN(8)(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(3)(x)))
    x, y = labelled_inputs(model, samples=30)
    modules = mk.decompose(model, x[y != 1], y[y != 1], threshold=0.6, verbose=0)
    path = mk.report.write_report(modules, tmp_path / "report.html", x_test=x, y_test=y)
    page = Page(path.read_text(encoding="utf-8"))
    boxes = [a for a in page.all("input") if a["type"] == "checkbox"]
    assert ["disabled" in box for box in boxes] == [False, True, False]
    assert "1 without a module" in page.shown
    assert "nan" not in page.shown.lower()


def test_model_without_a_fixed_input_shape(tmp_path):
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(x)
    modules = random_modules(randomize(keras.Model(image, layers.Dense(3)(x))))
    path = mk.report.write_report(modules, tmp_path / "report.html")
    assert Page(path.read_text(encoding="utf-8")).data["costs"]["flops"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x_test": np.ones((2, 4))}, "`x_test` and `y_test` together"),
        ({"x_test": np.ones((2, 4)), "y_test": [0, 1, 2]}, "one sample for each label"),
        ({"x_test": np.ones((2, 4)), "y_test": [0, 9]}, "label"),
        ({"x_test": iter([1]), "y_test": [0]}, "`x_test` to be .* Of a dataset take arrays"),
        ({"max_samples": 0}, "max_samples=0"),
        ({"max_samples": "10"}, "`max_samples` to be a whole number .*max_samples='10'"),
        ({"max_samples": 1.5}, "`max_samples` to be a whole number .*max_samples=1.5"),
        ({"thresholds": 0.5}, "`thresholds` to be a list .*thresholds=0.5"),
        ({"thresholds": ["0.5"]}, r"`thresholds` to be a list .*thresholds=\['0.5'\]"),
        ({"subtask_rows": [3]}, "`subtask_rows` to be what `sweep_subtasks` returned"),
        ({"history": 5}, "Expected `history`"),
        ({"subtask_rows": [{"classes": (0, 1), "accuracy": 1}]}, "without .*full_accuracy"),
        ({"subtask_rows": [{"classes": "0 7", "accuracy": 1, "full_accuracy": 1}]}, "Unknown"),
    ],
)
def test_wrong_inputs_are_named(options, message, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match=message):
        mk.report.write_report(random_modules(mlp()), path, **options)
    assert not path.exists()


@pytest.mark.parametrize("wrong", ["digits.modules", mlp()], ids=["path", "model"])
def test_something_other_than_modules(wrong, tmp_path):
    with pytest.raises(ValueError, match="`modules` to be a `ModuleSet`"):
        mk.report.write_report(wrong, tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_without_an_extra_the_error_says_what_to_install(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("plots", "drawings"):
        monkeypatch.delitem(sys.modules, f"moda_keras.reporting.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "moda_keras.reporting.page", raising=False)
    with pytest.raises(ImportError, match=r'pip install "moda-keras\[report\]"'):
        mk.report.write_report(random_modules(mlp()), tmp_path / "report.html")


# -------------------------------------------------------------------------------- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_ticking_classes_shows_what_the_composed_model_has(written, tmp_path):
    modules, x, y, page = written
    subsets = [[0], [1, 3], [0, 1, 2], [0, 1, 2, 3]]
    ticking = """
      const shown = [];
      for (const subset of SUBSETS) {
        for (const box of document.querySelectorAll("#composition input[type=checkbox]")) {
          if (box.checked !== subset.includes(Number(box.value))) box.click();
        }
        const text = (name) => document.querySelector(`[data-show=${name}]`).textContent;
        shown.push(["parameters", "flops", "accuracy", "code"].map(text));
      }
      document.body.textContent = JSON.stringify(shown);
    """.replace("SUBSETS", json.dumps(subsets))
    path = tmp_path / "ticked.html"
    path.write_text(page.text.replace("</body>", f"<script>{ticking}</script></body>"), "utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *OPTIONS, profile, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    shown = json.loads(re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)[1])
    whole = mk.metrics.count_flops(modules.model)
    for subset, (parameters, flops, accuracy, code) in zip(subsets, shown, strict=True):
        composed = mk.compose(modules, subset)
        size = mk.metrics.composed_size(modules, subset)
        assert parameters == f"{100 * size:.1f} %"
        assert flops == f"{100 * mk.metrics.count_flops(composed) / whole:.1f} %"
        assert code == f"mk.compose(modules, {subset})"
        if len(subset) > 1:  # all of them are measured or exact
            assert accuracy == f"{100 * reuse_accuracy(modules, subset, x, y):.1f} %"


def test_the_estimates_of_the_page_are_those_of_python(written, tmp_path, monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    modules, x, y, page = written
    subsets = [[0, 1], [0, 1, 3], [1, 2, 3], [0, 1, 2, 3]]
    accuracy = expect_accuracy(modules, x, y, [])
    costs = []
    pairs = 6 * len(modules.slicer.graph.steps)
    for base, steps in ((2, pairs), (1, pairs - 1)):
        monkeypatch.setattr("moda_keras.reporting.composition_costs.MAX_PLANNED_STEPS", steps)
        found = composition_costs(modules)
        known = {c: cost for c, cost in found.known.items() if len(c) <= base or len(c) == 4}
        costs.append(dataclasses.replace(found, known=known))
    assert [each.base for each in costs] == [2, 1]
    script = page.text.split("<script>")[1].split("</script>")[0]
    (tmp_path / "script.js").write_text(script, "utf-8")
    data = {**page.data, "measured": {}, "all_costs": [each.to_json() for each in costs]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    code = f"""
      const {{ accuracy, cost, prepare }} = require("./script.js");
      const data = prepare(require("./data.json"));
      const found = {subsets}.map((s) => [
        Object.values(accuracy(data, s)), data.all_costs.map((each) => Object.values(cost(each, s)))
      ]);
      console.log(JSON.stringify(found));
    """
    done = subprocess.run(
        ["node", "-e", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for subset, ((value, full, is_measured), shown) in zip(
        subsets, json.loads(done.stdout), strict=True
    ):
        assert value == pytest.approx(accuracy.estimate(subset))
        assert full == pytest.approx(accuracy.full.accuracy(subset))
        assert is_measured == (len(subset) != 3)
        for (cost, is_exact), expected in zip(shown, costs, strict=True):
            known = expected.known.get(tuple(subset))
            assert is_exact == (known is not None)
            assert cost == pytest.approx(known or expected.estimate(subset))
