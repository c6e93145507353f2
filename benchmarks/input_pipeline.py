"""From files to two augmented views in a batch on the device, beside three other pipelines.

    python benchmarks/input_pipeline.py --torch-python .venv-torch/bin/python \
        --tf-python .venv-oracles/bin/python                             about six minutes
    python benchmarks/input_pipeline.py --small                          seconds, without peers

The peers are torchvision v2 and albumentations with PyTorch's DataLoader, and tf.data; see
`input_peers.py` for what each does. 'own blur' is torchvision with its blur, which takes most of
its time, replaced by a separable one, as a user may do who has noticed; the target is set for
torchvision as it comes. `./launch/local.sh oracles` makes their environments; into the one of
PyTorch goes, for albumentations, `pip install --no-deps albumentations==2.0.8 albucore==0.0.24
simsimd stringzilla opencv-python-headless scipy`.

Two kinds of files, generated: photographs (JPEG of 512 pixels) and X-ray films (PNG of 1024 pixels,
16 bits, of which a detector fills 12). All sides get the same files, in the page cache, and all
processors, and give float32 [batch, 2, 224, 224, channels]. Each side lives in a process of its own
that has loaded and compiled everything; rounds alternate between the sides, and ratios are taken
round by round. The time that an image takes of a processor is given as well: on a machine with
other work it is the steadier number, and hides who waits.

Ours reads a file once into 256 pixels and cuts both views from that, on the host ('host') or on the
device ('device': on a machine without an accelerator that is the same processor); 'cache' reads
what `remedis cache` wrote. 'decode' is the part of ours on the host without the augmentation, and
'limit' the bare decoder: simplejpeg, OpenCV for PNG, in as many threads, the pixels thrown away.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"jpeg": "JPEG photographs", "png16": "16-bit PNG films"}
OURS = ("host", "device", "cache")
# Targets: the host part beside the bare decoder, and end to end beside torchvision.
LEAST_OF_LIMIT, LEAST_OVER_TORCHVISION = 0.8, 3.0


# --- Our sides, each in its own process -----------------------------------------------------------
def our_side(side: str, folder: Path, options) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    from input_peers import serve

    if options.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    if side == "limit":
        serve(bare_decoder(folder, options.cores))
    else:
        serve(our_pipeline(side, folder, options))


def bare_decoder(folder: Path, threads: int):
    import cv2
    import numpy as np
    import simplejpeg

    cv2.setNumThreads(1)
    paths = sorted((folder / "images").iterdir())

    def decode(path: Path) -> tuple[int, ...]:
        data = path.read_bytes()
        if path.suffix == ".jpg":
            return simplejpeg.decode_jpeg(data).shape
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape

    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(decode, paths))[-1]


def our_pipeline(side: str, folder: Path, options):
    import jax
    import jax.numpy as jnp

    from remedis_jax.augment.host import HostAugment
    from remedis_jax.augment.recipes import get_recipe
    from remedis_jax.data import ManifestSource, read_manifest
    from remedis_jax.data.cache import write_cache
    from remedis_jax.data.cache_store import open_cache
    from remedis_jax.data.manifest import Columns
    from remedis_jax.data.pipeline import eval_batches
    from remedis_jax.data.reading import Reading
    from remedis_jax.training.prefetch import DevicePrefetch
    from remedis_jax.training.sharding import make_mesh, put_batch

    grey = folder.name == "png16"
    reading = Reading(1, bits=16, reduced=True) if grey else Reading(reduced=True)
    manifest = read_manifest(folder / "manifest.csv")
    if side == "cache":
        write_cache(manifest, folder / "cache", size=options.working, reading=reading)
        manifest = open_cache(folder / "cache", Columns())
    source = ManifestSource(manifest, options.working, reading, threads=options.cores)
    colourless = {"saturation": 0.0, "hue": 0.0, "grayscale_probability": 0.0}
    recipe = get_recipe("simclr", **(colourless if grey else {}))
    augment = HostAugment((recipe, recipe), options.view, options.cores)
    mesh = make_mesh(1)
    root = jax.random.key(0)

    @jax.jit
    def keys_of(index):
        one = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(root, i), 2))
        return one(index)

    @jax.jit
    def on_device(keys, images):
        views = [recipe(keys[:, v], images, options.view) for v in range(2)]
        return jnp.stack(views, axis=1)

    def put(batch):
        if side == "device":
            on_mesh = put_batch(batch, mesh)
            return {"views": on_device(keys_of(on_mesh["index"]), on_mesh["image"])}
        views = augment(keys_of(batch["index"]), batch["image"])
        return put_batch({"views": views}, mesh)

    class Epoch:
        """The batches of `TrainStream` by the same machinery, which end: nothing is read ahead."""

        def __init__(self):
            self.state = dict
            self._batches = eval_batches(source, batch_size=options.batch_size)

        def __next__(self):
            return next(self._batches)

        def __iter__(self):
            return self._batches

    def decoded() -> tuple[int, ...]:
        for batch in Epoch():
            shape = batch["image"].shape
        return shape

    def views() -> tuple[int, ...]:
        with DevicePrefetch(Epoch(), put) as batches:
            for ready in batches:
                shape = ready.batch["views"].block_until_ready().shape
        return shape

    return decoded if side == "decode" else views


# --- The parent -----------------------------------------------------------------------------------
class Side:
    """A process that repeats its work at each line."""

    def __init__(self, *command: str):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a side ended early; see its message above")
        return json.loads(line)

    def run(self) -> dict:
        before = processor_seconds(self.process.pid)
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        answer = self.answer()
        return answer | {"processor_seconds": processor_seconds(self.process.pid) - before}

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def processor_seconds(pid: int) -> float:
    """What a process and those that it started have used of the processors, on Linux."""
    # After the name, which stands in brackets: state, parent, ..., user and system time.
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return own + sum(map(processor_seconds, children))


def write_files(folder: Path, kind: str, count: int, side: int) -> int:
    """Images by seed, and their manifest; returns the mean size of a file in bytes."""
    import numpy as np
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    lines = ["image"]
    for index in range(count):
        generator = np.random.default_rng(index)
        channels = 3 if kind == "jpeg" else 1
        pixels = np.zeros((side, side, channels))
        # Coarse structure is strong and fine structure weak, as in photographs.
        cells = 4
        while cells <= side // 4:
            noise = generator.standard_normal((channels, cells, cells)).astype(np.float32)
            for channel in range(channels):
                plane = Image.fromarray(noise[channel]).resize((side, side), 3)
                pixels[:, :, channel] += np.asarray(plane) * (4 / cells)
            cells *= 2
        scaled = (0.5 + 0.17 * pixels).clip(0, 1)
        if kind == "jpeg":
            name = f"images/{index:05d}.jpg"
            grain = generator.normal(0, 6, scaled.shape)
            image = Image.fromarray((255 * scaled + grain).clip(0, 255).astype(np.uint8))
            image.save(folder / name, quality=90)
        else:
            name = f"images/{index:05d}.png"
            grain = generator.normal(0, 8, scaled.shape)
            values = (4095 * scaled + grain).clip(0, 4095).astype(np.uint16)
            Image.fromarray(values[:, :, 0] * 16).save(folder / name)
        lines.append(name)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return sum(path.stat().st_size for path in (folder / "images").iterdir()) // count


def spread(values) -> str:
    import numpy as np

    return f"{np.median(values):,.2f} ({np.min(values):,.2f} to {np.max(values):,.2f})"


def compare(folder: Path, kind: str, options) -> list[dict]:
    """Times the sides in turn; one row for each."""
    import numpy as np

    common = ["--folder", str(folder)]
    for name in ("images", "batch_size", "working", "view", "cores"):
        common += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    if options.cpu:
        common.append("--cpu")
    sides = {
        name: Side(sys.executable, __file__, "--side", name, *common)
        for name in ("limit", "decode", *options.ours)
    }
    peers = ROOT / "benchmarks" / "input_peers.py"
    settings = [str(folder), *(str(v) for v in (options.view, options.batch_size, options.cores))]
    pythons = {
        "torchvision": options.torch_python, "own blur": options.torch_python,
        "albumentations": options.torch_python, "tf.data": options.tf_python,
    }  # fmt: skip
    for name, python in pythons.items():
        if python:
            sides[name] = Side(python, str(peers), name, *settings)
    seconds, used = {name: [] for name in sides}, {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            answer = side.run()
            seconds[name].append(answer["seconds"])
            used[name].append(answer["processor_seconds"])
            if name not in ("limit", "decode"):
                assert options.view in answer["shape"] and 2 in answer["shape"], (name, answer)
    for side in sides.values():
        side.close()
    # Ours end to end, from the files, is whichever place of the augmentation is faster here.
    places = [name for name in options.ours if name != "cache"] or options.ours
    best = min(places, key=lambda name: np.median(seconds[name]))
    rows = []
    for name, times in seconds.items():
        rate = options.images / np.array(times)
        ratio = np.array(times) / np.array(seconds[best])
        work = 1e3 * float(np.median(used[name])) / options.images
        rows.append({
            "kind": kind, "side": name, "images_per_second": float(np.median(rate)),
            "per_core": float(np.median(rate)) / options.cores, "ours": best,
            "ours_over_this": [float(f(ratio)) for f in (np.min, np.median, np.max)],
            "processor_milliseconds_per_image": work,
        })  # fmt: skip
        print(
            f"  {name:<15}{spread(rate):>30} images/s {rows[-1]['per_core']:>9,.1f} a core"
            f" {work:>8.2f} ms of a core each    {best}/this {spread(ratio)}",
            flush=True,
        )
    share = np.array(seconds["limit"]) / np.array(seconds["decode"])
    rows.append({
        "kind": kind, "side": "decode/limit",
        "share": [float(f(share)) for f in (np.min, np.median, np.max)],
    })  # fmt: skip
    print(f"  decoding to {options.working} pixels and batching: {spread(share)} of the limit")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="Python with torchvision and albumentations")
    parser.add_argument("--tf-python", help="Python with TensorFlow")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--ours", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--working", type=int, default=256, help="side of what is decoded")
    parser.add_argument("--view", type=int, default=224)
    parser.add_argument("--sides", type=int, nargs=2, default=(512, 1024), help="of the files")
    parser.add_argument("--cores", type=int, help="threads or workers of a side; default all")
    parser.add_argument("--cpu", action="store_true", help="leave an accelerator alone")
    parser.add_argument("--small", action="store_true", help="seconds: 8 small images, no verdict")
    parser.add_argument("--json", type=Path, help="also write one JSON line per row")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.cores = options.cores or len(os.sched_getaffinity(0))
    if options.side:
        our_side(options.side, options.folder, options)
        return 0
    if options.small:
        options.images, options.batch_size, options.rounds, options.cpu = 8, 4, 2, True
        options.working, options.view, options.sides = 40, 32, (96, 128)
    print(f"{options.cores} cores, {platform.machine()}, {options.images} files of each kind, "
          f"batches of {options.batch_size}, views of {options.view}")  # fmt: skip
    rows, verdicts = [], []
    for kind, side in zip(KINDS, options.sides, strict=True):
        if kind not in options.kinds:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / kind
            size = write_files(folder, kind, options.images, side)
            print(f"{side}-pixel {KINDS[kind]}, {size / 1000:,.0f} kB each:", flush=True)
            found = compare(folder, kind, options)
        rows += found
        share = found[-1]["share"][1]
        verdicts.append(
            (share >= LEAST_OF_LIMIT, f"{kind}: decoding reaches {share:.0%} of the limit")
        )
        for row in found:
            if row["side"] == "torchvision":
                ratio = row["ours_over_this"][1]
                verdicts.append(
                    (ratio >= LEAST_OVER_TORCHVISION, f"{kind}: {ratio:.2f} times torchvision")
                )
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if options.small:
        return 0
    for passed, line in verdicts:
        print("PASS" if passed else "FAIL", line)
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
