"""What every objective offers to the training step.

An objective is a frozen dataclass of static settings with a few pure methods. The training step
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

    Attributes:
        keys_per_example: How many random keys `loss` needs for each example: one for each view
            that it makes.
        decomposes: Whether the gradient of a batch is the mean of the gradients of its parts, so
            that plain gradient accumulation is exact. False as soon as examples meet in the loss
            (as negatives, in batch statistics, in a normaliser) or the state moves with the batch.
    """

    keys_per_example: int
    decomposes: bool

    def init_params(self, seed: int, image_shape: tuple[int, int, int]) -> Params:
        """Creates the parameters on the host.

        Args:
            seed: Non-negative integer.
            image_shape: (H, W, C) of the batch's images.
        """
        ...

    def init_state(self, seed: int, params: Params) -> ModelState:
        """Creates what is carried along untrained: batch statistics, target networks, queues.

        Args:
            seed: As for `init_params`.
            params: What training starts from: as from `init_params`, parts of them perhaps
                replaced by another run's.
        """
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, keys: jax.Array
    ) -> tuple[jax.Array, tuple[ModelState, Metrics]]:
        """The float32 scalar loss of a global batch, the new state and scalar metrics.

        Args:
            params: As from `init_params`.
            model_state: As from `init_state`.
            batch: `image` uint8 [B, H, W, C], `index` int32 [B], and `label` where there are any.
                Objectives on pairs of a case get [B, 2, H, W, C] and [B, 2].
            keys: [B, keys_per_example] typed random keys of this step.
        """
        ...

    def after_step(self, params: Params, model_state: ModelState) -> ModelState:
        """The state after the optimiser's update, e.g. with a target network moved.

        Args:
            params: After the update.
            model_state: As returned by `loss`.
        """
        ...

    def chance_loss(self, batch_size: int) -> float | None:
        """The loss of embeddings that tell nothing, where it is known: what a run starts from.

        Args:
            batch_size: Global batch B.
        """
        ...
