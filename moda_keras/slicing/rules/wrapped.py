"""Layers that wrap another layer."""

import dataclasses

import keras

from moda_keras.graph import at_one_time
from moda_keras.slicing.registry import Rule, find_rule, register_rule


@register_rule(keras.layers.TimeDistributed)
class TimeDistributed(Rule):
    """The rule of the layer inside, which sees one step in time."""

    def applies(self, step):
        # Behind a Permute, the channels may be the steps in time.
        is_plain = len(step.inputs) == 1 and step.inputs[0].channel_axis > 1
        rule = find_rule(at_one_time(step)) if is_plain else None
        return rule is not None and not rule.several_outputs

    def needs(self, step, needed):
        inner = at_one_time(step)
        return find_rule(inner).needs(inner, needed)

    def slice(self, step, inputs, wanted):
        inner = at_one_time(step)
        decision = find_rule(inner).slice(inner, inputs, wanted)
        layer = keras.saving.serialize_keras_object(step.operation.layer)
        layer["config"].update(decision.config)
        layer.pop("build_config", None)  # the shapes that it was built with
        return dataclasses.replace(decision, config={"layer": layer})
