import os
from collections import Counter
from pathlib import Path

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
    "training/test_processes.py",
    "tuning",
    "zoo",
    "kills",
    "evaluation/test_logits.py",
    "evaluation/test_orphans.py",
    "graph/test_common_part.py",
    "graph/test_composite_page.py",
    "graph/test_inlining_search.py",
    "graph/test_odd_layers.py",
    "methods/baselines",
    "methods/cnnsplitter",
    "methods/gradsplitter",
    "methods/incite",
    "methods/magnitude",
    "methods/mwt/test_compose_with_head.py",
    "methods/mwt/test_documentation.py",
    "methods/mwt/test_modularize.py",
    "methods/nemo/test_nemo_page.py",
    "methods/seam",
    "methods/test_mask_search.py",
    "methods/test_methods_page.py",
    "methods/test_mean_magnitude.py",
    "methods/test_search.py",
    "methods/test_top_share.py",
    "modules/test_hdf5_file.py",
    "modules/test_hostile_files.py",
    "modules/test_long_models.py",
    "modules/test_model_file.py",
    "reuse/test_other_calibration.py",
    "reuse/test_whole_models.py",
    "slicing/test_align.py",
    "slicing/test_changed_weights.py",
    "training/test_resumed_callbacks.py",
    "test_architecture.py",
    "test_arguments.py",
    "test_claims.py",
    "test_files.py",
    "test_hostile_tables.py",
    "test_messages.py",
    "test_progress.py",
    "test_subclassed_models.py",
)
# Of the cases of a test in these folders, torch runs all, TensorFlow every third and JAX, which
# compiles every model anew, every fifth, and not the same: their subject is the graph and the
# slices, which are the same on all. Oracles of operations and training run in full everywhere.
THINNED = (
    "cli", "evaluation", "graph", "methods", "modules", "reuse", "slicing", "test_untouched.py",
)  # fmt: skip
EVERY, FIRST = {"tensorflow": 3, "jax": 5}, {"tensorflow": 0, "jax": 1}
IS_SHORT = keras.backend.backend() != "torch" and os.environ.get("MODA_KERAS_TEST_ALL") != "1"
if IS_SHORT:
    collect_ignore = list(ON_ONE_BACKEND)


def pytest_collection_modifyitems(config, items):
    if not IS_SHORT:
        return
    seen = Counter()
    kept, left_out = [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        is_thinned = item.path.relative_to(Path(__file__).parent).parts[0] in THINNED
        is_case = "[" in item.nodeid and is_thinned
        name = keras.backend.backend()
        is_kept = not is_case or seen[test] % EVERY[name] == FIRST[name]
        seen[test] += 1
        (kept if is_kept else left_out).append(item)
    # A test with fewer cases than `FIRST` keeps its last one.
    tests = {item.nodeid.partition("[")[0] for item in kept}
    last = {item.nodeid.partition("[")[0]: item for item in left_out}
    rescued = {id(item) for test, item in last.items() if test not in tests}
    order = {id(item) for item in kept} | rescued
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in order])
    items[:] = [item for item in items if id(item) in order]
