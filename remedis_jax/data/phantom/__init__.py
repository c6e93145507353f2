"""The phantom: two invented hospitals, an unlabelled archive and textured shapes, made by seed.

`anatomy` draws patients and renders ideal films, `acquisition` takes them as a hospital does,
`cohort` puts both together, `natural` makes the textured shapes and `write` the files.
"""

from remedis_jax.data.phantom.acquisition import (
    ARCHIVE,
    HOSPITAL_A,
    HOSPITAL_B,
    Acquisition,
)
from remedis_jax.data.phantom.cohort import Cohort, generate_cohort
from remedis_jax.data.phantom.natural import CLASSES, NaturalSet, generate_natural
from remedis_jax.data.phantom.write import PhantomSize, write_phantom

__all__ = [
    "ARCHIVE",
    "CLASSES",
    "HOSPITAL_A",
    "HOSPITAL_B",
    "Acquisition",
    "Cohort",
    "NaturalSet",
    "PhantomSize",
    "generate_cohort",
    "generate_natural",
    "write_phantom",
]
