"""The signs of silenced units: none reaches tau, for all classes or for some."""

from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import Evidence, thresholds_of
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import listed, percent
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.selection import is_refilled


def find_collapse(evidence: Evidence) -> Iterator[Finding]:
    """Activations in which no class has units that reach tau."""
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    names = [name for name, classes in _refilled(modules).items() if len(classes) == everyone]
    if not names:
        return
    highest = max(float(modules.frequency[name].max()) for name in names)
    silent = float(np.mean([(modules.frequency[name] == 0).all(axis=0).mean() for name in names]))
    yield Finding(
        "collapse",
        "problem",
        {"activations": len(names), "silent": silent, "highest_frequency": highest, "limit": 0},
        f"In {listed(names)} no class has units that reach tau; the most frequent is active for "
        f"{percent(highest)} of a class, and {percent(silent)} never are.",
        "If accuracy is near chance, training collapsed: lower `gamma`, and use "
        "`MODALoss(compactness='unit')`, the default; equation 6 as printed ('norm') silences all "
        "units. Else lower tau.",
    )


def find_refilled_modules(evidence: Evidence) -> Iterator[Finding]:
    """Modules of some classes that are filled up because too few units reach tau."""
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    refilled = {
        name: classes for name, classes in _refilled(modules).items() if 0 < len(classes) < everyone
    }
    if not refilled:
        return
    modules_hit = sorted({int(index) for classes in refilled.values() for index in classes})
    names = [modules.class_names[index] for index in modules_hit]
    yield Finding(
        "refill",
        "warning",
        {
            "activations": len(refilled),
            "classes": len(names),
            "modules": sum(map(len, refilled.values())),
            "limit": 0,
        },
        f"Too few units reach tau for {listed(names)} in {listed(list(refilled))}: there the "
        "module has the most frequent units instead, as many as the largest module has.",
        "Lower tau (`modules.with_threshold`, `modules.tune_threshold`) or `gamma`.",
    )


def _refilled(modules: ModuleSet) -> dict[str, np.ndarray]:
    """By activation, the classes with too few units that reach tau, which are given others."""
    present = modules.classes_with_modules()
    thresholds = thresholds_of(modules)
    return {
        name: present[is_refilled(frequency[present], thresholds[name])]
        for name, frequency in modules.frequency.items()
    }
