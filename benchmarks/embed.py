"""Embedding a folder of JPEG files, end to end, beside timm's same network in PyTorch.

    python benchmarks/embed.py --peer-python .venv-torch/bin/python      about three minutes
    python benchmarks/embed.py --small                                   seconds, without a peer
    python benchmarks/embed.py --memory r152x2                           peak memory instead

`./launch/local.sh oracles` makes the environment of the peer.

Both sides get the same files, the same weights (ours, written in timm's layout), the same threads
(all cores) and the same preprocessing, and write the features to a file; how far the two files
differ is printed. Each side lives in a process of its own that has loaded and compiled everything;
repetitions alternate, and the ratio is taken pair by pair. PyTorch is timed with its usual and with
its channels-last memory layout, and the faster one counts. Loading an artefact, with every
tensor's SHA-256 checked, is timed beside reading the same file.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZE = 224
# A camera's photograph; its decoding is part of the work.
PHOTO = (512, 384)


# --- The two sides, each in its own process: a line on standard input runs it once ----------------
def serve(run) -> None:
    run()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def our_side(folder: Path) -> None:
    sys.path.insert(0, str(ROOT))
    import remedis_jax
    from remedis_jax.evaluation.embedding_run import Settings, embed_manifest

    model = remedis_jax.load(folder / "weights.safetensors")
    settings = Settings(overwrite=True)
    serve(lambda: embed_manifest(model, folder / "manifest.csv", folder / "ours.npz", settings))


def timm_side(folder: Path, channels_last: bool) -> None:
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision import transforms

    torch.set_num_threads(os.cpu_count())
    name = json.loads((folder / "timm" / "config.json").read_text())["architecture"]
    network = timm.create_model(name, num_classes=0)
    network.load_state_dict(load_file(folder / "timm" / "model.safetensors"))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.eval().to(memory_format=layout)
    prepare = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE), transforms.InterpolationMode.BILINEAR),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    paths = sorted((folder / "images").iterdir())

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, index):
            return prepare(Image.open(paths[index]).convert("RGB"))

    def run():
        loader = torch.utils.data.DataLoader(Files(), batch_size=16, num_workers=os.cpu_count())
        with torch.inference_mode():
            rows = [network(batch.to(memory_format=layout)).numpy() for batch in loader]
        np.savez(folder / f"timm{int(channels_last)}.npz", features=np.concatenate(rows))

    serve(run)


# --- The parent -----------------------------------------------------------------------------------
class Side:
    """A process that repeats its work at each line."""

    def __init__(self, python: str, *arguments: str):
        self.process = subprocess.Popen(
            [python, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a side ended early; see its message above")
        return json.loads(line)

    def run(self) -> float:
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self.answer()["seconds"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def prepare(folder: Path, network: str, count: int, with_timm: bool) -> None:
    """Photographs by seed, a manifest, and the weights in both layouts."""
    sys.path.insert(0, str(ROOT))
    import numpy as np
    from PIL import Image
    from safetensors.numpy import save_file

    from remedis_jax.data.resample import Resampling
    from remedis_jax.models.bit import BiTSpec
    from remedis_jax.weights.architecture import encoder_card, encoder_shapes
    from remedis_jax.weights.artifact import load_artifact, save_artifact, unflatten
    from remedis_jax.weights.contract import Contract

    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    lines = ["image"]
    for index in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(PHOTO, Image.Resampling.BICUBIC))
        noise = generator.normal(0, 12, smooth.shape)
        pixels = (smooth + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index:05d}.jpg", quality=90)
        lines.append(f"images/{index:05d}.jpg")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    spec = BiTSpec.from_name(network)
    flat = {}
    for name, shape in encoder_shapes(spec).items():
        values = generator.standard_normal(shape, dtype=np.float32) * 0.1
        flat[f"encoder/{name}"] = values + 1 if name.endswith("gamma") else values
    contract = Contract(
        3, False, Resampling(SIZE, "squash", kernel="bilinear"), None, SIZE, spec.output_dim
    )
    card = {
        "stage": "benchmark", "encoder": encoder_card(spec), "head": None,
        "preprocessing": contract.to_json(), "lineage": {"init": None},
        "licence": {"name": "none", "inherited": None},
    }  # fmt: skip
    save_artifact(folder / "weights.safetensors", unflatten(flat), card)
    if with_timm:
        from remedis_jax.weights.pytorch.exporter import torch_state
        from remedis_jax.weights.pytorch.importer import timm_architecture

        artifact = load_artifact(folder / "weights.safetensors")
        (folder / "timm").mkdir()
        described = {"architecture": timm_architecture(spec)}
        (folder / "timm" / "config.json").write_text(json.dumps(described))
        save_file(torch_state(artifact, spec, "timm"), folder / "timm" / "model.safetensors")


def spread(values) -> str:
    import numpy as np

    return f"{np.median(values):.2f} ({np.min(values):.2f} to {np.max(values):.2f})"


def compare(folder: Path, options) -> list[dict]:
    """Times the sides in turn; one row for each."""
    import numpy as np

    sides = {"remedis_jax": Side(sys.executable, "--side", "ours", "--folder", str(folder))}
    if options.peer_python:
        for name, flag in (("timm", "timm"), ("timm, channels last", "timm-last")):
            sides[name] = Side(options.peer_python, "--side", flag, "--folder", str(folder))
    seconds = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            seconds[name].append(side.run())
    for side in sides.values():
        side.close()
    rows = []
    for name, times in seconds.items():
        ratio = np.array(times) / np.array(seconds["remedis_jax"])
        rows.append(
            {
                "side": name, "network": options.network, "images": options.images,
                "images_per_second": options.images / float(np.median(times)),
                "ours_over_this": [float(f(ratio)) for f in (np.min, np.median, np.max)],
            }
        )  # fmt: skip
        print(f"{name:<22}{spread(options.images / np.array(times)):>26} images/s    "
              f"ours/this {spread(ratio)}", flush=True)  # fmt: skip
    if options.peer_python:
        ours, theirs = (np.load(folder / f"{n}.npz")["features"] for n in ("ours", "timm0"))
        size = np.abs(theirs).max()
        print(f"features differ by at most {np.abs(ours - theirs).max() / size:.1e} of the largest")
    return rows


def loading(folder: Path, repeats: int) -> dict:
    """Loading (and verifying) an artefact beside reading its file."""
    import numpy as np

    from remedis_jax.weights.artifact import load_artifact

    path = folder / "weights.safetensors"
    times = {"load": [], "read": []}
    for _ in range(repeats + 1):
        for name, run in (("read", path.read_bytes), ("load", lambda: load_artifact(path))):
            start = time.perf_counter()
            kept = run()
            times[name].append(time.perf_counter() - start)
            del kept
    # The first pair brings the file into the page cache and imports into memory.
    read, load = (np.array(times[name][1:]) for name in ("read", "load"))
    megabytes = path.stat().st_size / 1e6
    print(f"loading {megabytes:,.0f} MB, every tensor's SHA-256 checked: {np.median(load):.3f} s; "
          f"reading: {np.median(read):.3f} s; load/read {spread(load / read)}")  # fmt: skip
    return {"megabytes": megabytes, "load_over_read": float(np.median(load / read))}


def memory(folder: Path, network: str) -> dict:
    """Peak resident memory of importing a BiT .npz and of embedding with it."""
    from remedis_jax.weights.artifact import load_artifact
    from remedis_jax.weights.bit_npz import write_bit_npz

    write_bit_npz(folder / "network.npz", load_artifact(folder / "weights.safetensors").params)
    commands = {
        "import": ["import", "bit", "network.npz", "--out", "imported.safetensors"],
        "embed": ["embed", "manifest.csv", "--weights", "imported.safetensors", "--out", "e.npz"],
    }
    found = {}
    for name, arguments in commands.items():
        code = (
            "import resource, subprocess, sys\n"
            "done = subprocess.run(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
            "sys.exit(done.returncode)\n"
        )
        command = [sys.executable, "-m", "remedis_jax", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=folder, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)
        found[name] = int(done.stderr.split()[-1]) / 2**20
        print(f"{network}: {name} needs {found[name]:.2f} GiB at its peak", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python with torch, torchvision and timm")
    parser.add_argument("--network", default="r50x1")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", metavar="NETWORK", help="peak memory instead of time")
    parser.add_argument("--small", action="store_true", help="seconds: r14x0.25, 8 images")
    parser.add_argument("--json", type=Path, help="also write one JSON line per row")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "ours":
        return our_side(options.folder)
    if options.side:
        return timm_side(options.folder, options.side == "timm-last")
    if options.small:
        options.network, options.images, options.repeats = "r14x0.25", 8, 2
    if options.memory:
        options.network, options.images = options.memory, 8
    verdicts, rows = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.network, options.images, bool(options.peer_python))
        import jax

        print(f"jax {jax.__version__}, {os.cpu_count()} cores, {platform.machine()}, "
              f"{options.network} at {SIZE} pixels, {options.images} JPEG files")  # fmt: skip
        if options.memory:
            peak = memory(folder, options.network)
            rows = [{"network": options.network, "peak_gib": peak}]
            verdicts.append((max(peak.values()) <= 6, f"{max(peak.values()):.2f} of 6 GiB"))
        else:
            rows = compare(folder, options)
            if len(rows) > 1:
                best = min(row["ours_over_this"][1] for row in rows[1:])
                verdicts.append((best >= 1, f"{best:.2f} times the faster timm"))
            if not options.small:
                rows.append(loading(folder, 2 * options.repeats))
                ratio = rows[-1]["load_over_read"]
                verdicts.append((ratio <= 2, f"loading takes {ratio:.2f} times reading"))
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for passed, line in verdicts:
        print("PASS" if passed else "FAIL", line)
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
