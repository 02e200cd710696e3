"""The one place that reads Keras's node graph.

`trace` turns a Functional or Sequential model into a flat `Graph` of steps, nested models and
`expansion`s inlined; `inline_nested` gives the same as a Keras model; `find_hidden_activations`
says where units are observed.
"""

from moda_keras.graph.channel_axes import at_one_time, labels_of_einsum, labels_of_einsum_dense
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.hidden_activations import (
    HiddenActivation,
    find_hidden_activations,
    hidden_activations_of,
    observed_tensors,
)
from moda_keras.graph.inlining import inline_nested, inputs_and_outputs
from moda_keras.graph.non_linearities import (
    activation_name,
    is_feature_activation,
    is_non_negative,
)
from moda_keras.graph.tracing import (
    GRAPH_CALLS,
    Functional,
    accepts_training,
    require_graph,
    require_single_output,
    runs_graph,
    trace,
)
from moda_keras.graph.unique_names import unique_name
from moda_keras.graph.unreadable_layers import contains_marked_activation, find_unreadable_layers

__all__ = [
    "GRAPH_CALLS",
    "Functional",
    "Graph",
    "HiddenActivation",
    "Step",
    "Tensor",
    "accepts_training",
    "activation_name",
    "at_one_time",
    "contains_marked_activation",
    "find_hidden_activations",
    "find_unreadable_layers",
    "hidden_activations_of",
    "inline_nested",
    "inputs_and_outputs",
    "is_feature_activation",
    "is_non_negative",
    "labels_of_einsum",
    "labels_of_einsum_dense",
    "observed_tensors",
    "require_graph",
    "require_single_output",
    "runs_graph",
    "trace",
    "unique_name",
]
