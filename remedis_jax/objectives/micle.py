"""MICLe (Azizi et al. 2021): SimCLR whose pairs are two images of one case.

Many patients are photographed several times. Where a case has two images or more, the two views
are two *different* images of it, drawn anew at every visit, each augmented by itself; a case of
one image falls back to two crops of it. The loss is NT-Xent as in SimCLR.

A batch holds each case at most once (`data.pipeline.TrainStream`, mode "cases"), so the other
images of a case are never negatives: the paper leaves this open, and pairs of the same case within
a batch would push together what the method wants apart. It is a stage after SimCLR, short and with
small batches (batch 128, LARS 0.1, from memory of the appendix, unverified). Published gain over
supervised ImageNet pre-training: 6.7% top-1 in dermatology, 1.1% mean AUC on chest X-rays
(abstract).
"""

import dataclasses

from remedis_jax.objectives.simclr import SimCLR


@dataclasses.dataclass(frozen=True)
class MICLe(SimCLR):
    """The MICLe objective: `SimCLR` on batches of `image` uint8 [B, 2, H, W, C].

    Raises:
        ValueError: The batch holds single images.
    """

    def loss(self, params, model_state, batch, keys):
        if batch["image"].ndim != 5 or batch["image"].shape[1] != 2:
            raise ValueError(
                f"MICLe needs pairs [B, 2, H, W, C], not {batch['image'].shape}"
            )
        return super().loss(params, model_state, batch, keys)
