"""BYOL (Grill et al. 2020): predict the target network's view of the image; no negatives.

    loss = mean_i (2 - 2 cos(p1_i, t2_i)) + mean_i (2 - 2 cos(p2_i, t1_i))

p = predictor(projector(encoder(view))) of the trained network, t = projector(encoder(view)) of the
target network, without gradient. After the optimiser's step the target moves towards the *new*
parameters, with a decay that grows from `momentum` to 1 (deepmind-research, byol). What keeps it
from collapsing is the predictor and the moving target; the collapse alarm watches it.

The target starts as a copy of the trained network (ours; the authors draw it from another seed,
which would throw away the weights that a run starts from).

Defaults: authors-code. Linear probe on ImageNet: 74.3% (ResNet-50, 1000 epochs); 73.9% with
GroupNorm and weight standardisation in place of all BatchNorm (Richemond et al. 2020).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from remedis_jax.models.heads import MLP
from remedis_jax.objectives.heads import apply_per_view, init_head, init_statistics
from remedis_jax.objectives.momentum import copy_of, cosine_decay_to_one, moved
from remedis_jax.objectives.nt_xent import l2_normalise
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


def byol_loss(
    predictions1: jax.Array, predictions2: jax.Array, targets1: jax.Array, targets2: jax.Array
) -> jax.Array:
    """Squared distance of unit vectors, both ways.

    Args:
        predictions1: [N, d] of the first views, any float dtype, not normalised.
        predictions2: [N, d] of the second views.
        targets1: [N, d] of the first views. No gradient flows into targets.
        targets2: [N, d] of the second views.

    Returns:
        float32 scalar in [0, 8]; 4 where predictions tell nothing of the targets.
    """

    def distance(prediction, target):
        prediction = l2_normalise(prediction.astype(jnp.float32))
        target = l2_normalise(lax.stop_gradient(target).astype(jnp.float32))
        return (2 - 2 * (prediction * target).sum(axis=-1)).mean()

    return distance(predictions1, targets2) + distance(predictions2, targets1)


@dataclasses.dataclass(frozen=True)
class BYOL:
    """The BYOL objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        total_steps: Of the run: where the target stops moving.
        momentum: Decay of the target network at the first step.
        hidden_dim: Width of the hidden layers of projector and predictor.
        head_dim: Dimension of the embeddings.
    """

    views: Views
    total_steps: int
    momentum: float = 0.996  # authors-code (1000 epochs; 0.99 for 300, 0.97 for 40)
    hidden_dim: int = 4096  # authors-code
    head_dim: int = 256  # authors-code

    keys_per_example: ClassVar[int] = 2
    # BatchNorm in projector and predictor makes examples meet.
    decomposes: ClassVar[bool] = False

    @property
    def head(self) -> MLP:
        """The shape of the projector and of the predictor."""
        return MLP((self.hidden_dim, self.head_dim), hidden_bias=True)

    def _inputs(self):
        projected = jax.ShapeDtypeStruct((2, self.head_dim), "float32")
        return self.views.feature_shape(), projected

    def init_params(self, seed, image_shape):
        features, projected = self._inputs()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.head, seed, features, "projection_head"),
            "predictor": init_head(self.head, seed, projected, "predictor"),
        }

    def init_state(self, seed, params):
        features, projected = self._inputs()
        statistics = init_statistics(self.head, features)
        return {
            "target": copy_of({k: v for k, v in params.items() if k != "predictor"}),
            "target_batch_stats": copy_of(statistics),
            "batch_stats": {
                "projection_head": statistics,
                "predictor": init_statistics(self.head, projected),
            },
            "step": np.zeros((), np.int32),
        }

    def loss(self, params, model_state, batch, keys):
        target, statistics = model_state["target"], model_state["batch_stats"]
        features, target_features = self.views.features(
            params["encoder"], batch["image"], keys, target=target["encoder"]
        )
        projected, of_projector = apply_per_view(
            self.head, params["projection_head"], statistics["projection_head"], features
        )
        predicted, of_predictor = apply_per_view(
            self.head, params["predictor"], statistics["predictor"], projected
        )
        targets, of_target = apply_per_view(
            self.head,
            target["projection_head"],
            model_state["target_batch_stats"],
            target_features,
        )
        loss = byol_loss(predicted[:, 0], predicted[:, 1], targets[:, 0], targets[:, 1])
        state = {
            **model_state,
            "target_batch_stats": of_target,
            "batch_stats": {"projection_head": of_projector, "predictor": of_predictor},
        }
        return loss, (state, spread(features, projected))

    def after_step(self, params, model_state):
        # The update that has just been made is number `step`, counted from 0.
        decay = cosine_decay_to_one(self.momentum, model_state["step"], self.total_steps)
        trained = {k: v for k, v in params.items() if k != "predictor"}
        return {
            **model_state,
            "target": moved(model_state["target"], trained, decay),
            "step": model_state["step"] + jnp.int32(1),
        }

    def chance_loss(self, batch_size):
        return 4.0
