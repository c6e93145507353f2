"""Runs several configs one after the other, as one of the processes of tests/test_two_processes.py.

    python tests/process_driver.py COORDINATOR PROCESSES PROCESS_ID JSON

JSON is a list of [config, workdir, overrides]. All runs share one start and one compilation cache,
which is most of what a short run costs.
"""

import json
import sys

from remedis_jax import api
from remedis_jax.models import bit
from remedis_jax.training.compilation_cache import enable_compilation_cache
from remedis_jax.training.processes import start_processes


def main() -> None:
    coordinator, processes, process_id, runs = sys.argv[1:]
    # A network of one stage compiles in seconds.
    bit.UNITS[5] = (1,)
    enable_compilation_cache()
    if int(processes) > 1:
        start_processes("auto", coordinator, int(processes), int(process_id))
    for config, workdir, overrides in json.loads(runs):
        api.train(config, workdir, overrides=overrides)


if __name__ == "__main__":
    main()
