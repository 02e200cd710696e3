"""Reads Keras's node graph; no other package does.

`trace` turns a Functional or Sequential model into a flat `Graph` of steps, with nested models and
layers that have an `expansion` inlined. `find_hidden_activations` finds where units are observed.
The model itself is never changed: its layers keep their names and their nodes.

Private parts of Keras that are read, as they are in Keras 3.14 to 3.15: `_keras_history` and
`_inbound_nodes` (Keras exports no way to walk a graph by its nodes), `_keras_mask` (whether a mask
of time steps comes along with a tensor), `_flatten_layers` (layers inside a layer), and the dropout
layer inside MultiHeadAttention.
"""

from moda_keras.graph.call_recording import operations_of
from moda_keras.graph.channel_axes import at_one_time, labels_of_einsum, labels_of_einsum_dense
from moda_keras.graph.common_part import NoCommonPart, find_common_part
from moda_keras.graph.functional_models import (
    Functional,
    is_masked,
    runs_graph,
    runs_graph_alone,
)
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.hidden_activations import (
    HiddenActivation,
    find_hidden_activations,
    hidden_activations_of,
    observed_tensors,
)
from moda_keras.graph.hidden_state import copy_hidden_state
from moda_keras.graph.inlining import keep_whole
from moda_keras.graph.model_inputs import (
    entry_of,
    in_structure_of,
    inputs_and_outputs,
    is_optional,
    new_inputs,
)
from moda_keras.graph.non_linearities import (
    activation_name,
    is_feature_activation,
    is_gate,
    is_non_negative,
)
from moda_keras.graph.operations import (
    accepts_training,
    has_changed_weights,
    is_keras_class,
    kind_of,
    named_weights,
    shallow_copy,
)
from moda_keras.graph.overlooked_operations import (
    describe_overlooked_operations,
    find_overlooked_operations,
)
from moda_keras.graph.plain_class import plain_class
from moda_keras.graph.to_functional import to_functional
from moda_keras.graph.tracing import require_single_output, trace
from moda_keras.graph.unique_names import layer_name, rename, unique_name
from moda_keras.graph.unreadable_layers import (
    contains_marked_activation,
    explain_no_activation,
    find_unreadable_layers,
)

__all__ = [
    "Functional",
    "Graph",
    "HiddenActivation",
    "NoCommonPart",
    "Step",
    "Tensor",
    "accepts_training",
    "activation_name",
    "at_one_time",
    "contains_marked_activation",
    "copy_hidden_state",
    "describe_overlooked_operations",
    "entry_of",
    "explain_no_activation",
    "find_common_part",
    "find_hidden_activations",
    "find_overlooked_operations",
    "find_unreadable_layers",
    "has_changed_weights",
    "hidden_activations_of",
    "in_structure_of",
    "inputs_and_outputs",
    "is_feature_activation",
    "is_gate",
    "is_keras_class",
    "is_masked",
    "is_non_negative",
    "is_optional",
    "keep_whole",
    "kind_of",
    "labels_of_einsum",
    "labels_of_einsum_dense",
    "layer_name",
    "named_weights",
    "new_inputs",
    "observed_tensors",
    "operations_of",
    "plain_class",
    "rename",
    "require_single_output",
    "runs_graph",
    "runs_graph_alone",
    "shallow_copy",
    "to_functional",
    "trace",
    "unique_name",
]
