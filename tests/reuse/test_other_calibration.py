"""The logit of "other", fitted to the full model."""

import keras
import numpy as np
import pytest
from masking import run
from small_models import inputs_of, mlp, random_modules

import moda_keras as mk
from moda_keras.reuse.other_calibration import OtherCalibration, fit_calibration

CHOSEN = [4, 1]


@pytest.fixture(scope="module")
def modules():
    return random_modules(mlp(5), fraction=0.3)


@pytest.fixture(scope="module")
def samples(modules):
    return 4 * inputs_of(modules.model, 300)


def log_sum(logits):
    return np.array([np.log(sum(np.exp(z) for z in row)) for row in logits.astype("float64")])


def target_of(modules, x):
    """What the full model gives the dropped classes."""
    logits = run(modules.model, [x])
    dropped = [c for c in range(logits.shape[1]) if c not in CHOSEN]
    return 1 / (1 + np.exp(log_sum(logits[:, CHOSEN]) - log_sum(logits[:, dropped])))


def cross_entropy(margin, target):
    return sum(np.log(1 + np.exp(m)) - t * m for m, t in zip(margin, target, strict=True)) / len(
        target
    )


def other_margin(logits):
    """Log-odds of "other", from the logits of the chosen classes and of it."""
    return logits[:, -1].astype("float64") - log_sum(logits[:, :-1])


def test_fit_finds_the_coefficients_behind_the_targets():
    random = np.random.default_rng(0)
    chosen, dropped = random.normal(5, 2, 400), random.normal(4, 3, 400)
    margin = 0.4 * dropped + 0.3 * chosen + 2.0 - chosen
    fitted = fit_calibration(chosen, dropped, 1 / (1 + np.exp(-margin)))
    np.testing.assert_allclose(fitted, (0.4, 0.3, 2.0), atol=0.02)


def test_no_other_coefficients_are_better():
    random = np.random.default_rng(1)
    chosen, dropped = random.normal(1, 2, 60), random.normal(0, 1, 60)
    target = random.uniform(size=60)

    def loss(a, c, b):
        return cross_entropy(a * dropped + c * chosen + b - chosen, target)

    best = fit_calibration(chosen, dropped, target)
    for change in np.vstack([np.eye(3), -np.eye(3)]) * 0.02:
        assert loss(*best) < loss(*(np.array(best) + change))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_fit_is_finite_where_targets_are_certain_and_sums_constant(scale):
    target = np.arange(40) % 2
    fitted = fit_calibration(np.full(40, 3.0), scale * (2.0 * target - 1), target)
    assert np.isfinite(fitted).all()
    assert fit_calibration(np.zeros(4), np.zeros(4), np.full(4, 0.5)) == OtherCalibration()


def test_calibrated_output_is_closer_to_the_full_model(modules, samples):
    options = {"other": True, "logits": True}
    before = run(mk.compose(modules, CHOSEN, **options), [samples])
    nodes = [len(layer._inbound_nodes) for layer in modules.model.layers]
    after = run(mk.compose(modules, CHOSEN, **options, other_data=samples), [samples])
    assert [len(layer._inbound_nodes) for layer in modules.model.layers] == nodes
    np.testing.assert_allclose(after[:, :2], before[:, :2], rtol=1e-5)
    target = target_of(modules, samples)
    losses = [cross_entropy(other_margin(each), target) for each in (before, after)]
    assert losses[1] < 0.95 * losses[0]
    # The same as a fit by hand to the outputs before.
    logits = run(mk.masked_model(modules, CHOSEN, other=True), [samples]).astype("float64")
    sums = log_sum(logits[:, :2])
    a, c, b = fit_calibration(sums, logits[:, 2], target)
    np.testing.assert_allclose(after[:, 2], a * logits[:, 2] + c * sums + b, rtol=1e-4, atol=1e-4)


def test_nothing_changes_where_all_units_are_kept(modules, samples):
    whole = mk.ModuleSet.from_units(modules.model, {})
    options = {"other": True, "logits": True}
    before = run(mk.compose(whole, CHOSEN, **options), [samples])
    after = run(mk.compose(whole, CHOSEN, **options, other_data=samples), [samples])
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_data_may_come_in_batches(modules, samples):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return samples[index * 100 : (index + 1) * 100], np.zeros(100)

    expected = run(mk.compose(modules, CHOSEN, other=True, other_data=samples), [samples])
    received = run(mk.compose(modules, CHOSEN, other=True, other_data=Batches()), [samples])
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_impossible_data_is_refused(modules, samples):
    def compose(data, **options):
        mk.compose(modules, CHOSEN, **{"other": True, **options}, other_data=data)

    is_dropped = ~np.isin(run(modules.model, [samples]).argmax(axis=1), CHOSEN)
    assert 0.05 < is_dropped.mean() < 0.95
    with pytest.raises(ValueError, match="takes for dropped ones"):
        compose(samples[is_dropped])
    with pytest.raises(ValueError, match="takes for chosen ones"):
        compose(samples[~is_dropped])
    with pytest.raises(ValueError, match="Expected `other=True` with `other_data`"):
        compose(samples, other=False)


def test_logits_that_are_not_finite_are_refused():
    modules = random_modules(mlp(5, activation="tanh"))  # ReLU may hide NaN
    data = inputs_of(modules.model, 20)
    data[7] = np.nan
    with pytest.raises(ValueError, match="Expected finite logits"):
        mk.compose(modules, CHOSEN, other=True, other_data=data)
