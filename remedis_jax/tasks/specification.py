"""The tasks by name."""

from collections.abc import Mapping
from types import MappingProxyType

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.tasks.chest_xray import CHEST_XRAY
from remedis_jax.tasks.colorectal_survival import COLORECTAL_SURVIVAL
from remedis_jax.tasks.dermatology import DERMATOLOGY
from remedis_jax.tasks.lymph_node import LYMPH_NODE
from remedis_jax.tasks.macular_edema import MACULAR_EDEMA
from remedis_jax.tasks.mammography import MAMMOGRAPHY
from remedis_jax.tasks.phantom import PHANTOM
from remedis_jax.tasks.task import Task

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "t1": DERMATOLOGY,
        "t2": MACULAR_EDEMA,
        "t3": CHEST_XRAY,
        "t4": LYMPH_NODE,
        "t5": COLORECTAL_SURVIVAL,
        "t6": MAMMOGRAPHY,
        "phantom": PHANTOM,
    }
)
# The six of the paper; "phantom" is the demo's.
CLINICAL = tuple(name for name in TASKS if name != "phantom")


def get_task(name: str) -> Task:
    """A task by name.

    Raises:
        UserError: There is no such task.
    """
    if name not in TASKS:
        raise UserError(
            f"There is no task {name!r}.{did_you_mean(name, TASKS)}",
            f"Use one of {', '.join(TASKS)}.",
        )
    return TASKS[name]
