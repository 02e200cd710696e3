"""The TensorFlow backend."""

import numpy as np
import tensorflow as tf

from moda_keras.ops.backends.backend import ReferenceBackend


class TensorflowBackend(ReferenceBackend):
    """TensorFlow: the reference takes all activations together, so that its graph stays small."""

    has_tap = True
    reason = "the reference is as fast with TensorFlow"

    def segment_sum(self, rows, segment_ids, num_segments):
        @tf.custom_gradient
        def summed(rows):
            # TensorFlow's own gradient is ten operations, for it allows negative indices.
            def gradient(upstream):
                return tf.gather(upstream, segment_ids)

            return tf.math.unsorted_segment_sum(rows, segment_ids, num_segments), gradient

        return summed(rows)

    divides_loss_by_replicas = True

    def replicas(self) -> int:
        context = tf.distribute.get_replica_context()
        return 1 if context is None else context.num_replicas_in_sync

    def all_reduce_sum(self, values):
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

    def matmul(self, a, b):
        # On a GPU in TensorFloat-32, unless `tf.config.experimental` forbids it.
        return tf.matmul(a, b)

    def gradients(self, function, values):
        values = list(values)
        with tf.GradientTape() as tape:
            tape.watch(values)
            scalar, others = function(values)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(scalar, values, unconnected_gradients=zero), others

    def as_concrete(self, values) -> np.ndarray | None:
        if not tf.is_tensor(values):
            return np.asarray(values)
        return values.numpy() if hasattr(values, "numpy") else None

    def check_in_graph(self, condition, message: str) -> None:
        # Raises InvalidArgumentError, but not under XLA.
        tf.debugging.Assert(condition, [message])

    @tf.autograph.experimental.do_not_convert
    def tap(self, activation, axis: int, non_negative: bool):
        # TensorFlow would write the gradient of every map to memory, and add it in another pass.
        # Here it is broadcast and added to the gradient of what was let through in one pass.
        @tf.custom_gradient
        def passed(x):
            real = tf.float64 if x.dtype == tf.float64 else tf.float32
            positions = [i for i in range(1, len(x.shape)) if i != axis]
            magnitudes = x if non_negative else tf.abs(x)
            vectors = tf.reduce_mean(tf.cast(magnitudes, real), axis=positions)

            def gradient(upstream, vectors_gradient):
                share = vectors_gradient
                for position in positions:
                    share = tf.expand_dims(share, position)
                # Not the size of x over that of the vectors: a replica may have no sample.
                lengths = tf.gather(tf.shape(x, tf.int64), positions)
                share /= tf.cast(tf.reduce_prod(lengths), real)
                share = tf.cast(share, x.dtype)
                return upstream + (share if non_negative else share * tf.sign(x))

            return (tf.identity(x), vectors), gradient

        return passed(activation)

    def accelerator_name(self) -> str | None:
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            details = tf.config.experimental.get_device_details(gpu)
            return details.get("device_name", gpu.name)
        return None
