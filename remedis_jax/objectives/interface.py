"""What every objective offers to the training step.

An objective is a frozen dataclass of static settings with three pure methods. The training step
differentiates `loss` with respect to `params`, applies the optimiser, and then calls `after_step`.
A new method is one file with such a class and one test.
"""

from typing import Any, Protocol

import jax

Params = dict[str, Any]
ModelState = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Objective(Protocol):
    """A training objective.

    `params` always holds the encoder under the key "encoder", so that every stage of the chain
    can start from the weights of another.
    """

    def init(self, seed: int, image_shape: tuple[int, int, int]) -> tuple[Params, ModelState]:
        """Creates parameters and non-trained state on the host.

        Args:
            seed: Non-negative integer.
            image_shape: (H, W, C) of the batch's images.
        """
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[ModelState, Metrics]]:
        """The float32 scalar loss of a global batch, the new state and scalar metrics.

        Args:
            params: As from `init`.
            model_state: As from `init`.
            batch: `image` uint8 [B, H, W, C], `index` int32 [B], and `label` where there are any.
            key: Typed random key of this step.
        """
        ...

    def after_step(
        self, params: Params, model_state: ModelState, ema_params: Params | None
    ) -> ModelState:
        """The state after the optimiser's update, e.g. with a queue advanced."""
        ...
