"""What weights have seen travels in their file: covered by the hash, checked, never a parameter."""

import json
import re

import jax
import jax.export
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from remedis_jax.data.inspection import ImageFacts
from remedis_jax.data.seen_stages import Seen, SeenStage, remember
from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import (
    METADATA_KEY,
    artifact_hash,
    flatten,
    forget,
    load_artifact,
    read_card,
    replace_parts,
    save_artifact,
    tensor_digest,
)
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports import export as export_module
from remedis_jax.weights.exports import stablehlo_export, stablehlo_worker
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.readme import readme
from remedis_jax.weights.probe import probe_images
from remedis_jax.weights.registry.verify import verify_file
from tests.weights.conftest import SMALL, make_card, random_params


def stage_of(name: str, count: int, seed: int) -> SeenStage:
    bytes_of = np.random.default_rng(seed).bytes
    facts = [
        ImageFacts(f"{i}.png", i + 2, bytes_of(32).hex(), fingerprint=bytes_of(32))
        for i in range(count)
    ]
    return remember(name, False, facts, [f"P{i}" for i in range(count)], salt="ab" * 32)


SEEN = Seen((SeenStage.forgotten("import:bit"), stage_of("simclr", 7, 0), stage_of("x", 3, 1)))


@pytest.fixture(scope="module")
def with_seen(tmp_path_factory):
    """Path of an artefact that says what it has seen, in three stages."""
    path = tmp_path_factory.mktemp("seen") / "seen.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3), SEEN)
    return path


def same(first: Seen, second: Seen) -> bool:
    arrays = (first.arrays(), second.arrays())
    return (
        first.records() == second.records()
        and arrays[0].keys() == arrays[1].keys()
        and all(np.array_equal(values, arrays[1][name]) for name, values in arrays[0].items())
    )


def rewritten(source, target, change):
    """A copy with its card and tensors changed by somebody who makes all hashes fit again."""
    with safe_open(source, framework="numpy") as file:
        content = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(content["card"], tensors)
    content["tensors"] = {name: tensor_digest(values) for name, values in tensors.items()}
    content["sha256"] = artifact_hash(content["card"], content["tensors"])
    save_file(tensors, target, metadata={METADATA_KEY: json.dumps(content)})
    return target


def test_round_trip_is_exact_and_reproducible(with_seen, tmp_path):
    digest = save_artifact(
        tmp_path / "a.safetensors", random_params(SMALL, 3), make_card(SMALL, 3), SEEN
    )
    assert (tmp_path / "a.safetensors").read_bytes() == with_seen.read_bytes()
    loaded = load_artifact(with_seen)
    assert loaded.sha256 == digest and same(loaded.seen, SEEN)
    assert loaded.card == make_card(SMALL, 3) | {"seen": SEEN.records()}
    assert sorted(loaded.params) == ["encoder", "head"]
    assert read_card(with_seen) == (loaded.card, digest)
    # Handed on with other weights, as calibration does.
    save_artifact(tmp_path / "b.safetensors", loaded.params, loaded.card, loaded.seen)
    assert (tmp_path / "b.safetensors").read_bytes() == with_seen.read_bytes()
    assert verify_file(with_seen).is_good


def test_weights_from_before_do_not_say(small_artifact):
    assert load_artifact(small_artifact).seen is None
    assert "seen" not in load_artifact(small_artifact).card


def test_empty_and_unknown_are_not_the_same_as_not_saying(tmp_path):
    for name, seen in (("a", Seen()), ("b", Seen((SeenStage.forgotten("simclr"),)))):
        path = tmp_path / f"{name}.safetensors"
        save_artifact(path, random_params(SMALL), make_card(SMALL), seen)
        assert same(load_artifact(path).seen, seen)


def test_hashes_are_left_out_on_purpose_only(with_seen, tmp_path):
    artifact = load_artifact(with_seen)
    with pytest.raises(ValueError, match="what the weights have seen"):
        save_artifact(tmp_path / "a.safetensors", artifact.params, artifact.card)
    bare = forget(artifact)
    save_artifact(tmp_path / "a.safetensors", bare.params, bare.card, bare.seen)
    again = load_artifact(tmp_path / "a.safetensors")
    assert again.seen is None and again.sha256 != artifact.sha256
    assert not [name for name in load_file(tmp_path / "a.safetensors") if "seen" in name]


def test_a_flipped_bit_of_a_hash_is_found(with_seen, tmp_path):
    with safe_open(with_seen, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    tensors["seen/1/groups"] = tensors["seen/1/groups"] ^ np.uint8(1)
    path = tmp_path / "flipped.safetensors"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(UserError, match="seen/1/groups has another SHA-256"):
        load_artifact(path)
    assert not verify_file(path).is_good
    # Nor can it be kept out of sight: it is no parameter that may be left out.
    with pytest.raises(UserError, match="seen/1/groups has another SHA-256"):
        load_artifact(path, dont_load=("seen/", ".*groups"))


def test_parameters_are_what_they_were(with_seen, small_artifact):
    """Neither leaving out parameters nor taking parts over has to do with what was seen."""
    old, new = load_artifact(small_artifact), load_artifact(with_seen)
    assert flatten(old.params).keys() == flatten(new.params).keys()
    assert same(load_artifact(with_seen, dont_load=("head/",)).seen, SEEN)
    taken = replace_parts(random_params(SMALL, 3, seed=1), new, ("encoder", "head"))
    for name, values in flatten(taken).items():
        np.testing.assert_array_equal(values, flatten(old.params)[name])
    named = random_params(SMALL) | {"seen": {"0": np.zeros((2, 8), np.float32)}}
    with pytest.raises(UserError, match="a parameter is named seen/0"):
        save_artifact(with_seen.with_name("c.safetensors"), named, make_card(SMALL))


def set_tensor(name, values):
    return lambda card, tensors: tensors.update({name: values})


def set_record(key, value):
    return lambda card, tensors: card["seen"][1].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_tensor("seen/1/groups", np.zeros((7, 15), np.uint8)), r"uint8 \[7, 15\] and not"),
        (set_tensor("seen/1/groups", np.zeros((6, 16), np.uint8)), r"uint8 \[6, 16\] and not"),
        (set_tensor("seen/1/groups", np.zeros(112, np.uint8)), r"uint8 \[112\] and not"),
        (set_tensor("seen/1/sha256", np.zeros((7, 8), np.float32)), "has dtype F32 and not U8"),
        (set_tensor("seen/1/sha256", np.zeros((7, 8), bool)), "has dtype BOOL and not U8"),
        (set_tensor("seen/1/names", np.zeros((7, 8), np.uint8)), "1/names belongs to no stage"),
        (set_tensor("seen/3/groups", np.zeros((7, 16), np.uint8)), "3/groups belongs to no stage"),
        (set_tensor("seen/0/groups", np.zeros((7, 16), np.uint8)), r"and not uint8 \[0, 16\]"),
        (set_tensor("encoder/x", np.zeros(7, np.uint8)), "has dtype U8 and not F32"),
        (lambda card, tensors: tensors.pop("seen/1/groups"), r"uint8 \[0, 16\] and not"),
        (lambda card, tensors: card.pop("seen"), "no list of stages"),
        (lambda card, tensors: card["seen"].pop(), "2/fingerprints belongs to no stage"),
        (lambda card, tensors: card.update(seen={"0": {}}), "no list of stages"),
        (lambda card, tensors: card.update(seen=[[]] * 3), "incomplete"),
        (set_record("images", -1), "not the form"),
        (set_record("images", True), "not the form"),
        (set_record("patients", "7"), "not the form"),
        (set_record("stage", "x" * 5000), "not the form"),
        (set_record("leakage", None), "not the form"),
        (set_record("leakage", "\x1b]0;all is well\x07"), "not the form"),
        (set_record("rows", {"groups": 7}), "not the form"),
        (set_record("rows", {"groups": 2**70, "sha256": 7, "fingerprints": 7}), "and not uint8"),
        (set_record("fingerprint", "phash64"), "this version makes"),
    ],
)
def test_forged_files_are_refused(with_seen, tmp_path, change, message):
    path = rewritten(with_seen, tmp_path / "forged.safetensors", change)
    with pytest.raises(UserError, match=message) as caught:
        load_artifact(path)
    assert "forged.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_exports_keep_it_or_say_that_they_do_not(with_seen, tmp_path, monkeypatch):
    artifact = load_artifact(with_seen)
    # The slow step, which other tests run.
    monkeypatch.setattr(export_module, "expected_outputs", lambda *_: {"features": np.ones((8, 2))})
    export_module.export(artifact, "safetensors", tmp_path / "own.safetensors")
    again = load_artifact(tmp_path / "own.safetensors")
    assert again.sha256 == artifact.sha256 and same(again.seen, SEEN)

    # StableHLO: the file keeps it, and neither the check nor the README takes it for parameters.
    def outputs(weights, images):
        return {"features": images.mean((1, 2)) + weights["encoder/group_norm/gamma"][None, :3]}

    def program(artifact, size):
        shapes = {
            name: jax.ShapeDtypeStruct(values.shape, values.dtype)
            for name, values in flatten(artifact.params).items()
        }
        images = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 8, 8, 3"), np.float32)
        return jax.export.export(jax.jit(outputs))(shapes, images).serialize()

    def in_this_process(script, job, arrays, **_):
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "arrays.npz", **arrays)
        report = stablehlo_worker.main(folder)
        with np.load(folder / "results.npz") as results:
            return report, dict(results)

    monkeypatch.setattr(stablehlo_export, "program", program)
    monkeypatch.setattr(stablehlo_export, "run_worker", in_this_process)
    images = probe_images(8)
    expected = jax.device_get(outputs(flatten(artifact.params), images))
    stablehlo_export.export_stablehlo(
        artifact, tmp_path / "hlo", images=images, expected=expected, tolerance=1e-5
    )
    assert load_artifact(tmp_path / "hlo").sha256 == artifact.sha256
    text = (tmp_path / "hlo" / "README.md").read_text()
    assert "not in these files" not in text
    monkeypatch.chdir(tmp_path / "hlo")
    names = {"images": images}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    compare_outputs("README", jax.device_get(names["outputs"]), expected, 1e-5)


def test_readmes_of_other_formats_say_that_it_stays_behind(with_seen, small_artifact):
    for path, said in ((with_seen, True), (small_artifact, False)):
        artifact = load_artifact(path)
        contract = Contract.from_json(artifact.card["preprocessing"])
        text = readme(artifact, contract, "", scales=True)
        assert ("not in these files" in text) is said
