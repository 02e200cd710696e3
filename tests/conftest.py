import pytest

from moda_keras.ops.backends import adapter
from moda_keras.ops.native import core as native


def _implementations():
    serves = native.extension() is not None and None in adapter.native_devices().values()
    return ["native", "reference"] if serves else ["reference"]


@pytest.fixture(scope="module", params=_implementations())
def implementation(request):
    """Runs a test with each implementation of the operations that this backend has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "mode", lambda: "auto" if request.param == "native" else "0")
        yield request.param
