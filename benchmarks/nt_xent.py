"""Time and memory of NT-Xent's value and gradient, beside optax, lightly and the naive form.

    python benchmarks/nt_xent.py                      the whole table, about ten minutes
    python benchmarks/nt_xent.py --small              seconds
    python benchmarks/nt_xent.py --sizes 4096 --repeats 7 --json out.jsonl

All sides get the same embeddings (by seed), the same temperature, float32 at the highest matmul
precision, and give the gradient of both views. Repetitions alternate between the sides, and the
ratio is taken pair by pair. Memory is XLA's own count of what the compiled program holds beside its
inputs and outputs, per device; lightly's, which XLA does not see, is the growth of the peak of the
process. What does not fit is compiled and not run. lightly is compared where it is installed
(./launch/local.sh oracles makes such an environment), TPUs where libtpu is (pip install libtpu).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax
import jax.numpy as jnp
import numpy as np
import optax

from remedis_jax.objectives.nt_xent import l2_normalise, nt_xent
from remedis_jax.training.sharding import batch_sharding, make_mesh

SIZES = (1024, 2048, 4096, 8192, 16384, 32768)
TEMPERATURE = 0.1
MIB = 2**20
# Share of the machine's free memory that a program may need to be run.
FITS = 0.6
SMALL_MIB = 0.5
# After a program of this size the next one pays for the pages that have been given back, once.
LARGE_MIB = 1024
COLLECTIVES = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute", "all-to-all")


def embeddings(pairs: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(pairs)
    z1 = generator.standard_normal((pairs, dim), dtype=np.float32)
    return z1, z1 + generator.standard_normal((pairs, dim), dtype=np.float32)


def naive(z1, z2):
    """The whole similarity matrix at once, differentiated automatically."""
    z = l2_normalise(jnp.concatenate([z1, z2]))
    logits = jnp.matmul(z, z.T, precision="highest") / TEMPERATURE
    logits = jnp.where(jnp.eye(len(z), dtype=bool), -1e9, logits)
    labels = jnp.roll(jnp.arange(len(z)), len(z1))
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def optax_ntxent(z1, z2):
    with jax.default_matmul_precision("highest"):
        rows = l2_normalise(jnp.concatenate([z1, z2]))
        return optax.losses.ntxent(rows, jnp.tile(jnp.arange(len(z1)), 2), TEMPERATURE)


def ours(mesh, **limits):
    def loss(z1, z2):
        return nt_xent(
            z1, z2, temperature=TEMPERATURE, mesh=mesh, convention="mean", **limits
        )[0]

    return loss


def sides(devices: int) -> dict:
    """Loss functions by name."""
    mesh = make_mesh(devices)
    found = {
        "ours": ours(mesh),
        "ours, all at once": ours(mesh, max_logits_mib=float("inf")),
        "ours, small blocks": ours(mesh, max_logits_mib=SMALL_MIB),
        "naive": naive,
    }
    if devices == 1:
        return found | {"optax": optax_ntxent}
    return found | {"ours, ring": ours(mesh, max_logits_mib=SMALL_MIB, max_gathered_mib=0)}


def compile_side(loss, inputs):
    return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*inputs).compile()


def held_mib(compiled) -> float:
    return compiled.memory_analysis().temp_size_in_bytes / MIB


def collectives(compiled) -> dict[str, int]:
    text = compiled.as_text()
    counts = {name: text.count(f" {name}(") + text.count(f" {name}-start(") for name in COLLECTIVES}
    return {name: count for name, count in counts.items() if count}


def free_mib() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB


def time_once(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def lightly_side(z1: np.ndarray, z2: np.ndarray):
    """A function that computes lightly's value and gradients, or None where it is missing."""
    try:
        import torch

        from tests.golden.lightly_losses import NTXentLoss
    except ImportError:
        return None
    loss = NTXentLoss(TEMPERATURE)
    views = [torch.from_numpy(z).requires_grad_() for z in (z1, z2)]

    def run():
        for view in views:
            view.grad = None
        loss(*views).backward()

    return run


def lightly_peak(pairs: int, dim: int) -> float | None:
    """Growth of the peak memory of a fresh process, in MiB; None where lightly is missing."""
    code = (
        "import json, resource, sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]\n"
        "from nt_xent import embeddings, lightly_side\n"
        "lightly_side(*embeddings(64, 8))()\n"
        f"run = lightly_side(*embeddings({pairs}, {dim}))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 1024 if done.returncode == 0 else None


def measure(pairs: int, devices: int, dim: int, repeats: int) -> list[dict]:
    """One row for each side."""
    z = embeddings(pairs, dim)
    inputs = jax.device_put(z, batch_sharding(make_mesh(devices)))
    rows, runs = {}, {}
    for name, loss in sides(devices).items():
        compiled = compile_side(loss, inputs)
        row = {"pairs": pairs, "devices": devices, "side": name, "held_mib": held_mib(compiled)}
        rows[name] = row | {"collectives": collectives(compiled)}
        if held_mib(compiled) * devices < FITS * free_mib():
            runs[name] = lambda c=compiled: jax.block_until_ready(c(*inputs))
    if devices == 1:
        # Some ten matrices of 2N x 2N; measured at 4,096 pairs.
        needed = 10 * (2 * pairs) ** 2 * 4 / MIB
        run = lightly_side(*z) if needed < FITS * free_mib() else None
        rows["lightly"] = {"pairs": pairs, "devices": 1, "side": "lightly"}
        if run is not None:
            runs["lightly"] = run
            rows["lightly"]["peak_growth_mib"] = lightly_peak(pairs, dim)
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    before = float("inf")
    for _ in range(repeats):
        for name, run in runs.items():
            if before > LARGE_MIB:
                run()
            seconds[name].append(time_once(run))
            before = rows[name].get("held_mib", 0.0)
    for name, row in rows.items():
        if name in seconds:
            ratios = np.array(seconds["ours"]) / np.array(seconds[name])
            row |= {
                "seconds": float(np.median(seconds[name])),
                "ours_over_this": [float(f(ratios)) for f in (np.min, np.median, np.max)],
            }
    return list(rows.values())


def show(row: dict) -> str:
    held = f"{row['held_mib']:9,.1f}" if "held_mib" in row else " " * 9
    if row.get("peak_growth_mib") is not None:
        held = f"{row['peak_growth_mib']:8,.0f}*"
    if "seconds" in row:
        low, middle, high = row["ours_over_this"]
        timing = f"{row['seconds']:9.3f}   {middle:5.2f} ({low:.2f} to {high:.2f})"
    elif "held_mib" in row:
        timing = f"not run: needs {row['held_mib'] * row['devices'] / 1024:,.1f} GiB"
    else:
        timing = "not installed, or too large"
    calls = ", ".join(f"{count} {name}" for name, count in row.get("collectives", {}).items())
    return f"{row['pairs']:6,} {row['devices']:2}  {row['side']:<23}{held}  {timing:<32}  {calls}"


def tpu_rows(sizes, dim: int, topology: str) -> list[dict] | str:
    """Ahead-of-time compilation for a TPU slice: no TPU is needed, and nothing is run."""
    try:
        from jax.experimental import topologies

        slice_ = topologies.get_topology_desc(topology_name=topology, platform="tpu")
    except Exception as error:
        return f"not compiled for TPU ({str(error).splitlines()[0][:80]}): pip install libtpu"
    from jax.sharding import AxisType, Mesh

    mesh = Mesh(np.array(slice_.devices), ("data",), axis_types=(AxisType.Auto,))
    rows = []
    for pairs in sizes:
        view = jax.ShapeDtypeStruct((pairs, dim), jnp.float32, sharding=batch_sharding(mesh))
        ring = ours(mesh, max_logits_mib=SMALL_MIB, max_gathered_mib=0)
        for name, loss in (("ours", ours(mesh)), ("ours, ring", ring), ("naive", naive)):
            compiled = compile_side(loss, (view, view))
            rows.append(
                {
                    "pairs": pairs, "chips": len(slice_.devices), "topology": topology,
                    "side": name, "held_mib": held_mib(compiled),
                    "collectives": collectives(compiled),
                }
            )  # fmt: skip
    return rows


def targets(rows: list[dict], dim: int) -> list[tuple[bool, str]]:
    """The targets of this benchmark that the measured sizes allow to judge."""
    verdicts = []
    by = {(row["pairs"], row["devices"], row["side"]): row for row in rows}
    core = by.get((8192, 8, "ours"))
    if core:
        local, whole = 1024, 8192
        limit = 1.2 * local * whole * 4 * 2 / MIB + 2 * whole * dim * 4 / MIB
        held = core["held_mib"]
        verdicts.append((held <= limit, f"8,192 pairs, 8 devices: {held:.1f} of {limit:.1f} MiB"))
        ring = by[8192, 8, "ours, ring"]["held_mib"]
        verdicts.append(
            (ring < limit / 8, f"ring: {ring:.1f} MiB, below an eighth: {limit / 8:.1f} MiB")
        )
        inputs = jax.device_put(embeddings(whole, dim), batch_sharding(make_mesh(8)))
        found = sides(8)
        (_, dense), (_, parts) = (
            compile_side(found[name], inputs)(*inputs)
            for name in ("ours, all at once", "ours, ring")
        )
        error = max(
            float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))
            for a, b in zip(dense, parts, strict=True)
        )
        verdicts.append((error < 1e-6, f"ring: gradient differs by {error:.1e} of its norm"))
    for devices in (1, 8):
        row = by.get((4096, devices, "naive"))
        if row and "seconds" in row:
            low, middle, high = row["ours_over_this"]
            line = f"4,096 pairs, {devices} device(s): {middle:.2f} ({low:.2f} to {high:.2f})"
            verdicts.append((middle <= 1, f"{line} of the naive form's time"))
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="pairs")
    parser.add_argument("--devices", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tpu", default="v5e:2x4", help="TPU topology to compile for, '' for none")
    parser.add_argument("--json", type=Path, help="also write one JSON line per row")
    parser.add_argument("--small", action="store_true", help="seconds: 256 pairs, no TPU")
    options = parser.parse_args()
    if options.small:
        options.sizes, options.repeats, options.tpu = [256], 2, ""
    print(f"jax {jax.__version__}, {os.cpu_count()} cores, {platform.machine()}, dim {options.dim}")
    print(" pairs dev side                      held MiB   seconds   ours/this (range)"
          "                 collectives")  # fmt: skip
    start, rows = time.monotonic(), []
    for pairs in options.sizes:
        for devices in options.devices:
            # One repetition of the largest takes a minute.
            repeats = options.repeats if pairs <= 8192 else 1
            part = measure(pairs, devices, options.dim, repeats)
            rows += part
            print("\n".join(show(row) for row in part), flush=True)
            print(f"{time.monotonic() - start:.0f} s so far", file=sys.stderr, flush=True)
    print("held: XLA's count per device; *: growth of the peak of a process that runs it")
    if options.tpu:
        compiled = tpu_rows(options.sizes, options.dim, options.tpu)
        if isinstance(compiled, str):
            print(compiled)
        else:
            rows += compiled
            for row in compiled:
                calls = ", ".join(f"{count} {name}" for name, count in row["collectives"].items())
                print(f"{row['pairs']:6,} {row['topology']}  {row['side']:<10} holds "
                      f"{row['held_mib']:8,.1f} MiB per chip  {calls}")  # fmt: skip
    if options.json:
        facts = {"jax": jax.__version__, "cores": os.cpu_count(), "dim": options.dim}
        options.json.write_text("".join(json.dumps(row | facts) + "\n" for row in rows))
    verdicts = targets(rows, options.dim)
    for passed, line in verdicts:
        print("PASS" if passed else "FAIL", line)
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
