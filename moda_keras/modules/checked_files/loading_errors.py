"""What Keras says of a model that it cannot load."""

import keras

from moda_keras.files import MissingClassError
from moda_keras.messages import shortened

UNKNOWN = "an unknown version"


def with_versions(error: Exception, saved_by: str) -> Exception:
    """The error without the configs around it, and with the version of Keras if it is another.

    Args:
        error: From the loading of a model.
        saved_by: The version of Keras that wrote the file.
    """
    if isinstance(error, (OSError, MemoryError, MissingClassError)):
        return error
    _, before, said = str(error).rpartition("Exception encountered: ")
    said, after, _ = said.partition("Full object config:")
    if saved_by == keras.__version__:
        return ValueError(said) if before or after else error
    return ValueError(
        f"{shortened(said, 400)}; its model was saved by Keras {saved_by}, this is Keras "
        f"{keras.__version__}"
    )
