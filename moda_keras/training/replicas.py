"""What trains on several replicas, and what only seems to."""

import warnings

from moda_keras.ops.backends import backend
from moda_keras.training.modular_loss import ModularLoss


def check_replicas(loss: ModularLoss) -> int:
    """The number of replicas by which a training step's objectives are to be divided.

    Keras divides the task loss by the number of replicas where it sums their gradients, and the
    objectives, which are added to it, must be divided likewise.

    Args:
        loss: The modular loss. A warning says so if its objectives are those of each replica.

    Returns:
        The number of replicas; 1 where gradients are averaged.
    """
    replicas = backend.replicas()
    if replicas > 1 and not loss.spans_replicas:
        warnings.warn(
            f"{replicas} replicas train together, but the objectives of {type(loss).__name__} are "
            "those of each replica's own part of a batch: they have no pairs between the parts.",
            stacklevel=3,
        )
    return replicas if backend.divides_loss_by_replicas else 1


def warn_of_separate_models() -> None:
    """Warns if each process would train a model of its own, as `fit` does with PyTorch."""
    if backend.replicas() > 1 and not backend.divides_loss_by_replicas:
        warnings.warn(
            f"`fit` runs in {backend.replicas()} processes of `torch.distributed`, and each trains "
            "a model of its own: Keras does not average their gradients. Train with "
            "`torch.nn.parallel.DistributedDataParallel` in a loop of your own, with the "
            "`MODALoss` added to the loss.",
            stacklevel=3,
        )
