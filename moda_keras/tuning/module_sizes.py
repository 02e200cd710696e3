"""Mean size of modules for many thresholds."""

import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import trainable_parameters


class ModuleSizes:
    """Mean module size of module sets of one model, each module's counted once.

    Args:
        modules: Modules of the model.
    """

    def __init__(self, modules: ModuleSet):
        self.slicer = modules.slicer
        self.total = trainable_parameters(modules.model)
        self.present = modules.classes_with_modules()
        self._sizes: dict[tuple, int] = {}

    def mean(self, modules: ModuleSet) -> float:
        """Mean of `metrics.module_size` over the classes that have modules.

        Args:
            modules: Other modules of the same model.

        Returns:
            Float; 1.0 is the size of the model.
        """
        sizes = [self._size(modules.union([index]), int(index)) for index in self.present]
        return float(np.mean(sizes)) / self.total

    def _size(self, units: dict[str, np.ndarray], index: int) -> int:
        key = (index, *(np.packbits(mask).tobytes() for mask in units.values()))
        if key not in self._sizes:
            self._sizes[key] = self.slicer.plan(units, np.array([index])).trainable_size
        return self._sizes[key]
