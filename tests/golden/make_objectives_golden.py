"""Records what lightly's losses compute, in float64, for tests/objectives/test_golden.py.

    python -m tests.golden.make_objectives_golden

needs PyTorch and lightly (`./launch/local.sh oracles` installs them). Arrays are named
LOSS/N_D/WHAT; `WHAT` is `value`, or the gradient by an input's name.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "objectives.npz"
# Odd and not square; the first size divides by 8 devices.
SHAPES = ((8, 5), (24, 33), (40, 7))
TEMPERATURES = (0.1, 0.5)
QUEUE_BATCHES = 3  # The queue holds three batches,
MOCO_STEPS = 5  # so that five steps wrap around.


def embeddings(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views, float32, related as those of a network that has begun to learn.

    Views that are nearly equal would leave gradients that are small differences of large numbers,
    of which float32 keeps five digits whoever computes them.
    """
    generator = np.random.default_rng([count, dim])
    z1 = generator.standard_normal((count, dim)).astype(np.float32) * 3
    return z1, z1 / 4 + generator.standard_normal((count, dim)).astype(np.float32)


def four_embeddings(count: int, dim: int) -> tuple[np.ndarray, ...]:
    """Predictions of two views and targets of two views, float32."""
    first, second = embeddings(count, dim)
    noise = np.random.default_rng([count, dim, 1]).standard_normal((2, count, dim))
    noise = noise.astype(np.float32)
    return first, second, first + noise[0], second + noise[1]


def queue(count: int, dim: int) -> np.ndarray:
    """A queue of unit-length keys, float32 [QUEUE_BATCHES * count, dim]."""
    keys = np.random.default_rng([count, dim, 2]).standard_normal((QUEUE_BATCHES * count, dim))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)


def moco_batches(count: int, dim: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Queries and keys of consecutive steps."""
    generator = np.random.default_rng([count, dim, 3])
    shape = (MOCO_STEPS, 2, count, dim)
    return [tuple(pair) for pair in generator.standard_normal(shape).astype(np.float32)]


def record() -> dict[str, np.ndarray]:
    import torch

    from tests.golden import lightly_losses as lightly

    out = {"versions": np.array([f"torch {version('torch')}", f"lightly {version('lightly')}"])}

    def differentiate(name, loss, *arrays):
        inputs = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]
        value = loss(*inputs)
        value.backward()
        out[f"{name}/value"] = value.detach().numpy()
        for index, tensor in enumerate(inputs):
            if tensor.grad is not None:
                out[f"{name}/gradient{index}"] = tensor.grad.numpy()

    def byol(p1, p2, t1, t2):
        negative_cosine = lightly.NegativeCosineSimilarity()
        # -cos is lightly's; BYOL's is 2 - 2 cos, and targets get no gradient.
        return 4 + 2 * negative_cosine(p1, t2.detach()) + 2 * negative_cosine(p2, t1.detach())

    for shape in SHAPES:
        size = "_".join(map(str, shape))
        pair = embeddings(*shape)
        for temperature in TEMPERATURES:
            ntxent = lightly.NTXentLoss(temperature)
            differentiate(f"nt_xent_{temperature}/{size}", ntxent, *pair)
        differentiate(f"barlow_twins/{size}", lightly.BarlowTwinsLoss(0.0051), *pair)
        differentiate(f"vicreg/{size}", lightly.VICRegLoss(), *pair)
        differentiate(f"byol/{size}", byol, *four_embeddings(*shape))

        memory = lightly.NTXentLoss(0.2, memory_bank_size=(QUEUE_BATCHES * shape[0], shape[1]))
        memory.memory_bank.bank = torch.tensor(queue(*shape), dtype=torch.float64)
        for step, (queries, keys) in enumerate(moco_batches(*shape)):
            keys = torch.tensor(keys, dtype=torch.float64)
            differentiate(f"moco/{size}/{step}", lambda q, m=memory, k=keys: m(q, k), queries)
        out[f"moco/{size}/queue"] = memory.memory_bank.bank.numpy()
        out[f"moco/{size}/pointer"] = memory.memory_bank.bank_ptr.numpy()
    return out


if __name__ == "__main__":
    np.savez_compressed(PATH, **record())
    print(f"wrote {PATH}, {PATH.stat().st_size:,} bytes")
