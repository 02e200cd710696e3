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
