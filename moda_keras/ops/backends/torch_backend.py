"""The PyTorch backend."""

import threading
from contextlib import contextmanager

import keras
import numpy as np
import torch

from moda_keras.ops.backends.backend import Backend
from moda_keras.ops.native import choice, libraries, torch_operators, torch_tensors

_FUNCTION_APPLY = threading.RLock()


class TorchBackend(Backend):
    """PyTorch: native operations on CPU and CUDA."""

    def segment_sum(self, rows, segment_ids, num_segments):
        # Keras's own repeats the indices for every element.
        sums = rows.new_zeros((num_segments, *rows.shape[1:]))
        return sums.index_add(0, segment_ids, rows)

    def matmul(self, a, b):
        return a @ b

    def gradients(self, function, values):
        with torch.enable_grad():
            values = [value.detach().requires_grad_() for value in values]
            scalar, others = function(values)
        others = keras.tree.map_structure(torch.Tensor.detach, others)
        if not scalar.requires_grad:  # it depends on none of the values
            return [torch.zeros_like(value) for value in values], others
        found = torch.autograd.grad(scalar, values, allow_unused=True, materialize_grads=True)
        return list(found), others

    def replicas(self) -> int:
        distributed = torch.distributed
        is_used = distributed.is_available() and distributed.is_initialized()
        return distributed.get_world_size() if is_used else 1

    def all_reduce_sum(self, values):
        return _SumOverReplicas.apply(values)

    def as_concrete(self, values) -> np.ndarray | None:
        if torch.compiler.is_compiling():
            return None
        if not isinstance(values, torch.Tensor):
            return np.asarray(values)
        if values.device.type != "cpu":
            return None
        return values.detach().numpy()

    def without_gradients(self):
        return torch.no_grad()

    def random_state(self):
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        found = {f"cuda{index}": each.numpy() for index, each in enumerate(devices)}
        return {"cpu": torch.get_rng_state().numpy(), **found}

    def set_random_state(self, state):
        for name, each in state.items():
            if name == "cpu":
                torch.set_rng_state(torch.from_numpy(each))
            elif torch.cuda.is_available():
                torch.cuda.set_rng_state(torch.from_numpy(each), int(name.removeprefix("cuda")))

    @contextmanager
    def without_custom_gradients(self):
        # One thread at a time, or what the last one puts back may be what another has put there.
        with _FUNCTION_APPLY:
            known = vars(torch.autograd.Function)["apply"]

            def apply(cls, *args, **kwargs):
                if any(isinstance(each, keras.KerasTensor) for each in args):
                    raise TypeError("A symbolic tensor has no gradient of its own")
                return known.__func__(cls, *args, **kwargs)

            torch.autograd.Function.apply = classmethod(apply)
            try:
                yield
            finally:
                torch.autograd.Function.apply = known

    def accelerator_name(self) -> str | None:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None

    def native_devices(self) -> dict[str, str | None]:
        gpu = libraries.reason_against_cuda() if torch.cuda.is_available() else "PyTorch finds none"
        return {"cpu": libraries.reason_against_cpu(), "cuda": gpu}

    def native_objectives(self, observed, ids, num_classes, *, averages_pairs, unit_divides):
        if not _is_native(observed, ids):
            return None
        columns = _columns(observed)
        activations = columns[0]
        values, *_ = torch_operators.objectives(
            activations, ids, num_classes, *columns[1:], averages_pairs, unit_divides
        )
        return values.to(torch_tensors.real_dtype(activations))

    def native_statistics(self, observed, ids, num_classes):
        if not _is_native(observed, ids):
            return None
        activations, *rest = _columns(observed)
        return torch_operators.class_statistics(activations, ids, num_classes, *rest)[:4]

    def native_counts(self, observed, ids, num_classes, epsilons):
        if not _is_native(observed, ids):
            return None
        activations, axes, _ = _columns(observed)
        epsilons = [float(epsilon) for epsilon in epsilons]
        return torch_operators.activation_frequency(activations, ids, num_classes, axes, epsilons)


def _columns(observed) -> tuple[list, list, list]:
    """Activations, axes and signs apart: an operator takes no structures."""
    return tuple(map(list, zip(*(each[:3] for each in observed), strict=True)))


def _is_native(observed, ids) -> bool:
    reason = torch_tensors.reason_against([each.values for each in observed], ids)
    if not torch.compiler.is_compiling():
        return choice.is_native(reason)
    # Nothing is recorded or warned of while `torch.compile` traces.
    return _mode() != "0" and choice.check_required(reason, _mode()) is None


# Constant: the environment is read once in a process.
@torch.compiler.assume_constant_result
def _mode() -> str:
    return choice.mode()


class _SumOverReplicas(torch.autograd.Function):
    """A sum over all processes; so is its gradient, since every process has the sum in its loss."""

    @staticmethod
    def forward(context, values):
        total = values.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total
