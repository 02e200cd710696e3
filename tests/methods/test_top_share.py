import numpy as np
import pytest

from moda_keras.methods.top_share import check_share, top_share


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_highest_scores_are_marked_and_the_first_of_equal_ones(share):
    random = np.random.default_rng(0)
    scores = random.integers(0, 4, (5, 10)).astype("float64")
    found = top_share(scores, share)
    for row, marked in zip(scores, found, strict=True):
        order = sorted(range(10), key=lambda unit: (-row[unit], unit))
        assert sorted(order[: round(10 * share)]) == np.flatnonzero(marked).tolist()


def test_part_of_a_unit_is_rounded_up():
    assert top_share(np.arange(3.0)[None], 0.4).tolist() == [[False, True, True]]


@pytest.mark.parametrize("share", [0, -0.1, 1.1, True, None, "a", float("nan")])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match="`share` to be a number above 0"):
        check_share("share", share)


def test_share_may_be_zero_where_it_means_something():
    assert check_share("share", 0, may_be_zero=True) == 0
    with pytest.raises(ValueError, match="from 0 to 1"):
        check_share("share", -1, may_be_zero=True)
