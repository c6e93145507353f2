"""MoCo v2 (He et al. 2020; Chen et al. 2020c): queries against a queue of earlier keys.

A query is the trained network's embedding q of one view, its key k+ the momentum network's
embedding of the other, and the negatives are the K keys of the batches before:

    loss = mean_i -log  exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum_j exp(q_i . queue_j / T))

with unit-length q and k, and no gradient into keys or queue. The order is the authors'
(facebookresearch/moco): the momentum network moves *first*, towards the parameters of before this
step, then makes the keys; the queue that is compared with does not hold this step's keys yet;
afterwards they overwrite its oldest entries. Not symmetric in the views.

The authors shuffle images between devices before the key network ("shuffle-BN"), since BatchNorm
computed per device lets a query find its key by its batch statistics. There is nothing to shuffle
here: the encoder has GroupNorm and the head no norm at all, so a key depends on its own image
alone (`tests/objectives/test_moco_v2.py` shows it).

Defaults: authors-code. 67.5% at 200 epochs and 71.1% at 800, linear probe on ImageNet, ResNet-50,
SGD 0.03 at batch 256.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from remedis_jax.models.heads import MLP
from remedis_jax.models.parameters import TORCH_LINEAR
from remedis_jax.objectives.heads import apply_per_view, init_head
from remedis_jax.objectives.momentum import copy_of, moved
from remedis_jax.objectives.nt_xent import check_views, is_best, l2_normalise, similarities
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


def moco_loss(
    queries: jax.Array, keys: jax.Array, queue: jax.Array, *, temperature: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy of each query's own key among itself and the queue.

    Args:
        queries: [N, d], any float dtype, not normalised.
        keys: [N, d]; row i belongs to query i. No gradient flows into them.
        queue: [K, d] unit-length negatives, without gradient.
        temperature: Positive.

    Returns:
        The float32 scalar loss and `contrastive_accuracy`, the share of queries whose own key is
        nearest.

    Raises:
        ValueError: Shapes do not fit, or the temperature is not positive.
    """
    check_views(queries, keys, temperature=temperature)
    if queue.ndim != 2 or queue.shape[1] != queries.shape[1]:
        raise ValueError(f"a queue of {queue.shape} does not fit queries of {queries.shape}")
    queries = l2_normalise(queries.astype(jnp.float32))
    keys = l2_normalise(lax.stop_gradient(keys).astype(jnp.float32))
    positive = (queries * keys).sum(axis=1, keepdims=True) / temperature
    negative = similarities(queries, lax.stop_gradient(queue), temperature)
    logits = jnp.concatenate([positive, negative], axis=1)
    loss = (jax.nn.logsumexp(logits, axis=1) - logits[:, 0]).mean()
    fixed = lax.stop_gradient(logits)
    correct = is_best(fixed, fixed[:, 0], jnp.zeros(len(fixed), jnp.int32))
    return loss, {"contrastive_accuracy": correct.astype(jnp.float32).mean()}


def enqueue(
    queue: jax.Array, pointer: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Overwrites the oldest keys.

    Args:
        queue: [K, d] float32.
        pointer: int32 scalar in [0, K), where the oldest key is.
        keys: [N, d] of the global batch, not normalised; K is a multiple of N.

    Returns:
        The new queue and pointer.

    Raises:
        ValueError: K is no multiple of N.
    """
    size, count = queue.shape[0], keys.shape[0]
    if size % count:
        raise ValueError(f"a queue of {size} is no multiple of a batch of {count}")
    keys = l2_normalise(lax.stop_gradient(keys).astype(jnp.float32))
    queue = lax.dynamic_update_slice_in_dim(queue, keys, pointer, axis=0)
    return queue, (pointer + count) % size


@dataclasses.dataclass(frozen=True)
class MoCoV2:
    """The MoCo-v2 objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        temperature: Of the softmax.
        queue_size: K; a multiple of the global batch.
        momentum: Decay of the momentum network.
        hidden_dim: Width of the head's hidden layer; 0 for the encoder's output width.
        head_dim: Dimension of the embeddings.
    """

    views: Views
    temperature: float = 0.2  # authors-code (v1: 0.07)
    queue_size: int = 65536  # authors-code
    momentum: float = 0.999  # authors-code
    hidden_dim: int = 0  # authors-code
    head_dim: int = 128  # authors-code

    keys_per_example: ClassVar[int] = 2
    # Queries do not meet each other, but the queue moves once per batch.
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> MLP:
        hidden = self.hidden_dim or self.views.encoder.output_dim
        return MLP(
            (hidden, self.head_dim),
            hidden_bias=True,
            last_bias=True,
            batch_norm=False,
            kernel_init=TORCH_LINEAR,
        )

    def init_params(self, seed, image_shape):
        inputs = self.views.feature_shape()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.projection_head, seed, inputs, "projection_head"),
        }

    def init_state(self, seed, params):
        # A tag of its own keeps the queue's numbers apart from those of the parameters.
        entropy = np.random.SeedSequence([seed, 0x4D6F436F])
        generator = np.random.Generator(np.random.Philox(entropy))
        queue = generator.standard_normal((self.queue_size, self.head_dim), dtype=np.float32)
        queue /= np.linalg.norm(queue, axis=1, keepdims=True)
        return {"target": copy_of(params), "queue": queue, "pointer": np.zeros((), np.int32)}

    def loss(self, params, model_state, batch, keys):
        target = moved(model_state["target"], params, self.momentum)
        features, target_features = self.views.features(
            params["encoder"],
            batch["image"],
            keys,
            take=(0,),
            target=target["encoder"],
            target_take=(1,),
        )
        head = self.projection_head
        queries, _ = apply_per_view(head, params["projection_head"], {}, features)
        new_keys, _ = apply_per_view(head, target["projection_head"], {}, target_features)
        queries, new_keys = queries[:, 0], lax.stop_gradient(new_keys[:, 0])
        loss, metrics = moco_loss(
            queries, new_keys, model_state["queue"], temperature=self.temperature
        )
        queue, pointer = enqueue(model_state["queue"], model_state["pointer"], new_keys)
        state = {"target": target, "queue": queue, "pointer": pointer}
        return loss, (state, metrics | spread(features, queries))

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        return math.log(self.queue_size + 1)
