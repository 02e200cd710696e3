import functools
import json

import keras
import numpy as np
import oracles
import pytest
from differentiation import compiled, value_and_gradients
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from searches import more_cases, search

import moda_keras as mk

pytestmark = pytest.mark.usefixtures("implementation")
OBJECTIVES = ("affinity", "dispersion", "compactness")

# Few shapes, for JAX compiles once for each; the contents are searched.
CASES = (
    # shapes of the activations, axes of their units, classes, whether labels are one-hot
    (((1, 3),), (-1,), 2, False),
    (((12, 9),), (-1,), 6, False),
    (((5, 3), (5, 2, 4), (5, 3, 2, 2)), (-1, -1, 1), 3, True),
    (((6, 2, 2, 1, 2), (6, 3, 2)), (-1, 1), 4, False),
    *more_cases(30, samples=16, units=12, layers=3),
)
GRADIENT_CASES = (
    (((2, 1),), (-1,), 2, False),
    (((5, 3), (5, 2, 2, 2)), (-1, 1), 3, True),
    (((6, 4),), (-1,), 2, False),
    *more_cases(30, samples=8, units=4, layers=2, seed=1),
)
# Zero is a frequent value, as after a ReLU.
ELEMENTS = st.one_of(st.just(0.0), st.floats(0.25, 4, width=32), st.floats(-4, -0.25, width=32))
FORMS = [(a, c) for a in ("class", "pair") for c in ("unit", "norm")]
GRADIENT_FORMS = [("class", "unit"), ("pair", "norm")]


@st.composite
def batches(draw, cases):
    shapes, axes, classes, one_hot = draw(st.sampled_from(cases))
    samples = shapes[0][0]
    # Often one class alone, or few of them.
    present = draw(st.integers(1, classes))
    labels = draw(hnp.arrays("int32", samples, elements=st.integers(0, present - 1)))
    silent = draw(hnp.arrays(bool, samples, fill=st.just(False)))
    activations = [draw(hnp.arrays("float32", shape, elements=ELEMENTS)) for shape in shapes]
    for activation in activations:
        activation[silent] = 0
    weight = draw(hnp.arrays("float32", samples, elements=st.sampled_from([0.0, 0.5, 2.0])))
    weight = draw(st.sampled_from([np.ones_like(weight), weight]))
    given_labels = np.eye(classes, dtype="float32")[labels] if one_hot else labels
    return activations, labels, given_labels, classes, axes, weight


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def floats(objectives):
    return {name: float(to_numpy(value)) for name, value in objectives.items()}


def objectives_of(activations, labels, classes, **options):
    def of_activations(tensors):
        return mk.MODALoss().objectives(tensors, labels, classes, **options)

    return floats(compiled(of_activations)(activations))


def loss_of(form):
    averaging, compactness = form
    return mk.MODALoss(0.7, 1.3, 0.4, averaging=averaging, compactness=compactness)


def weighted_sum(objectives):
    return (
        0.7 * objectives["affinity"]
        + 1.3 * objectives["dispersion"]
        + 0.4 * objectives["compactness"]
    )


@functools.cache
def objectives_in_every_form(classes, axes):
    def of_batch(activations, labels, weight):
        return {
            form: loss_of(form).objectives(
                activations, labels, classes, sample_weight=weight, axes=axes
            )
            for form in FORMS
        }

    return compiled(of_batch)


@search(40)
@given(batch=batches(CASES))
def test_objectives_are_those_of_loops_over_pairs(batch):
    activations, labels, given_labels, classes, axes, weight = batch

    results = objectives_in_every_form(classes, axes)(activations, given_labels, weight)

    for (averaging, compactness), objectives in results.items():
        expected = oracles.objectives(
            activations,
            labels,
            classes,
            sample_weight=weight,
            axes=axes,
            averaging=averaging,
            form=compactness,
        )
        assert floats(objectives) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_call_gives_the_weighted_sum():
    activations = [np.random.default_rng(0).normal(size=(6, 4)).astype("float32")]
    labels = [0, 0, 1, 1, 1, 0]
    total = compiled(lambda tensors: mk.MODALoss(0.7, 1.3, 0.4)(tensors, labels, 2))(activations)
    expected = weighted_sum(oracles.objectives(activations, labels, 2))
    assert float(to_numpy(total)) == pytest.approx(expected, rel=1e-5)


@functools.cache
def mixture_of_forms(classes, axes):
    def mixture(activations, labels, weight):
        losses = [
            (1 + i) * loss_of(form)(activations, labels, classes, sample_weight=weight, axes=axes)
            for i, form in enumerate(GRADIENT_FORMS)
        ]
        return sum(losses)

    return mixture


@search(30)
@given(batch=batches(GRADIENT_CASES))
def test_gradients_are_those_of_numeric_differences(batch):
    activations, labels, given_labels, classes, axes, weight = batch

    def oracle(arrays):
        return sum(
            (1 + i)
            * weighted_sum(
                oracles.objectives(
                    arrays,
                    labels,
                    classes,
                    sample_weight=weight,
                    axes=axes,
                    averaging=averaging,
                    form=compactness,
                )
            )
            for i, (averaging, compactness) in enumerate(GRADIENT_FORMS)
        )

    _, gradients = value_and_gradients(
        mixture_of_forms(classes, axes), activations, given_labels, weight
    )

    for index, gradient in enumerate(gradients):
        others = [np.asarray(a, "float64") for a in activations]

        def of_one(array, index=index, others=others):
            return oracle([*others[:index], array, *others[index + 1 :]])

        numeric = oracles.numeric_gradient(of_one, activations[index])
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless told")
def test_float64_activations_have_gradients_of_their_precision():
    activations = np.random.default_rng(0).normal(size=(5, 4))
    labels = [0, 1, 1, 0, 2]
    value, (gradient,) = value_and_gradients(
        lambda tensors: mk.MODALoss()(tensors, labels, 3), [activations]
    )

    def oracle(array):
        values = oracles.objectives([array], labels, 3)
        return values["affinity"] + values["dispersion"] + 0.3 * values["compactness"]

    assert value == pytest.approx(oracle(activations), rel=1e-12)
    assert gradient.dtype == "float64"
    numeric = oracles.numeric_gradient(oracle, activations)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


ABSENT_PAIRS = [
    # labels, weights, the objectives that no pair or sample defines
    ([0, 1, 2], [1.0, 1.0, 1.0], ["affinity"]),
    ([1, 1, 1], [1.0, 1.0, 1.0], ["dispersion"]),
    ([0, 1, 1], [0.0, 1.0, 0.0], ["affinity", "dispersion"]),
    ([0, 1, 1], [0.0, 0.0, 0.0], list(OBJECTIVES)),
]


@functools.cache
def single_objective(averaging, name):
    def of_batch(activations, labels, weight):
        loss = mk.MODALoss(averaging=averaging)
        return loss.objectives(activations, labels, 3, sample_weight=weight)[name]

    return of_batch


@pytest.mark.parametrize("averaging", ["class", "pair"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_without_a_pair_is_exactly_zero_with_zero_gradient(averaging, name):
    activations = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, -1.0]], dtype="float32")
    for labels, weight, undefined in ABSENT_PAIRS:
        value, (gradient,) = value_and_gradients(
            single_objective(averaging, name), [activations], np.array(labels), np.array(weight)
        )
        is_zero = value == 0 and not gradient.any()
        assert is_zero == (name in undefined), (labels, weight, value, gradient)


def test_batch_of_one_silent_sample_gives_zeros():
    value, (gradient,) = value_and_gradients(
        lambda tensors: mk.MODALoss()(tensors, [1], 2), [np.zeros((1, 3), "float32")]
    )
    assert value == 0
    assert gradient.tolist() == [[0, 0, 0]]


def test_activation_that_is_silent_for_all_samples_has_no_gradient():
    value, (gradient,) = value_and_gradients(
        lambda tensors: mk.MODALoss()(tensors, [0, 0, 1], 2), [np.zeros((3, 2), "float32")]
    )
    assert value == pytest.approx(1.0)
    assert not gradient.any()


def test_class_absent_from_batch_adds_nothing():
    activations = [np.random.default_rng(0).normal(size=(6, 4)).astype("float32")]
    labels = [0, 0, 1, 1, 1, 0]
    few, many = (objectives_of(activations, labels, classes) for classes in (2, 6))
    assert few == pytest.approx(many, rel=1e-5)


def test_objectives_are_means_over_activations_of_different_width():
    rng = np.random.default_rng(0)
    wide, narrow = (rng.normal(size=(6, d)).astype("float32") for d in (7, 2))
    labels = [0, 0, 1, 1, 2, 2]
    both = objectives_of([wide, narrow], labels, 3)
    first, second = (objectives_of([a], labels, 3) for a in (wide, narrow))
    for name in OBJECTIVES:
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-5)


def test_scale_of_activations_matters_to_compactness_alone():
    activations = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    labels = [0, 0, 1, 1, 2, 2]
    plain = objectives_of([activations], labels, 3)
    for scale in (1e30, 1e-30):
        scaled = objectives_of([activations * np.float32(scale)], labels, 3)
        assert scaled["affinity"] == pytest.approx(plain["affinity"], rel=1e-4)
        assert scaled["dispersion"] == pytest.approx(plain["dispersion"], rel=1e-4)
        assert scaled["compactness"] == pytest.approx(plain["compactness"] * scale, rel=1e-4)


def test_nan_reaches_every_objective():
    activations = np.ones((4, 2), dtype="float32")
    activations[0, 0] = np.nan
    objectives = objectives_of([activations], [0, 0, 1, 1], 2)
    assert all(np.isnan(value) for value in objectives.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_activations_give_float32_objectives(dtype):
    activations = keras.ops.cast(np.random.default_rng(0).normal(size=(6, 4)), dtype)
    rounded = keras.ops.convert_to_numpy(keras.ops.cast(activations, "float32"))
    labels = [0, 0, 1, 1, 2, 2]
    objectives = compiled(lambda x: mk.MODALoss().objectives([x], labels, 3))(activations)
    for value in objectives.values():
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = oracles.objectives([rounded], labels, 3)
    assert floats(objectives) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_promise_of_no_negatives_changes_neither_value_nor_gradient():
    rng = np.random.default_rng(0)
    activations = [rng.uniform(0.1, 2, shape).astype("float32") for shape in ((6, 3), (6, 2, 4))]
    labels = [0, 0, 1, 1, 2, 0]
    loss = mk.MODALoss()

    plain, plain_gradients = value_and_gradients(lambda t: loss(t, labels, 3), activations)
    value, gradients = value_and_gradients(
        lambda t: loss(t, labels, 3, non_negative=[True, True]), activations
    )

    assert value == pytest.approx(plain, rel=1e-6)
    for gradient, expected in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": "1"}, "`alpha` to be a number >= 0. Received: alpha='1'"),
        ({"alpha": -1}, r"`alpha` to be a number >= 0. Received: alpha=-1"),
        ({"beta": -0.5}, r"`beta` to be a number >= 0. Received: beta=-0.5"),
        ({"gamma": float("nan")}, r"`gamma` to be a number >= 0. Received: gamma=nan"),
        ({"averaging": "mean"}, r"`averaging`.*\('class', 'pair'\). Received: averaging='mean'"),
        ({"compactness": "l1"}, r"`compactness`.*\('unit', 'norm'\). Received: compactness='l1'"),
    ],
)
def test_wrong_constructor_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mk.MODALoss(**arguments)


@pytest.mark.parametrize(
    ("activations", "labels", "options", "message"),
    [
        ([], [0, 1], {}, r"at least one activation. Received: activations=\[\]"),
        ([np.ones(2)], [0, 1], {}, r"\(batch, units\).*Received: activations of shape \(2,\)"),
        ([np.ones((2, 3))], [0, 1], {"axes": [2]}, r"\(batch, units\).*Received.*axis=2"),
        ([np.ones((2, 3))], [0, 1], {"axes": [1, 1]}, r"`axes`.*each of the 1 .*Received"),
        ([np.ones((2, 3))], [0, 1], {"non_negative": []}, r"`non_negative`.*Received"),
        ([np.ones((2, 3))], [0, 1, 1], {}, r"one label.*Received: 3 labels for 2 samples"),
        ([np.ones((2, 3))], [0, 4], {}, r"labels from 0 to 1.*Received: labels from 0 to 4"),
        ([np.ones((2, 3))], np.eye(4)[:2], {}, r"\(batch, 2\).*Received: labels of shape \(2, 4\)"),
        (
            [np.ones((2, 3))],
            [0, 1],
            {"sample_weight": np.ones((2, 2))},
            r"`sample_weight`.*Received: sample_weight of shape \(2, 2\)",
        ),
    ],
)
def test_wrong_batch_is_named(activations, labels, options, message):
    with pytest.raises(ValueError, match=message):
        mk.MODALoss().objectives(activations, labels, 2, **options)


def test_config_round_trip():
    loss = mk.MODALoss(0.1, 0.2, 0.3, averaging="pair", compactness="norm", warmup=None)
    config = loss.get_config()
    assert config == {
        "alpha": 0.1,
        "beta": 0.2,
        "gamma": 0.3,
        "averaging": "pair",
        "compactness": "norm",
        "warmup": None,
        "reduce": "global",
    }
    assert mk.MODALoss.from_config(config).get_config() == config


def test_keras_serialization_round_trip():
    loss = mk.MODALoss(0.1, 0.2, 0.3, averaging="pair", compactness="norm")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == "moda_keras>MODALoss"
    restored = keras.saving.deserialize_keras_object(serialized)
    assert type(restored) is mk.MODALoss
    assert restored.get_config() == loss.get_config()


@pytest.mark.parametrize(
    ("labels", "sample_weight", "expected"),
    [
        ([0, 1, 2, 3], None, 1.0),
        ([0, 1, 2, 0], None, (2 / 3 - 0.25) / 0.75),
        ([0, 0, 0, 0], None, 0.0),  # as good as guessing
        ([1, 2, 3, 0], None, 0.0),  # worse
        ([0, 1, 2, 0], [1, 1, 1, 0], 1.0),
        (np.eye(4)[[0, 1, 2, 3]], None, 1.0),
    ],
)
def test_objectives_set_in_as_the_batch_is_recognised(labels, sample_weight, expected):
    outputs = np.eye(4, dtype="float32") * 3
    factor = mk.MODALoss().training_factor(np.array(labels), outputs, sample_weight)
    assert float(factor) == pytest.approx(expected, abs=1e-6)
    assert mk.MODALoss(warmup=None).training_factor(labels, outputs) == 1.0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0], 1.0),
        ([1], 0.0),
        ([0, 1], 1.0),
        ([0, 0], 0.0),
        ([1, 0], 0.0),
        ([0, 1, 0], 1.0),
        ([0, 1, 0, 0], (0.5 - 0.25) / 0.75),
        ([], 0.0),  # nothing is recognised
    ],
)
def test_factor_of_two_classes_and_few_samples(labels, expected):
    outputs = np.array([[2.0, 1.0], [0.0, 1.0], [0.3, 0.2], [0.1, 0.4]], "float32")
    batch = (np.array(labels, "int32"), outputs[: len(labels)])
    for factor in (mk.MODALoss().training_factor, compiled(mk.MODALoss().training_factor)):
        assert float(factor(*batch)) == pytest.approx(expected, abs=1e-6)
    of_no_class = np.zeros(len(labels), "float32")
    assert float(mk.MODALoss().training_factor(*batch, of_no_class)) == 0.0


def test_empty_batch_has_no_objectives_and_no_gradient():
    labels = np.zeros(0, "int32")
    loss, (gradient,) = value_and_gradients(
        lambda tensors: mk.MODALoss()(tensors, labels, 2), [np.zeros((0, 3), "float32")]
    )
    assert loss == 0.0 and gradient.shape == (0, 3)


@pytest.mark.parametrize("broken", ["weights", "objectives", "objective_names"])
def test_names_of_an_own_loss_that_do_not_fit_are_refused(broken):
    class Own(mk.ModularLoss):
        objective_names = ("silence", "other") if broken == "objective_names" else ("silence",)

        @property
        def weights(self):
            return {"noise" if broken == "weights" else "silence": 1.0}

        def objectives(self, activations, labels, num_classes, **options):
            value = sum(keras.ops.mean(each) for each in activations)
            return {"silence": value} | ({"more": value} if broken == "objectives" else {})

        def get_config(self):
            return {}

    with pytest.raises(ValueError, match=r"of Own to have the names in `objective_names`"):
        Own()([np.ones((2, 3), "float32")], [0, 1], 2)
