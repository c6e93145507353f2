"""Invented data of the right shape for each of the six tasks, made by seed.

A module per task says what is invented and draws its patients; `drawing`, `camera` and `staining`
are what they draw with, `cohort` puts patients and images together and `write` makes the files.
"""

from remedis_jax.data.phantom.tasks.cohort import TaskCohort
from remedis_jax.data.phantom.tasks.write import (
    TaskPhantomSize,
    generate_task_cohort,
    write_task_phantom,
)

__all__ = ["TaskCohort", "TaskPhantomSize", "generate_task_cohort", "write_task_phantom"]
