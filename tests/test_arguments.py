"""Wrong arguments of public functions are told in words, not by the errors of what they lead to."""

import numpy as np
import pytest
from small_models import inputs_of, mlp

import moda_keras as mk

MODEL = mlp()
X, Y = inputs_of(MODEL, 12), np.arange(12) % 3
ACTIVATIONS = np.eye(4, dtype="float32")
COUNTS, SAMPLES = {"first": np.full((3, 6), 2), "second": np.full((3, 5), 4)}, np.full(3, 4)


@pytest.fixture(scope="module")
def modules():
    return mk.decompose(MODEL, X, Y, verbose=0)


def decompose(x=X, y=Y, **arguments):
    return mk.decompose(MODEL, x, y, verbose=0, **arguments)


def from_counts(counts=COUNTS, samples=SAMPLES, **arguments):
    return mk.ModuleSet.from_counts(MODEL, counts, samples, **arguments)


class Prepared:
    """As a data set with arrays of its own."""

    x_train = property(lambda self: pytest.fail("it was read"))


CALLS = {
    "names in one text": (lambda: decompose(class_names="abc"), "3 distinct names.*'abc'"),
    "names as a number": (lambda: decompose(class_names=3), "3 distinct names.*class_names=3"),
    "no data": (lambda: decompose(None), "Expected data in `x`. Received: x=None"),
    "empty data": (lambda: decompose([]), r"Expected data in `x`. Received: x=\[\]"),
    "data and labels in one": (lambda: decompose((X, Y), None), "tuple of 2. Pass labels as `y`"),
    "batches in a list": (lambda: decompose([X, X, X]), "list of 3. Pass labels as `y`, and batch"),
    "data set": (lambda: decompose(Prepared()), "a Prepared. Pass its `x_train`"),
    "steps": (lambda: decompose(steps="all"), "`steps` to be a positive int.*'all'"),
    "weights": (lambda: decompose(sample_weight=np.full(12, np.nan)), "12 that are negative, NaN"),
    "complex labels": (lambda: decompose(y=Y.astype(complex)), "labels of dtype complex128"),
    "dates": (lambda: decompose(y=Y.astype("datetime64[D]")), "labels of dtype datetime64"),
    "threshold": (lambda: decompose(threshold=True), r"`threshold` in \[0, 1\].*True"),
    "quantile": (lambda: mk.choose_epsilons(MODEL, X, quantile="half"), "`quantile`.*'half'"),
    "no data to choose by": (lambda: mk.choose_epsilons(MODEL, None), "Expected data in `x`"),
    "batch size": (lambda: mk.choose_epsilons(MODEL, X, batch_size="a"), "`batch_size`.*'a'"),
    "units in a list": (lambda: mk.ModuleSet.from_units(MODEL, [1]), "`units` to be a dict"),
    "counts in a list": (lambda: from_counts([1]), "`activation_counts` to be a dict"),
    "frequencies for counts": (lambda: from_counts({"first": np.full((3, 6), 0.5)}), "fractions"),
    "negative counts": (
        lambda: from_counts({"first": np.full((3, 6), -1)}),
        "from 0 to 4 for class",
    ),
    "counts over samples": (lambda: from_counts({"first": np.full((3, 6), 5)}), "Received: 5"),
    "counts of other classes": (
        lambda: from_counts({"first": np.zeros((2, 6))}),
        r"shape \(2, 6\)",
    ),
    "one number of samples": (lambda: from_counts(samples=4), r"shape \(classes,\)"),
    "number of classes": (
        lambda: mk.ops.class_statistics(ACTIVATIONS, [0, 1, 0, 1], 2.5),
        "`num_classes` to be a positive int.*2.5",
    ),
    "axis": (
        lambda: mk.ops.class_similarity(ACTIVATIONS, [0, 1, 0, 1], 2, axis="last"),
        "axis='last'",
    ),
    "epsilon": (
        lambda: mk.ops.activation_frequency(ACTIVATIONS, [0, 1, 0, 1], 2, epsilon="auto"),
        r"epsilons=\['auto'\]",
    ),
    "one activation without a list": (
        lambda: mk.MODALoss().objectives(ACTIVATIONS, [0, 1, 0, 1], 2),
        "a list of at least one activation",
    ),
    "one axis without a list": (
        lambda: mk.MODALoss().objectives([ACTIVATIONS], [0, 1, 0, 1], 2, axes=1),
        "`axes` to have one entry",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_wrong_is_told(name):
    call, message = CALLS[name]
    with pytest.raises(ValueError, match=f"(?s)Expected.*{message}|{message}"):
        call()


OF_MODULES = {
    "rows of a summary": (lambda m: m.summary(max_classes=0), "`max_classes`.*0"),
    "statistic": (lambda m: m.tune_threshold(X, Y, statistic=["mean"]), r"statistic=\['mean'\]"),
    "batch size": (lambda m: m.tune_threshold(X, Y, batch_size=None), "batch_size=None"),
    "loss": (lambda m: m.diagnose(modular_loss="moda"), "`ModularLoss`.*'moda'"),
    "no test data": (lambda m: m.diagnose({}, Y), "Expected data in `x`"),
    "align": (lambda m: m.compose([0, 1], align=True), "align=True"),
}


@pytest.mark.parametrize("name", OF_MODULES)
def test_what_is_wrong_is_told_of_modules(name, modules):
    call, message = OF_MODULES[name]
    with pytest.raises(ValueError, match=f"(?s)Expected.*{message}|{message}"):
        call(modules)


# -------------------------------------------------------------- forms of data that are understood


def in_dicts():
    for start in range(0, 12, 5):
        rows = slice(start, start + 5)
        yield X[rows], {"logits": Y[rows]}, {"logits": np.ones(len(Y[rows]))}


@pytest.mark.parametrize(
    "arguments",
    [
        {"y": Y.astype(object)},
        {"y": {"logits": Y}},
        {"x": in_dicts(), "y": None, "epsilon": 0.0},
        {"y": np.array([b"a", b"b", b"c"])[Y], "class_names": ["a", "b", "c"]},
        {"y": np.array(["a", "b", "c"], object)[Y], "class_names": ("a", "b", "c")},
    ],
    ids=["objects", "dict", "dicts in batches", "bytes", "names"],
)
def test_labels_in_other_forms(arguments, modules):
    found = decompose(**arguments)
    for name, counts in modules.activation_counts.items():
        np.testing.assert_array_equal(found.activation_counts[name], counts)


def test_labels_of_several_outputs_are_refused():
    with pytest.raises(ValueError, match=r"labels of one output\. Received: 2 arrays"):
        decompose(y={"logits": Y, "other": Y})


def test_labels_in_a_list_are_checked_before_training():
    model = mk.ModularModel.from_model(mlp())
    model.compile("sgd", "mse", modular_loss=mk.MODALoss())
    with pytest.raises(ValueError, match="Expected labels from 0 to 2"):
        model.fit(X, [Y + 1], verbose=0)
