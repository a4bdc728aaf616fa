"""Which Keras callbacks a run takes."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from data_pipeline.errors import UserError, shown

# What cannot work here, and what does.
_REFUSED = {
    "BackupAndRestore": "a run continues from its own checkpoints: call train again with the same workdir",
    "SwapEMAWeights": "it needs an optimizer with use_ema, and those of reeltrain keep no averages",
}


def require_callbacks(
    callbacks: keras.callbacks.Callback | Iterable[keras.callbacks.Callback] | None,
) -> list[keras.callbacks.Callback]:
    """One callback or several as a list.

    Raises:
        UserError: something else is among them, or a callback that cannot work here.
    """
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    callbacks = [] if callbacks is None else callbacks
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str | bytes):
        raise UserError(f"callbacks must be Keras callbacks, got {shown(callbacks)}")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, keras.callbacks.Callback):
            raise UserError(f"callbacks must be Keras callbacks, got {shown(callback)}")
        for name, reason in _REFUSED.items():
            if isinstance(callback, getattr(keras.callbacks, name)):
                raise UserError(f"callbacks must not have {name}: {reason}")
    return found
