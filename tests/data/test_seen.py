"""The leak guard: what weights have seen as hashes, and whether test data are found among it."""

import dataclasses
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from remedis_jax.data.fingerprints import near_pairs
from remedis_jax.data.inspection import ImageFacts, inspect_images
from remedis_jax.data.leaks import LeakFindings, read_guard, write_guard
from remedis_jax.data.manifest import Columns, read_manifest
from remedis_jax.data.reading import Reading
from remedis_jax.data.seen import Seen, after, compare, compare_facts, remember
from remedis_jax.data.seen_stages import SeenStage, group_hashes, read_stage, write_stage
from remedis_jax.errors import RunFailed, UserError

SALT = "c" * 64


def facts_of(count: int, seed: int, prefix: str = "") -> list[ImageFacts]:
    """Images of random bytes and pictures, which nothing else resembles."""
    bytes_of = np.random.default_rng(seed).bytes
    return [
        ImageFacts(f"{prefix}{i}.png", i + 2, bytes_of(32).hex(), fingerprint=bytes_of(32))
        for i in range(count)
    ]


def ids(count: int, first: int = 0) -> list[str]:
    return [f"P{i:04d}" for i in range(first, first + count)]


def like(found: ImageFacts, other: ImageFacts, bits: int) -> ImageFacts:
    """`found` with the picture of `other` but for so many bits; its file stays its own."""
    changed = np.unpackbits(np.frombuffer(other.fingerprint, np.uint8))
    changed[:bits] ^= 1
    return dataclasses.replace(found, fingerprint=np.packbits(changed).tobytes())


def same_file(found: ImageFacts, other: ImageFacts) -> ImageFacts:
    return dataclasses.replace(found, sha256=other.sha256, fingerprint=other.fingerprint)


def counts(findings: LeakFindings) -> dict[str, int]:
    return {leak.kind: leak.count for leak in findings.leaks}


POOL = facts_of(60, 0, "pool/")
TEST = facts_of(30, 1, "test/")


def pool_stage(**options) -> SeenStage:
    given = {"salt": SALT, "namespace": ""} | options
    return remember("simclr", False, POOL, ids(60), **given)


# --- The block of a stage -----------------------------------------------------------------------
def test_a_block_says_nothing_of_rows_and_names():
    stage = pool_stage()
    order = np.random.default_rng(2).permutation(60)
    shuffled = remember(
        "simclr", False, [dataclasses.replace(POOL[i], image=f"x{i}", row=1) for i in order],
        [ids(60)[i] for i in order], salt=SALT,
    )  # fmt: skip
    for name, width in (("sha256", 8), ("fingerprints", 32), ("groups", 16)):
        rows = getattr(stage, name)
        assert rows.dtype == np.uint8 and rows.shape == (60, width)
        assert [bytes(row) for row in rows] == sorted({bytes(row) for row in rows})
        np.testing.assert_array_equal(rows, getattr(shuffled, name))
    assert (stage.images, stage.patients) == (60, 60)


def test_what_is_repeated_is_kept_once_and_what_shows_nothing_not_at_all():
    flat = dataclasses.replace(POOL[0], constant=True, fingerprint=b"")
    bad = dataclasses.replace(POOL[1], problem="cut off", sha256="", fingerprint=b"")
    stage = remember("x", True, [POOL[2], POOL[3], POOL[2], flat, bad], ["a", "b", "a"], salt="")
    assert (stage.images, stage.patients) == (4, 2)
    assert (len(stage.sha256), len(stage.fingerprints), len(stage.groups)) == (2, 2, 2)
    assert stage.sha256.tobytes() == b"".join(
        sorted(bytes.fromhex(POOL[i].sha256)[:8] for i in (2, 3))
    )
    unnamed = remember("x", True, POOL, None, salt=SALT)
    assert unnamed.patients is None and len(unnamed.groups) == 0


def test_hashes_of_ids_depend_on_salt_and_namespace_and_cannot_be_confused():
    (own,) = group_hashes(["7"], "", SALT)
    others = [("7", "", "d" * 64), ("7", "A", SALT), ("07", "", SALT), ("7 ", "", SALT)]
    assert len({own, *(group_hashes([g], n, s)[0] for g, n, s in others)}) == 5
    # The same letters, divided otherwise.
    assert group_hashes(["bc"], "a", SALT) != group_hashes(["c"], "ab", SALT)
    assert group_hashes(["x"], "b", "a") != group_hashes(["x"], "", "ab")


def test_a_block_goes_through_a_file(tmp_path):
    stage = pool_stage(leakage="2 image(s) of a\nb.csv")
    assert stage.leakage == "2 image(s) of a?b.csv"
    for name in ("a.npz", "b.npz"):
        write_stage(tmp_path / name, stage)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = read_stage(tmp_path / "a.npz")
    assert Seen((again,)).records() == Seen((stage,)).records()
    np.testing.assert_array_equal(again.fingerprints, stage.fingerprints)
    write_stage(tmp_path / "none.npz", SeenStage.forgotten("simclr"))
    assert not read_stage(tmp_path / "none.npz").known
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz", "none.npz"]
    np.savez(tmp_path / "other.npz", sha256=stage.sha256)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:900])
    for name in ("other.npz", "cut.npz", "absent.npz"):
        with pytest.raises(UserError, match=name):
            read_stage(tmp_path / name)


def test_ancestors_are_kept_and_what_is_not_known_is_said():
    natural = remember("supervised", True, facts_of(5, 9), None, salt="a")
    seen = after(Seen((natural,)), "supervised").then(pool_stage())
    assert [stage.name for stage in seen.stages] == ["supervised", "simclr"]
    again = Seen.from_parts(json.loads(json.dumps(seen.records())), seen.arrays())
    assert again.records() == seen.records()
    assert after(None, None).stages == ()
    (unknown,) = after(None, "import:bit").stages
    assert (unknown.name, unknown.known) == ("import:bit", False)
    assert Seen((unknown,)).arrays() == {}
    again = Seen.from_parts(Seen((unknown,)).records(), {})
    assert not again.stages[0].known


# --- Comparison with weights --------------------------------------------------------------------
def test_nothing_shared_is_said_with_numbers():
    seen = Seen().then(remember("supervised", True, facts_of(5, 9), None, salt="a"))
    seen = seen.then(pool_stage())
    findings = compare(seen, TEST, ids(10, 100))
    findings.raise_if_any()
    assert findings.leaks == () and findings.stamp() == findings.summary() == ""
    sentence = findings.sentence()
    assert sentence.startswith(
        "Checked: the evaluation set (30 images and 10 patients) against 65 images and 60 patients"
        " seen in 2 stages of training; nothing shared"
    )
    assert "'simclr' (training stage 2), images only, 60 images and 60 patients" in sentence
    assert "24 or fewer of 256 bits" in sentence
    # The stage without patients is not passed over in silence.
    assert "Where no column names the patients, they were not compared." in sentence


def test_each_kind_is_found_in_the_stage_that_has_it():
    seen = Seen().then(remember("supervised", True, facts_of(5, 9), ["Q"], salt="a"))
    seen = seen.then(pool_stage())
    test = [same_file(TEST[0], POOL[7]), like(TEST[1], POOL[8], 24), like(TEST[2], POOL[9], 25)]
    findings = compare(seen, test + TEST[3:], ["P0059", "P0060", "P0003"])
    assert counts(findings) == {"group": 2, "file": 1, "picture": 1}
    assert {leak.stage for leak in findings.leaks} == {"'simclr' (training stage 2)"}
    groups, file, picture = findings.leaks
    assert groups.examples == ("P0003", "P0059")
    assert file.examples == ("row 2 (test/0.png)",)
    assert picture.examples == ("row 3 (test/1.png), 24 bits apart",)
    assert counts(compare(seen, test, None, most=25)) == {"file": 1, "picture": 2}
    assert counts(compare(seen, test, None, most=-1)) == {"file": 1}
    assert "LEAKAGE ALLOWED: 2 group(s) of the evaluation set are also in" in findings.stamp()


def test_an_equal_id_of_another_hospital_is_another_patient():
    seen = Seen((pool_stage(namespace="A"),))
    assert counts(compare(seen, TEST, ids(3), namespace="A")) == {"group": 3}
    assert counts(compare(seen, TEST, ids(3), namespace="B")) == {}
    assert counts(compare(seen, TEST, ids(3))) == {}


def test_images_of_one_grey_or_unusable_are_passed_over_and_counted():
    flat = dataclasses.replace(POOL[3], row=9, constant=True, fingerprint=b"")
    bad = dataclasses.replace(POOL[4], row=10, problem="cut off")
    findings = compare(Seen((pool_stage(),)), [*TEST, flat, bad], None)
    assert findings.leaks == ()
    assert findings.comparisons[0].images == 31
    assert "1 image(s) of one grey were not compared." in findings.sentence()


def test_weights_that_do_not_say_are_told_apart_from_random_ones():
    assert "the weights do not say what they have seen" in compare(None, TEST, None).sentence()
    unknown = compare(after(None, "import:bit"), TEST, None).sentence()
    assert "Not checked" in unknown and "'import:bit'" in unknown
    assert compare(Seen(), TEST, None).comparisons == ()
    part = compare(after(None, "import:bit").then(pool_stage()), TEST, ids(1, 99)).sentence()
    assert "nothing shared" in part and "Not checked: what was seen in 'import:bit'" in part


def test_leakage_of_an_earlier_stage_is_still_told():
    findings = compare(Seen((pool_stage(leakage="3 group(s) of split 'test'"),)), TEST, None)
    assert findings.leaks == ()
    findings.raise_if_any()
    words = "LEAKAGE ALLOWED in training: 'simclr' (training stage 1) (3 group(s) of split 'test')"
    assert findings.stamp().startswith(words)


# --- Comparison with rows -----------------------------------------------------------------------
def test_rows_are_named_on_both_sides():
    test = [same_file(TEST[0], POOL[7]), like(TEST[1], POOL[8], 3), like(TEST[2], POOL[9], 0)]
    findings = compare_facts(POOL, ids(60), test, ids(9, 52), name="split 'test'")
    assert counts(findings) == {"group": 8, "file": 1, "picture": 2}
    with pytest.raises(UserError) as caught:
        findings.raise_if_any()
    problem, remedy = caught.value.problem, caught.value.remedy
    assert "8 group(s) of split 'test' are also in the training rows: P0052, P0053" in problem
    assert "P0056, and 3 more" in problem and "P0057" not in problem
    assert "row 2 (test/0.png) = row 9 (pool/7.png)" in problem
    assert "row 3 (test/1.png) = row 10 (pool/8.png), 3 bits apart" in problem
    assert all(word in remedy for word in ("--allow-leakage", "--namespace", "near_duplicates"))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    named = compare_facts(
        POOL, ids(60), TEST, ids(9, 52), name="x", namespace="A", other_namespace="B"
    )
    assert named.leaks == ()


def test_redaction_leaves_no_id_and_no_name(tmp_path):
    test = [same_file(TEST[0], POOL[7]), like(TEST[1], POOL[8], 3)]
    findings = compare_facts(POOL, ids(60), test, ids(3), name="the test rows")
    with pytest.raises(UserError) as caught:
        findings.raise_if_any(redact=True)
    write_guard(tmp_path, findings, redact=True)
    for text in (str(caught.value), (tmp_path / "leak_guard.json").read_text()):
        assert "P000" not in text and ".png" not in text
        assert "sha256:" in text and "row 2 = row 9" in text
    # What travels with weights holds neither, redacted or not.
    assert "P000" not in findings.summary() and ".png" not in findings.summary()
    assert "2 image(s)" not in findings.summary() and "1 image(s)" in findings.summary()


def test_what_travels_names_no_folder_and_stays_short():
    findings = LeakFindings()
    for number in range(9):
        name = f"/home/somebody/held_out_{number}.csv"
        findings += compare_facts(POOL, ids(60), TEST, ids(2), name=name)
    assert "/home" not in findings.summary() + findings.stamp() + findings.sentence()
    assert "held_out_4.csv" in findings.summary() and "and 4 more" in findings.summary()
    with pytest.raises(UserError, match="of /home/somebody/held_out_0.csv are also"):
        findings.raise_if_any()


def test_real_copies_are_found_and_other_images_are_not(tmp_path):
    """Renamed, re-encoded and resized copies of an unlabelled pool in a test set."""
    generator = np.random.default_rng(5)
    pool = [cv2.GaussianBlur(generator.integers(0, 256, (96, 96), np.uint8), (0, 0), s)
            for s in (2, 3, 4, 5)]  # fmt: skip
    pool = [cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX) for image in pool]

    def encoded(pixels, kind="PNG", **options):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    def facts(folder, files, group):
        (tmp_path / folder).mkdir()
        for name, data in files.items():
            (tmp_path / folder / name).write_bytes(data)
        rows = "".join(f"{name},{group}{i}\n" for i, name in enumerate(files))
        (tmp_path / folder / "m.csv").write_text("image,patient\n" + rows)
        manifest = read_manifest(tmp_path / folder / "m.csv", Columns(group="patient"))
        return inspect_images(manifest, Reading(channels=1), receipts=None), manifest.groups

    own = facts("pool", {f"{i}.png": encoded(image) for i, image in enumerate(pool)}, "a")
    other = cv2.GaussianBlur(generator.integers(0, 256, (96, 96), np.uint8), (0, 0), 3)
    test = {
        "renamed.png": encoded(pool[0]),
        "again.jpg": encoded(pool[1], "JPEG", quality=75),
        "small.png": encoded(cv2.resize(pool[2], (48, 48), interpolation=cv2.INTER_AREA)),
        "other.png": encoded(cv2.normalize(other, None, 0, 255, cv2.NORM_MINMAX)),
    }
    judging = facts("test", test, "b")
    findings = compare_facts(*own, *judging, name="the test rows")
    assert counts(findings) == {"file": 1, "picture": 2}
    # And the same from the hashes alone.
    stage = remember("simclr", False, *own, salt=SALT)
    assert counts(compare(Seen((stage,)), *judging)) == {"file": 1, "picture": 2}


def test_near_pictures_across_blocks_are_all_found(monkeypatch):
    """Blocks smaller than the data: the same as one comparison of everything with everything."""
    monkeypatch.setattr("remedis_jax.data.seen._PAIRS", 64)
    test = [like(found, POOL[(7 * i) % 60], i % 30) for i, found in enumerate(TEST)]
    findings = compare_facts(POOL, None, test, None, name="x", most=12)
    a, b = (np.array([list(f.fingerprint) for f in side], np.uint8) for side in (POOL, test))
    pairs, _ = near_pairs(a, b, 12)
    assert len(pairs) == 13 and counts(findings) == {"picture": 13}


# --- Findings -----------------------------------------------------------------------------------
def test_findings_add_up_and_go_through_json(tmp_path):
    leaky = compare_facts(POOL, ids(60), [same_file(TEST[0], POOL[7])], ids(1), name="one")
    both = leaky + compare(Seen((pool_stage(),)), TEST, None, name="two") + LeakFindings()
    assert "Checked: one (1 image and 1 patient)" in both.sentence()
    assert "Checked: two" in both.sentence()
    write_guard(tmp_path, both, weights="ab" * 32)
    guard = read_guard(tmp_path)
    assert guard.weights == "ab" * 32
    assert guard.findings.sentence() == both.sentence()
    assert guard.findings.leaks[0].examples == both.leaks[0].examples
    content = json.loads((tmp_path / "leak_guard.json").read_text())
    assert content["leakage_allowed"] is True and content["sentence"] == both.sentence()
    assert [path.name for path in tmp_path.iterdir()] == ["leak_guard.json"]
    assert read_guard(tmp_path / "elsewhere") is None
    with pytest.raises(RunFailed, match="leak_guard.json could not be written"):
        write_guard(tmp_path / "elsewhere", both)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(form="2"),
        lambda content: content.update(leaks=[{"kind": "group"}]),
        lambda content: content["leaks"][0].update(kind="other"),
        lambda content: content["leaks"][0].update(count="many"),
        lambda content: content["leaks"][0].update(examples=["x"] * 9),
        lambda content: content["comparisons"][0].update(images=None),
        lambda content: content["comparisons"][0].update(against=3),
        lambda content: content["comparisons"][0]["against"][0].update(leakage=[]),
        lambda content: content.update(weights=3),
        lambda content: content.clear(),
    ],
)
def test_a_guard_that_is_not_one_is_refused(tmp_path, change):
    write_guard(tmp_path, compare_facts(POOL, ids(60), TEST, ids(1), name="x"))
    content = json.loads((tmp_path / "leak_guard.json").read_text())
    change(content)
    (tmp_path / "leak_guard.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="leak_guard.json is not what the leak guard writes"):
        read_guard(tmp_path)
