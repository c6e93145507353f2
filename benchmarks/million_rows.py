"""A manifest of a million rows: how long until the first batch, and whether memory stays flat.

    python benchmarks/million_rows.py             about two minutes
    python benchmarks/million_rows.py --small     seconds: 20,000 rows

The manifest is a real CSV file on disk. The images are not: a store makes the pixels of each from
its name, so that a million files need not be written and what is measured is what this project does
with rows: reading and checking the manifest, labels, the order of an epoch, batches, one epoch of
them. What the disk and the codecs take comes on top and is in `input_pipeline.py`.

Run in processes of their own: images one by one ('distinct', as for contrastive training), and
pairs of a patient's images ('cases', as for MICLe).
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
# Targets.
START_SECONDS = 10.0
FLAT_MIB = 8.0


def write_manifest(path: Path, rows: int) -> None:
    """Five columns as a hospital would have them; three images to a patient."""
    with path.open("w", encoding="utf-8") as file:
        file.write("image,patient,finding,site,age\n")
        for i in range(rows):
            finding = ("normal", "pneumonia", "effusion")[i % 7 % 3]
            cells = f"{i // 3:08d},{finding},site {i % 11},{i % 90}"
            file.write(f"images/{i // 1000:05d}/{i:09d}.jpg,{cells}\n")


def resident() -> float:
    """MiB of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(path: Path, mode: str, batch_size: int, size: int) -> None:
    """One start and one epoch; a JSON line on standard output."""
    sys.path.insert(0, str(ROOT))
    import dataclasses

    import numpy as np

    from remedis_jax.data import Columns, read_manifest
    from remedis_jax.data.labels import encode_labels, infer_label_spec
    from remedis_jax.data.pipeline import TrainStream
    from remedis_jax.data.reading import Reading
    from remedis_jax.data.sources import ManifestSource

    class Simulated:
        """Makes the pixels of an image from the number in its name."""

        def read(self, name: str) -> np.ndarray:
            return np.full((size, size, 3), int(name[-13:-4]) % 251, np.uint8)

        head = None

        def size(self, name: str) -> int:
            return size * size * 3

        def stamp(self, name: str) -> str:
            return "simulated"

    parts = {}
    begun = start = time.perf_counter()

    def part(name: str) -> None:
        nonlocal start
        parts[name] = time.perf_counter() - start
        start = time.perf_counter()

    columns = Columns(group="patient", labels=("finding",), site="site")
    manifest = read_manifest(path, columns, check_files=False)
    manifest = dataclasses.replace(manifest, store=Simulated())
    part("manifest")
    labels = encode_labels(manifest, infer_label_spec(manifest, kind="softmax"))
    part("labels")
    source = ManifestSource(manifest, size, Reading())
    part("source")
    stream = TrainStream(
        source, labels=labels, batch_size=batch_size, seed=0, mode=mode,
        cases=manifest.groups if mode == "cases" else None,
    )  # fmt: skip
    part("stream")
    next(stream)
    part("first batch")
    seconds = time.perf_counter() - begun

    steps = stream.steps_per_epoch
    memory = {}
    start = time.perf_counter()
    for step in range(2, steps + 1):
        batch = next(stream)
        for percent in (10, 25, 50, 75, 100):
            if step == max(2, steps * percent // 100):
                memory[percent] = resident()
    rate = batch["image"].size / (size * size * 3) * (steps - 1) / (time.perf_counter() - start)
    stream.close()
    print(json.dumps({
        "mode": mode, "rows": len(manifest), "start_seconds": seconds, "parts": parts,
        "resident_mib": memory, "images_per_second": rate,
    }))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--size", type=int, default=8, help="side of the simulated images")
    parser.add_argument("--small", action="store_true", help="seconds: 20,000 rows")
    parser.add_argument("--json", type=Path, help="also write one JSON line per mode")
    parser.add_argument("--modes", nargs="+", default=["distinct", "cases"])
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mode:
        measure(options.manifest, options.mode, options.batch_size, options.size)
        return 0
    if options.small:
        options.rows, options.batch_size = 20_000, 256
    print(f"{options.rows:,} rows, {os.cpu_count()} cores, {platform.machine()}")
    found, verdicts = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        write_manifest(path, options.rows)
        for mode in options.modes:
            command = [sys.executable, __file__, "--mode", mode, "--manifest", str(path)]
            command += ["--batch-size", str(options.batch_size), "--size", str(options.size)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            row = json.loads(done.stdout)
            found.append(row)
            parts = ", ".join(f"{name} {value:.2f}" for name, value in row["parts"].items())
            print(f"{mode:<9} first batch after {row['start_seconds']:.2f} s ({parts})")
            memory = row["resident_mib"]
            shown = ", ".join(f"{value:.1f} at {percent}%" for percent, value in memory.items())
            print(f"{mode:<9} memory in MiB: {shown};  {row['images_per_second']:,.0f} images/s")
            grown = max(memory.values()) - memory["10"]
            verdicts.append(
                (row["start_seconds"] < START_SECONDS, f"{mode}: starts in {START_SECONDS:.0f} s")
            )
            verdicts.append(
                (grown <= FLAT_MIB, f"{mode}: memory grows by {grown:.1f} MiB over the epoch")
            )
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in found))
    if options.small:
        return 0
    for passed, line in verdicts:
        print("PASS" if passed else "FAIL", line)
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
