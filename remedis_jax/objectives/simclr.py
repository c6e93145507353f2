"""SimCLR (Chen et al. 2020a, v1; 2020b, v2): two views of one image attract, all others repel.

Encoder -> projection head -> NT-Xent over the global batch (`objectives.nt_xent` has the formula).
v1 and v2 differ in the head (2 or 3 dense layers) and in the size of the network.

Defaults are those of the REMEDIS code (google-research/medical-ai-research-foundations):
temperature 0.1, two-layer head of 128, both views in one BatchNorm. At scale, linear probe on
ImageNet: v1 69.1% (ResNet-50, batch 4096, 1000 epochs), v2 71.7% (ResNet-50) and 77.4%
(ResNet-152 2x) (google-research/simclr, README). The paper's v2 figures are with a queue of a
momentum network, which that code and this one leave out.
"""

import dataclasses
from typing import ClassVar

from remedis_jax.models.heads import ProjectionHead
from remedis_jax.objectives import nt_xent as core
from remedis_jax.objectives.heads import apply_to_rows, init_head, init_statistics
from remedis_jax.objectives.row_blocks import MAX_LOGITS_MIB
from remedis_jax.objectives.spread import spread
from remedis_jax.objectives.views import Views


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """The SimCLR objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its two views.
        temperature: Of NT-Xent.
        head_layers: Dense layers of the projection head; 2 = v1 and REMEDIS, 3 = v2.
        head_dim: Dimension of the embeddings.
        convention: "sum" or "mean" of the two directions.
        max_logits_mib: See `row_blocks.rows_per_block`.
        max_gathered_mib: See `nt_xent.nt_xent`.
    """

    views: Views
    temperature: float = 0.1  # official-code
    head_layers: int = 2  # official-code (REMEDIS)
    head_dim: int = 128  # official-code
    convention: str = "sum"  # official-code
    max_logits_mib: float = MAX_LOGITS_MIB  # ours
    max_gathered_mib: float = core.MAX_GATHERED_MIB  # ours

    keys_per_example: ClassVar[int] = 2
    decomposes: ClassVar[bool] = False

    @property
    def projection_head(self) -> ProjectionHead:
        return ProjectionHead(self.head_dim, self.head_layers)

    def init_params(self, seed, image_shape):
        inputs = self.views.feature_shape()
        return {
            "encoder": self.views.init_encoder(seed),
            "projection_head": init_head(self.projection_head, seed, inputs, ""),
        }

    def init_state(self, seed, params):
        return {"batch_stats": init_statistics(self.projection_head, self.views.feature_shape())}

    def loss(self, params, model_state, batch, keys):
        pairs = keys.shape[0]
        features, _ = self.views.features(params["encoder"], batch["image"], keys)
        # BatchNorm sees the 2N rows of both views together (official-code).
        projected, statistics = apply_to_rows(
            self.projection_head,
            params["projection_head"],
            model_state["batch_stats"],
            features.reshape(2 * pairs, -1),
        )
        projected = projected.reshape(pairs, 2, -1)
        loss, metrics = core.nt_xent(
            projected[:, 0],
            projected[:, 1],
            temperature=self.temperature,
            mesh=self.views.mesh,
            convention=self.convention,
            max_logits_mib=self.max_logits_mib,
            max_gathered_mib=self.max_gathered_mib,
        )
        return loss, ({"batch_stats": statistics}, metrics | spread(features, projected))

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        return core.chance_loss(batch_size, self.convention)
