"""MoCo v3 (Chen, Xie and He 2021): MoCo without a queue, with a predictor, in both directions.

    loss = 2T [ CE(q1 . K2' / T) + CE(q2 . K1' / T) ]

q = predictor(projector(encoder(view))) of the trained network, K the global batch's keys
projector(encoder(view)) of the momentum network, all of unit length; row i's own key is the
target. Keys are gathered over all devices without gradient. The momentum network moves first,
towards the parameters of before this step, then makes the keys (facebookresearch/moco-v3).

Defaults: authors-code for ResNet-50: T 1.0, momentum 0.99 (0.996 for 1000 epochs) growing to 1,
projector 4096-256, predictor 4096-256, BYOL's augmentation with crops of 20% or more, LARS 0.6
(0.3 from 300 epochs) x batch / 256. Linear probe on ImageNet: 68.9%, 72.8%, 74.6% at 100, 300 and
1000 epochs.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from remedis_jax.models.heads import MLP
from remedis_jax.models.parameters import TORCH_LINEAR
from remedis_jax.objectives.heads import apply_per_view, init_head, init_statistics
from remedis_jax.objectives.momentum import copy_of, cosine_decay_to_one, moved
from remedis_jax.objectives.nt_xent import info_nce
from remedis_jax.objectives.row_blocks import MAX_LOGITS_MIB
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


def moco_v3_loss(
    queries1: jax.Array,
    queries2: jax.Array,
    keys1: jax.Array,
    keys2: jax.Array,
    *,
    temperature: float,
    mesh: Mesh,
    max_logits_mib: float = MAX_LOGITS_MIB,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """2T times the InfoNCE of both directions.

    Args:
        queries1: [N, d] of the first views, any float dtype, not normalised.
        queries2: [N, d] of the second views.
        keys1: [N, d] of the first views. No gradient flows into keys.
        keys2: [N, d] of the second views.
        temperature: Positive.
        mesh: The mesh that the surrounding computation is sharded on.
        max_logits_mib: See `row_blocks.rows_per_block`.

    Returns:
        The float32 scalar loss, and `contrastive_accuracy` and `contrastive_entropy` of the first
        direction.

    Raises:
        ValueError: Shapes differ or the temperature is not positive.
    """
    settings = {"temperature": temperature, "mesh": mesh, "max_logits_mib": max_logits_mib}
    forward, metrics = info_nce(queries1, keys2, **settings)
    backward, _ = info_nce(queries2, keys1, **settings)
    return 2 * temperature * (forward + backward), metrics


@dataclasses.dataclass(frozen=True)
class MoCoV3:
    """The MoCo-v3 objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        total_steps: Of the run: where the momentum arrives at 1.
        temperature: Of the softmax.
        momentum: Decay of the momentum network at the first step.
        hidden_dim: Width of the hidden layers of projector and predictor.
        head_dim: Dimension of the embeddings.
        max_logits_mib: See `row_blocks.rows_per_block`.
    """

    views: Views
    total_steps: int
    temperature: float = 1.0  # authors-code (ResNet-50)
    momentum: float = 0.99  # authors-code
    hidden_dim: int = 4096  # authors-code
    head_dim: int = 256  # authors-code
    max_logits_mib: float = MAX_LOGITS_MIB  # ours

    keys_per_example: ClassVar[int] = 2
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> MLP:
        return MLP((self.hidden_dim, self.head_dim), last_norm="plain", kernel_init=TORCH_LINEAR)

    @property
    def predictor(self) -> MLP:
        return MLP((self.hidden_dim, self.head_dim), kernel_init=TORCH_LINEAR)

    def _inputs(self):
        projected = jax.ShapeDtypeStruct((2, self.head_dim), "float32")
        return self.views.feature_shape(), projected

    def init_params(self, seed, image_shape):
        features, projected = self._inputs()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.projection_head, seed, features, "projection_head"),
            "predictor": init_head(self.predictor, seed, projected, "predictor"),
        }

    def init_state(self, seed, params):
        features, projected = self._inputs()
        statistics = init_statistics(self.projection_head, features)
        return {
            "target": copy_of({k: v for k, v in params.items() if k != "predictor"}),
            "target_batch_stats": copy_of(statistics),
            "batch_stats": {
                "projection_head": statistics,
                "predictor": init_statistics(self.predictor, projected),
            },
            "step": np.zeros((), np.int32),
        }

    def loss(self, params, model_state, batch, keys):
        decay = cosine_decay_to_one(self.momentum, model_state["step"], self.total_steps)
        trained = {k: v for k, v in params.items() if k != "predictor"}
        target = moved(model_state["target"], trained, decay)
        features, target_features = self.views.features(
            params["encoder"], batch["image"], keys, target=target["encoder"]
        )
        head, statistics = self.projection_head, model_state["batch_stats"]
        projected, of_projector = apply_per_view(
            head, params["projection_head"], statistics["projection_head"], features
        )
        queries, of_predictor = apply_per_view(
            self.predictor, params["predictor"], statistics["predictor"], projected
        )
        new_keys, of_target = apply_per_view(
            head, target["projection_head"], model_state["target_batch_stats"], target_features
        )
        loss, metrics = moco_v3_loss(
            queries[:, 0],
            queries[:, 1],
            new_keys[:, 0],
            new_keys[:, 1],
            temperature=self.temperature,
            mesh=self.views.mesh,
            max_logits_mib=self.max_logits_mib,
        )
        state = {
            "target": target,
            "target_batch_stats": of_target,
            "batch_stats": {"projection_head": of_projector, "predictor": of_predictor},
            "step": model_state["step"] + jnp.int32(1),
        }
        return loss, (state, metrics | spread(features, projected))

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        return 4 * self.temperature * math.log(batch_size)
