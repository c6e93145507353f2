"""The self-supervised methods by the name that a config gives as its stage."""

from remedis_jax.objectives.barlow_twins import BarlowTwins
from remedis_jax.objectives.byol import BYOL
from remedis_jax.objectives.micle import MICLe
from remedis_jax.objectives.moco_v2 import MoCoV2
from remedis_jax.objectives.moco_v3 import MoCoV3
from remedis_jax.objectives.relic import RELIC
from remedis_jax.objectives.simclr import SimCLR
from remedis_jax.objectives.vicreg import VICReg

METHODS = {
    "simclr": SimCLR,
    "micle": MICLe,
    "moco_v2": MoCoV2,
    "moco_v3": MoCoV3,
    "relic": RELIC,
    "barlow_twins": BarlowTwins,
    "byol": BYOL,
    "vicreg": VICReg,
}
