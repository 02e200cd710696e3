import os

import keras
import pytest

from moda_keras.ops.backends import backend
from moda_keras.ops.native import choice


def _implementations():
    return ["native", "reference"] if None in backend.native_devices().values() else ["reference"]


@pytest.fixture(scope="module", params=_implementations())
def implementation(request):
    """Runs a test with each implementation of the operations that this backend has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "mode", lambda: "auto" if request.param == "native" else "0")
        yield request.param


# What these prove does not depend on the backend, or is tested below them on all three: they run on
# torch alone, unless MODA_KERAS_TEST_ALL=1.
ON_ONE_BACKEND = (
    "datasets",
    "diagnosis",
    "experiments",
    "native",
    "reporting",
    "tuning",
    "kills",
    "graph/test_composite_page.py",
    "graph/test_inlining_search.py",
    "graph/test_odd_layers.py",
    "methods/baselines",
    "methods/cnnsplitter",
    "methods/gradsplitter",
    "methods/incite",
    "methods/magnitude",
    "methods/mwt/test_compose_with_head.py",
    "methods/nemo/test_nemo_page.py",
    "methods/seam",
    "methods/test_mask_search.py",
    "methods/test_methods_page.py",
    "methods/test_mean_magnitude.py",
    "methods/test_search.py",
    "methods/test_top_share.py",
    "modules/test_hostile_files.py",
    "modules/test_model_file.py",
    "reuse/test_other_calibration.py",
    "slicing/test_changed_weights.py",
    "test_architecture.py",
    "test_arguments.py",
    "test_claims.py",
    "test_files.py",
    "test_hostile_tables.py",
    "test_messages.py",
)
if keras.backend.backend() != "torch" and os.environ.get("MODA_KERAS_TEST_ALL") != "1":
    collect_ignore = list(ON_ONE_BACKEND)
