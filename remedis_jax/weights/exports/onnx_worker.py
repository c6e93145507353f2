"""Runs an exported graph in onnxruntime; started by `worker_process.run_worker`, never imported.

Imports the standard library, numpy and onnxruntime, nothing else. `job.json` has "model";
`arrays.npz` has "images", float32 [N, H, W, 3] in [0, 1].
"""

import json
import sys
from pathlib import Path

import numpy as np

_BATCH = 4


def main(job_folder: Path) -> dict:
    import onnxruntime

    job = json.loads((job_folder / "job.json").read_text())
    session = onnxruntime.InferenceSession(job["model"], providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with np.load(job_folder / "arrays.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    parts = [
        session.run(None, {"images": images[start : start + _BATCH]})
        for start in range(0, len(images), _BATCH)
    ]
    results = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
    np.savez(job_folder / "results.npz", **results)
    return {"versions": {"onnxruntime": onnxruntime.__version__}}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "report.json").write_text(json.dumps(main(place)))
