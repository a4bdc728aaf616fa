"""The Keras layers for models of your own; `keras.models.load_model` finds them once `reeltrain` is imported.

    from reeltrain.layers import Embedding

They are registered with Keras under the package name `reeltrain`.
"""

from trainer.models.feature_layers import Lookup, MeanEmbedding
from trainer.models.layers import Dropout, Embedding, InnerProduct, Offset
from trainer.models.wide_deep import Cross
from trainer.objectives.ordinal import OrdinalHead

__all__ = [
    "Cross",
    "Dropout",
    "Embedding",
    "InnerProduct",
    "Lookup",
    "MeanEmbedding",
    "Offset",
    "OrdinalHead",
]
