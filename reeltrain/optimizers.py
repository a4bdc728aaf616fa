"""The optimizers that `optimizer.name` chooses from, as Keras optimizers.

Given a `tf.IndexedSlices` gradient, they update only its rows of a table and of their state. They also train
in Keras's `fit` on one device; on several, use `reeltrain.train`. They are registered with Keras under the
package name `reeltrain`.
"""

from trainer.engine.optimizers import SGD, Adagrad, Adam

__all__ = ["SGD", "Adagrad", "Adam"]
