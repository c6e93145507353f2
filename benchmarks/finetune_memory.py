"""What a fine-tuning step takes of an accelerator's memory, by the TPU compiler's own count.

    python benchmarks/finetune_memory.py                  both networks, about an hour on two cores
    python benchmarks/finetune_memory.py --cases r50x1    ten minutes
    python benchmarks/finetune_memory.py --small          one small network, a minute

No TPU is needed: `pip install libtpu` brings the compiler, which compiles the step that
`remedis train` runs for chips that are only described to it. A step's memory is that of its
arguments (the state and a batch), of what it returns (in the place of the old state, which it is
given) and of what it needs meanwhile. The chip is a v5e with 16 GB, of which the compiler gives a
program 15.75 GiB; a step that does not fit is refused, with what it would have needed.

Cases, end to end (nothing is frozen), SGD with momentum:

- r50x1: R50x1 at 224 pixels, batch 128, on one chip;
- r152x2: R152x2 at 448 pixels, batch 16 on each of four chips.

Every case is compiled in float32 and bfloat16, and with every `config.model.remat`. The compiler
may save memory by computing things again of its own accord where a step would not fit otherwise;
'teraflop' shows it, and what `remat` costs: operations of a step on one chip.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHIP_GIB = 16e9 / 2**30  # 16 GB, as the data sheet counts
# Name, network, pixels, pixels of the images that crops are taken from, batch of a chip, chips.
CASES = {
    "r50x1": ("r50x1", "bit", 224, 256, 128, 1),
    "r152x2": ("r152x2", "bit", 448, 512, 16, 4),
    "small": ("r14x0.25", "cifar_stride2", 32, 32, 8, 1),
}
DTYPES, REMATS = ("float32", "bfloat16"), ("none", "unit", "stage")


def make_mesh(devices):
    """As training makes it, of devices that may be only described."""
    import numpy as np
    from jax.sharding import AxisType, Mesh

    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def abstract_step(case: str, dtype: str, remat: str, mesh):
    """The step that training would run, not compiled yet, and the shapes of what goes into it."""
    import jax
    import jax.numpy as jnp

    from remedis_jax.training.build import build, make_plan
    from remedis_jax.training.config import stage_config
    from remedis_jax.training.sharding import batch_sharding, replicated
    from remedis_jax.training.state import create_state

    network, stem, size, source_size, batch, _ = CASES[case]
    config = stage_config("supervised")
    config.model.name, config.model.stem = network, stem
    config.model.compute_dtype, config.model.remat = dtype, remat
    config.data.size, config.augment.size = source_size, size
    config.augment.recipe = "finetune"
    config.optimizer.name, config.optimizer.weight_decay = "sgd", 0.0
    config.schedule = "bit"
    config.batch_size = batch * mesh.shape["data"]
    built = build(config, make_plan(config, 10_000), mesh, tuple("abcde"))

    whole, split = replicated(mesh), batch_sharding(mesh)
    image = (source_size, source_size, 3)
    params = jax.eval_shape(lambda: built.objective.init_params(0, image))
    state = jax.eval_shape(lambda p: create_state(p, {}, built.optimizer, ema=False), params)
    struct = jax.ShapeDtypeStruct
    state = jax.tree.map(lambda x: struct(x.shape, x.dtype, sharding=whole), state)
    rows = config.batch_size
    data = {
        "image": struct((rows, *image), jnp.uint8, sharding=split),
        "index": struct((rows,), jnp.int32, sharding=split),
        "label": struct((rows,), jnp.int32, sharding=split),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    key = struct(key.shape, key.dtype, sharding=whole)
    return built.step, (state, data, key, struct((), jnp.float32, sharding=whole))


def measure(case: str, dtype: str, remat: str) -> dict:
    """One row: the compiler's count, or how much more than there is the step would need."""
    import jax
    from jax.experimental import topologies

    chips = topologies.get_topology_desc(topology_name="v5e:2x2", platform="tpu").devices
    mesh = make_mesh(chips[: CASES[case][-1]])
    step, arguments = abstract_step(case, dtype, remat, mesh)
    row = {"case": case, "dtype": dtype, "remat": remat}
    started = time.monotonic()
    try:
        compiled = step.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        used = re.search(r"Used ([\d.]+)([GM]) of", str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or used is None:
            raise
        needed = float(used[1]) / (1024 if used[2] == "M" else 1)
        return row | {
            "refused_gib": needed, "fits": False, "compile_seconds": time.monotonic() - started,
        }  # fmt: skip
    memory = compiled.memory_analysis()
    arguments, outputs, shared, temporary = (
        size / 2**30
        for size in (
            memory.argument_size_in_bytes, memory.output_size_in_bytes,
            memory.alias_size_in_bytes, memory.temp_size_in_bytes,
        )
    )  # fmt: skip
    total = arguments + outputs - shared + temporary
    return row | {
        "arguments_gib": arguments, "outputs_gib": outputs - shared, "temporaries_gib": temporary,
        "total_gib": total, "fits": total <= CHIP_GIB,
        "teraflop": compiled.cost_analysis()["flops"] / 1e12,
        "compile_seconds": time.monotonic() - started,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=["r50x1", "r152x2"], choices=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--remats", nargs="+", default=list(REMATS), choices=REMATS)
    parser.add_argument("--small", action="store_true", help="a small network, one setting")
    parser.add_argument("--json", type=Path, help="also write one JSON line per row")
    options = parser.parse_args()
    if options.small:
        options.cases, options.dtypes, options.remats = ["small"], ["float32"], ["unit"]
    # The processor is the only device that exists; the compiler must not look for a TPU.
    os.environ |= {
        "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }  # fmt: skip
    sys.path.insert(0, str(ROOT))
    rows = []
    for case in options.cases:
        network, _, size, _, batch, chips = CASES[case]
        print(f"{network} at {size} pixels, batch {batch} a chip, {chips} chip(s) of "
              f"{CHIP_GIB:.1f} GiB", flush=True)  # fmt: skip
        for dtype in options.dtypes:
            for remat in options.remats:
                row = measure(case, dtype, remat)
                rows.append(row)
                if "refused_gib" in row:
                    found = f"does not fit: {row['refused_gib']:.2f} GiB"
                else:
                    found = (
                        f"{row['total_gib']:6.2f} GiB: arguments {row['arguments_gib']:.2f} + "
                        f"temporaries {row['temporaries_gib']:.2f} + outputs "
                        f"{row['outputs_gib']:.2f}; {row['teraflop']:.2f} teraflop"
                    )
                print(f"  {dtype:<9} remat {remat:<6}{found}   (compiled in "
                      f"{row['compile_seconds']:.0f} s)", flush=True)  # fmt: skip
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if options.small:
        return 0
    missed = [c for c in options.cases if not any(r["fits"] for r in rows if r["case"] == c)]
    for case in missed:
        print(f"{case} fits with no setting: target missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
