"""Slices a model down to chosen units and classes."""

from moda_keras.slicing import rules
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.groups import UnitGroups, unit_groups
from moda_keras.slicing.plan import KeptWeight, Plan
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, register_rule
from moda_keras.slicing.rules.opaque import Opaque
from moda_keras.slicing.slice_model import slice_model
from moda_keras.slicing.slicer import Slicer
from moda_keras.slicing.whole_model_slicer import WholeModelSlicer

__all__ = [
    "Channels",
    "KeptWeight",
    "Opaque",
    "Plan",
    "Rule",
    "Slice",
    "Slicer",
    "UnitGroups",
    "WeightSlice",
    "WholeModelSlicer",
    "register_rule",
    "rules",
    "slice_model",
    "unit_groups",
]
