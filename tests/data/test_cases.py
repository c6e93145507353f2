"""Pairs of images of one case: which images meet, and which of them repel each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from remedis_jax.data import InMemorySource
from remedis_jax.data.cases import case_names
from remedis_jax.data.dataset import open_training
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.errors import UserError
from remedis_jax.objectives.nt_xent import nt_xent
from remedis_jax.training.config import stage_config
from remedis_jax.training.sharding import make_mesh

# Images per case, as a clinic has them; 30 images, 13 cases, shuffled in the manifest.
COUNTS = (1, 2, 3, 4, 5, 6, 1, 1, 2, 1, 1, 2, 1)


@pytest.fixture
def data(tmp_path):
    """The data section of a config whose manifest has cases of 1 to 6 images."""
    rows = [(f"{c}_{i}.png", f"case{c}") for c, n in enumerate(COUNTS) for i in range(n)]
    order = np.random.default_rng(0).permutation(len(rows))
    lines = ["image,lesion,patient"]
    for number in order:
        name, case = rows[number]
        pixels = np.full((4, 4, 3), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        lines.append(f"{name},{case},anyone")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    data = stage_config("micle").data
    data.manifest, data.case, data.size = str(tmp_path / "manifest.csv"), "lesion", 4
    return data


def open_pairs(data, **settings):
    dataset = open_training(data, None)
    cases = case_names(data, dataset.manifest)
    defaults = {"batch_size": 4, "seed": 0, "mode": "cases"}
    return TrainStream(dataset.source, cases=cases, **(defaults | settings)), np.array(cases)


def test_no_two_images_of_one_case_are_ever_negatives(data):
    """By the loss itself: an image is a negative of those that its embedding is pushed from.

    With one-hot embeddings, one dimension for each image, the loss falls along the dimensions of
    what attracts and rises along those of what repels.
    """
    stream, cases = open_pairs(data)
    mesh = make_mesh(1)
    gradient_of = jax.jit(
        jax.grad(lambda z1, z2: nt_xent(z1, z2, temperature=0.5, mesh=mesh)[0], argnums=(0, 1))
    )
    repelled = 0
    with stream:
        for _ in range(60):
            index = next(stream)["index"]
            embeddings = jax.nn.one_hot(jnp.asarray(index), len(cases))
            gradients = gradient_of(embeddings[:, 0], embeddings[:, 1])
            for pair, first, second in zip(index, *gradients, strict=True):
                assert cases[pair[0]] == cases[pair[1]]
                for gradient in (first, second):
                    negatives = set(np.flatnonzero(np.asarray(gradient) > 1e-6)) - set(pair)
                    repelled += len(negatives)
                    assert cases[pair[0]] not in {cases[k] for k in negatives}
    assert repelled > 60 * 8


def test_every_pair_of_a_case_comes_up_and_a_single_image_pairs_with_itself(data):
    stream, cases = open_pairs(data, batch_size=13)
    with stream:
        met = {tuple(sorted(pair)) for _ in range(150) for pair in next(stream)["index"].tolist()}
    expected = {
        tuple(sorted((i, j)))
        for i in range(len(cases))
        for j in range(len(cases))
        if cases[i] == cases[j] and (i != j or (cases == cases[i]).sum() == 1)
    }
    assert met == expected


def test_every_case_once_an_epoch(data):
    stream, cases = open_pairs(data, batch_size=3)
    assert stream.steps_per_epoch == len(COUNTS) // 3
    with stream:
        for _ in range(2):
            seen = [
                cases[i] for _ in range(stream.steps_per_epoch) for i in next(stream)["index"][:, 0]
            ]
            assert len(seen) == len(set(seen)) == 12


def test_pairs_hold_their_images_and_are_a_function_of_the_step(data):
    stream, cases = open_pairs(data)
    with stream:
        batches = [next(stream) for _ in range(9)]
    source = open_training(data, None).source
    for batch in batches:
        assert batch["image"].shape == (4, 2, 4, 4, 3) and batch["index"].shape == (4, 2)
        flat = source.gather(batch["index"].reshape(-1))
        np.testing.assert_array_equal(batch["image"].reshape(flat.shape), flat)
    resumed, _ = open_pairs(data, start_step=5)
    with resumed:
        np.testing.assert_array_equal(next(resumed)["index"], batches[5]["index"])
    shares = []
    for process in range(2):
        part, _ = open_pairs(data, process_index=process, process_count=2)
        with part:
            shares.append(next(part)["index"])
    np.testing.assert_array_equal(np.concatenate(shares), batches[0]["index"])


def test_other_cases_do_not_continue_a_run(data):
    source = InMemorySource(np.zeros((4, 2, 2, 1), np.uint8))
    settings = {"batch_size": 2, "seed": 0, "mode": "cases"}
    with TrainStream(source, cases=["a", "a", "b", "c"], **settings) as stream:
        state = stream.state()
    with pytest.raises(UserError, match="differ"):
        TrainStream.from_state(source, state=state, cases=["a", "b", "b", "c"], **settings)


def test_more_pairs_than_cases_and_unnamed_cases_are_refused(data):
    with pytest.raises(UserError, match="14 distinct cases cannot be drawn from 13"):
        open_pairs(data, batch_size=14)
    dataset = open_training(data, None)
    data.case = ""
    with pytest.raises(UserError, match=r"data\.case"):
        case_names(data, dataset.manifest)
