import looped_cnn
import numpy as np
from small_models import cnn, inputs_of

from moda_keras.methods.magnitude import Magnitude
from moda_keras.methods.mean_magnitude import mean_magnitudes


def test_means_are_those_of_loops():
    model, y = cnn(), np.array([0, 1, 2, 3, 3, 3, 1, 0, 2])
    x = inputs_of(model, len(y))
    problem = Magnitude().check(model, x, y, batch_size=4)
    for rows in (None, np.array([0, 2, 3, 4, 6, 8])):
        taken = slice(None) if rows is None else rows
        expected = looped_cnn.mean_magnitudes(model, x[taken], y[taken], 4)
        found = mean_magnitudes(problem, rows)
        assert found.keys() == expected.keys()
        for name, table in expected.items():
            np.testing.assert_allclose(found[name], table, rtol=1e-5, atol=1e-6)
