"""A step of fine-tuning on the processor, beside timm's same network in PyTorch.

    python benchmarks/finetune.py --torch-python .venv-torch/bin/python      about five minutes
    python benchmarks/finetune.py --small                                    seconds, without a peer

`./launch/local.sh oracles` makes the environment of the peer.

The step is end to end: uint8 images to the network's range, forward, cross-entropy, backward, SGD
with momentum, in float32. Ours is the step that `remedis train` compiles, its augmentation that of
evaluation, which leaves an image of the right size as it is; the peer's is `resnetv2_50x1_bit` with
`torch.optim.SGD`. Both have the same batch, image size, threads (all cores) and environment, each
lives in a process of its own that has loaded and compiled everything, and their rounds alternate;
ratios are taken round by round. What a step takes of the processors is given as well: on a machine
with other work it is the steadier number. PyTorch is timed with its usual and with its
channels-last memory layout, and the faster one counts.

Both sides run with GLIBC_TUNABLES=glibc.malloc.hugetlb=1, as `launch/local.sh` starts every
command: large buffers then come in large pages. And every computing thread is held on a processor
of its own, of PyTorch by OMP_PROC_BIND: Linux was seen to put both of ours on one of two idle
processors for whole runs, which halves the speed and says nothing of the program. `--unpinned`
leaves the threads to the system.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 5
# Pixels and batch.
SIZES = ((64, 32), (224, 16))
LEAST = 1.0


# --- The two sides, each in its own process: a line on standard input is a round of steps ---------
def serve(step, steps: int) -> None:
    """Steps until everything is compiled and allocated, then a round at each line."""
    for _ in range(2):
        step()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            loss = step()
        seconds = (time.perf_counter() - start) / steps
        used = (time.process_time() - used) / steps
        row = {"seconds": seconds, "processor_seconds": used, "loss": loss}
        print(json.dumps(row), flush=True)


def generated(size: int, batch: int):
    """uint8 [batch, size, size, 3] and int [batch], the same on both sides."""
    import numpy as np

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3), np.uint8)
    return images, generator.integers(0, CLASSES, batch)


def pin_threads() -> None:
    """Spreads XLA's computing threads over the processors, on Linux."""
    processors = sorted(os.sched_getaffinity(0))
    tasks = Path("/proc/self/task").iterdir()
    pool = sorted(int(t.name) for t in tasks if "XLAEigen" in (t / "comm").read_text())
    for place, thread in enumerate(pool):
        os.sched_setaffinity(thread, {processors[place % len(processors)]})


def our_side(network: str, size: int, batch: int, steps: int, pinned: bool) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(ROOT))
    import jax
    import numpy as np

    from remedis_jax.training import sharding
    from remedis_jax.training.build import build, make_plan
    from remedis_jax.training.config import stage_config
    from remedis_jax.training.state import create_state

    config = stage_config("supervised")
    config.model.name, config.batch_size = network, batch
    config.augment.recipe, config.augment.size = "eval", size
    config.augment.options = {"center_proportion": 1.0}
    config.optimizer.name, config.optimizer.weight_decay = "sgd", 0.0
    config.schedule, config.total_steps = "constant", 1000.0
    mesh = sharding.make_mesh(1)
    built = build(config, make_plan(config, batch), mesh, tuple("abcde"))
    images, labels = generated(size, batch)
    params = built.objective.init_params(0, images.shape[1:])
    state = create_state(sharding.put_replicated(params, mesh), {}, built.optimizer, ema=False)
    state = sharding.put_replicated(jax.device_get(state), mesh)
    index = np.arange(batch, dtype=np.int32)
    rows = {"image": images, "label": labels.astype(np.int32), "index": index}
    rows = sharding.put_batch(rows, mesh)
    key = sharding.put_replicated_key(jax.random.key(0), mesh)
    rate = sharding.put_replicated(np.float32(1e-3), mesh)

    def step() -> float:
        nonlocal state
        state, metrics = built.step(state, rows, key, rate)
        return float(metrics["loss"])

    step()  # The threads exist from the first step on.
    if pinned:
        pin_threads()
    serve(step, steps)


def torch_side(size: int, batch: int, steps: int, channels_last: bool) -> None:
    import timm
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = timm.create_model("resnetv2_50x1_bit", pretrained=False, num_classes=CLASSES)
    network = network.train().to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=False)
    images, labels = (torch.from_numpy(values) for values in generated(size, batch))

    def step() -> float:
        inputs = images.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)
        logits = network(inputs.contiguous(memory_format=layout))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    serve(step, steps)


# --- The parent -----------------------------------------------------------------------------------
class Side:
    """A process that makes a round of steps at each line."""

    def __init__(self, *command: str, pinned: bool):
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        if pinned:
            environment["OMP_PROC_BIND"] = "true"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a side ended early; see its message above")
        return json.loads(line)

    def run(self) -> dict:
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def spread(values) -> str:
    import numpy as np

    return f"{np.median(values):,.2f} ({np.min(values):,.2f} to {np.max(values):,.2f})"


def compare(size: int, batch: int, options) -> tuple[list[dict], float | None]:
    """Times the sides in turn; a row for each, and the ratio to the faster peer."""
    import numpy as np

    common = ["--network", options.network, "--steps", str(options.steps)]
    common += ["--sizes", f"{size}:{batch}"]
    pythons = {"remedis_jax": sys.executable}
    if options.torch_python:
        pythons |= {"PyTorch": options.torch_python, "PyTorch, nhwc": options.torch_python}
    if options.unpinned:
        common.append("--unpinned")
    sides = {
        name: Side(python, __file__, "--side", name, *common, pinned=not options.unpinned)
        for name, python in pythons.items()
    }
    seconds, used = {name: [] for name in sides}, {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            answer = side.run()
            assert np.isfinite(answer["loss"]), (name, answer)
            seconds[name].append(answer["seconds"])
            used[name].append(answer["processor_seconds"])
    for side in sides.values():
        side.close()
    rows = []
    ours = np.array(seconds["remedis_jax"])
    for name, times in seconds.items():
        ratio = np.array(times) / ours
        rows.append({
            "size": size, "batch": batch, "side": name,
            "images_per_second": batch / float(np.median(times)), "seconds": times,
            "processor_seconds": used[name],
            "this_over_ours": [float(f(ratio)) for f in (np.min, np.median, np.max)],
        })  # fmt: skip
        print(
            f"  {name:<15}{spread(batch / np.array(times)):>30} images/s   "
            f"{np.median(used[name]):6.2f} processor s a step   ours/this {spread(ratio)}",
            flush=True,
        )
    peers = [row for row in rows if row["side"] != "remedis_jax"]
    if not peers:
        return rows, None
    return rows, min(row["this_over_ours"][1] for row in peers)


def pixels_and_batch(text: str) -> tuple[int, int]:
    size, _, batch = text.partition(":")
    return int(size), int(batch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="Python with timm and PyTorch")
    parser.add_argument(
        "--sizes", nargs="+", type=pixels_and_batch, default=SIZES, metavar="PIXELS:BATCH"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="steps of a round")
    parser.add_argument("--unpinned", action="store_true", help="leave threads to the system")
    parser.add_argument("--small", action="store_true", help="seconds: a small network, no verdict")
    parser.add_argument("--json", type=Path, help="also write one JSON line per side and size")
    parser.add_argument("--network", default="r50x1", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        size, batch = options.sizes[0]
        if options.side == "remedis_jax":
            our_side(options.network, size, batch, options.steps, not options.unpinned)
        else:
            torch_side(size, batch, options.steps, options.side.endswith("nhwc"))
        return 0
    if options.small:
        options.network, options.sizes = "r14x0.25", ((32, 4),)
        options.rounds, options.torch_python = 2, None
    print(f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, {options.network}, "
          f"float32, {options.rounds} rounds of {options.steps} steps a side")  # fmt: skip
    rows, verdicts = [], []
    for size, batch in options.sizes:
        print(f"{size} pixels, batch {batch}:", flush=True)
        found, ratio = compare(size, batch, options)
        rows += found
        if ratio is not None:
            verdicts.append((size, ratio))
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for size, ratio in verdicts:
        met = "met" if ratio >= LEAST else "missed"
        print(f"{size} pixels: {ratio:.2f} times the faster PyTorch; target {LEAST} {met}")
    return 1 if any(ratio < LEAST for _, ratio in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
