"""The phantom: two invented hospitals, an unlabelled archive and textured shapes, made by seed.

`anatomy` draws patients and renders ideal films, `acquisition` takes them as a hospital does,
`cohort` puts both together, `natural` makes the textured shapes and `write` the files. `tasks/`
has one for each of the six tasks.
"""

from remedis_jax.data.phantom.acquisition import (
    ARCHIVE,
    HOSPITAL_A,
    HOSPITAL_B,
    Acquisition,
)
from remedis_jax.data.phantom.cohort import Cohort, generate_cohort
from remedis_jax.data.phantom.natural import CLASSES, NaturalSet, generate_natural
from remedis_jax.data.phantom.tasks import (
    TaskCohort,
    TaskPhantomSize,
    generate_task_cohort,
    write_task_phantom,
)
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
    "TaskCohort",
    "TaskPhantomSize",
    "generate_cohort",
    "generate_natural",
    "generate_task_cohort",
    "write_phantom",
    "write_task_phantom",
]
