"""`remedis split`: patients whole, sites held out, labels spread, the same bytes again."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}


@pytest.fixture
def cohort(tmp_path):
    """90 patients with one to three images: 60 of site A, 30 of site B; ids with leading zeros."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    rows = []
    for patient in range(90):
        for _ in range(rng.integers(1, 4)):
            name = f"images/{len(rows):03d}.png"
            Image.new("L", (8, 8), len(rows)).save(tmp_path / name)
            # Files of many sizes, as real ones are: of equal sizes each has to be read.
            (tmp_path / name).open("ab").write(b"\0" * len(rows))
            rows.append(
                {
                    "image": name,
                    "patient_id": f"{patient:03d}",
                    "label": "ill" if patient % 3 == 0 else "well",
                    "site": "A" if patient % 30 < 20 else "B",
                    "note": 'x,"y"',
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path, table


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def parts_of(table):
    return {name: set(groups) for name, groups in table.groupby("split")["patient_id"]}


def split(folder, *options):
    return ("split", folder / "labels.csv", "--by", "patient_id", *options)


def test_the_tool_splits(remedis, cohort):
    folder, table = cohort
    options = ("--stratify", "label", "--site", "site", "--test-site", "B")
    outcome = remedis(*split(folder, *options))
    assert outcome.code == 0, outcome.err
    made = read(folder / "labels.split.csv")
    pd.testing.assert_frame_equal(made.drop(columns="split"), table)
    parts = parts_of(made)
    names = ["ood_test", "test", "train", "val"]
    assert sorted(parts) == names
    assert sum(map(len, parts.values())) == 90, "a patient is in two parts"
    assert set(made[made["site"] == "B"]["split"]) == {"ood_test"}
    assert set(made[made["split"] == "ood_test"]["site"]) == {"B"}
    # 21 ill and 39 well patients of site A, 9 and 21 of site B.
    ill = {n: len(set(g[g["label"] == "ill"]["patient_id"])) for n, g in made.groupby("split")}
    assert ill == {"train": 15, "val": 2, "test": 4, "ood_test": 9}
    assert {n: len(g) for n, g in parts.items()} == {
        "train": 42, "val": 6, "test": 12, "ood_test": 30,
    }  # fmt: skip
    assert "15 (35.7%)" in outcome.out and "ood_test" in outcome.out
    record = json.loads((folder / "labels.split.csv.json").read_text())
    assert record["seed"] == 0 and record["fractions"] == PARTS and record["test_sites"] == ["B"]
    assert record["parts"]["val"]["labels"]["ill"]["groups"] == 2
    assert record["parts"]["ood_test"]["sites"] == {"B": int((table["site"] == "B").sum())}
    assert list(record["parts"]) == ["train", "val", "test", "ood_test"]
    assert not any(patient in json.dumps(record["parts"]) for patient in ("'001'", '"001"'))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(remedis, cohort):
    folder, table = cohort
    options = ("--stratify", "label", "--out", folder / "one.csv")
    assert remedis(*split(folder, *options)).code == 0
    first = [(folder / name).read_bytes() for name in ("one.csv", "one.csv.json")]
    assert remedis(*split(folder, *options)).code == 0
    assert first == [(folder / name).read_bytes() for name in ("one.csv", "one.csv.json")]
    # The order of the rows changes nothing either.
    table.iloc[::-1].to_csv(folder / "labels.csv", index=False)
    assert remedis(*split(folder, "--stratify", "label", "--out", folder / "two.csv")).code == 0
    assert parts_of(read(folder / "one.csv")) == parts_of(read(folder / "two.csv"))
    other = ("--stratify", "label", "--out", folder / "three.csv", "--seed", 1)
    assert remedis(*split(folder, *other)).code == 0
    assert parts_of(read(folder / "one.csv")) != parts_of(read(folder / "three.csv"))


def test_a_split_that_is_there_is_not_replaced(remedis, refused, cohort):
    folder, _ = cohort
    assert remedis(*split(folder)).code == 0
    before = (folder / "labels.split.csv").read_bytes()
    line = refused(*split(folder, "--seed", 1))
    assert "labels.split.csv exists and holds another split" in line and "--overwrite" in line
    assert (folder / "labels.split.csv").read_bytes() == before
    assert remedis(*split(folder, "--seed", 1, "--overwrite")).code == 0
    assert (folder / "labels.split.csv").read_bytes() != before


def test_several_seeds_are_several_files(remedis, cohort):
    folder, _ = cohort
    assert remedis(*split(folder, "--seed", 3, "--seeds", 2)).code == 0
    made = [read(folder / f"labels.split_{seed}.csv") for seed in (3, 4)]
    assert parts_of(made[0]) != parts_of(made[1])
    assert json.loads((folder / "labels.split_4.csv.json").read_text())["seed"] == 4
    assert remedis(*split(folder, "--seed", 4)).code == 0
    pd.testing.assert_frame_equal(read(folder / "labels.split.csv"), made[1])


def test_held_out_sites_can_have_parts_of_their_own(remedis, cohort):
    folder, _ = cohort
    options = ("--site", "site", "--test-site", "B", "--ood-fractions", "train=0.5,test=0.5")
    assert remedis(*split(folder, *options)).code == 0
    made = read(folder / "labels.split.csv")
    parts = parts_of(made)
    assert {n: len(g) for n, g in parts.items() if n.startswith("ood")} == {
        "ood_train": 15, "ood_test": 15,
    }  # fmt: skip
    assert set(made[made["split"].str.startswith("ood_")]["site"]) == {"B"}


def test_training_reads_what_was_written(remedis, cohort):
    from remedis_jax.data.checking import refuse_split_groups
    from remedis_jax.data.dataset import open_rows
    from remedis_jax.training.config import stage_config

    folder, _ = cohort
    out = folder.parent / f"{folder.name}-split.csv"
    assert remedis(*split(folder, "--out", out)).code == 0
    data = stage_config("supervised").data
    data.manifest, data.group, data.split = str(out), "patient_id", "split"
    rows = open_rows(data, {"split": "train"})
    assert rows.images[0].startswith(f"{folder.name}/images/")
    assert rows.store.size(rows.images[0]) > 0
    refuse_split_groups(data)


def test_patients_who_share_a_file_stay_together(remedis, cohort):
    folder, table = cohort
    for number in range(1, 90):
        # All patients are a chain of shared files, but for the last ten.
        if number < 80:
            first = table[table["patient_id"] == f"{number:03d}"]["image"].iloc[0]
            before = table[table["patient_id"] == f"{number - 1:03d}"]["image"].iloc[-1]
            (folder / first).write_bytes((folder / before).read_bytes())
    options = ("--fractions", "train=0.9,test=0.1")
    outcome = remedis(*split(folder, *options))
    assert outcome.code == 0, outcome.err
    assert "tie 79 group(s) to others" in outcome.err
    parts = parts_of(read(folder / "labels.split.csv"))
    chain = {f"{number:03d}" for number in range(80)}
    assert [len(chain & part) for part in parts.values()] in ([80, 0], [0, 80])
    assert json.loads((folder / "labels.split.csv.json").read_text())["groups_joined"] == 79
    loose = ("--no-keep-duplicates-together", "--overwrite")
    assert remedis(*split(folder, *options, *loose)).code == 0
    parts = parts_of(read(folder / "labels.split.csv"))
    assert all(chain & part for part in parts.values())


def test_patients_whose_pictures_look_alike_stay_together_if_asked(remedis, tmp_path, monkeypatch):
    monkeypatch.setenv("REMEDIS_CACHE", str(tmp_path / "cache"))
    rows = []
    for i in range(12):
        pixels = np.random.default_rng(i % 6).integers(0, 256, (8, 8), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"{i}.{'png' if i < 6 else 'jpg'}", quality=95)
        rows.append({"image": f"{i}.{'png' if i < 6 else 'jpg'}", "patient_id": f"{i:02d}"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    outcome = remedis(*split(tmp_path, "--near-duplicates", 24, "--fractions", "a=0.5,b=0.5"))
    assert outcome.code == 0 and "tie 6 group(s)" in outcome.err
    part = read(tmp_path / "labels.split.csv")["split"].tolist()
    assert part[:6] == part[6:] and set(part) == {"a", "b"}


def test_several_findings_are_spread_over_all_parts(remedis, cohort):
    folder, table = cohort
    rng = np.random.default_rng(1)
    patient = table["patient_id"].astype(int).to_numpy()
    for name, share in (("Edema", 0.3), ("Mass", 0.15), ("Nodule", 0.5)):
        has = (rng.random(90) < share)[patient] & (rng.random(len(table)) < 0.7)
        table[name] = np.where(has, "1", rng.choice(["0", "-1", ""], len(table)))
    table.to_csv(folder / "labels.csv", index=False)
    outcome = remedis(*split(folder, "--stratify", "Edema,Mass,Nodule"))
    assert outcome.code == 0, outcome.err
    record = json.loads((folder / "labels.split.csv.json").read_text())
    for name in ("Edema", "Mass", "Nodule"):
        counts = {part: held["labels"][name]["groups"] for part, held in record["parts"].items()}
        total = sum(counts.values())
        assert total == len(set(table[table[name] == "1"]["patient_id"]))
        for part, share in PARTS.items():
            assert abs(counts[part] - share * total) <= 1.5, (name, counts)
    assert [held["groups"] for held in record["parts"].values()] == [63, 9, 18]


def test_a_label_that_some_part_would_lack(remedis, refused, cohort):
    folder, table = cohort
    table.loc[table["patient_id"] == "001", "label"] = "rare"
    table.to_csv(folder / "labels.csv", index=False)
    line = refused(*split(folder, "--stratify", "label"))
    assert "'rare' (1 group(s)) is not in test, val" in line and "--allow-absent" in line
    outcome = remedis(*split(folder, "--stratify", "label", "--allow-absent"))
    assert outcome.code == 0
    assert "note: label 'rare', which 1 group(s) have, is not in 'val', 'test'" in outcome.out


def test_a_patient_of_two_sites_is_refused(refused, cohort):
    folder, table = cohort
    table.loc[table["patient_id"] == "001", "site"] = ["B"] + ["A"] * (
        (table["patient_id"] == "001").sum() - 1
    )
    table.loc[0, "site"] = "B"
    table.to_csv(folder / "labels.csv", index=False)
    line = refused(*split(folder, "--site", "site", "--test-site", "B"))
    assert "of a held-out site and of others" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "patient"), "Did you mean 'patient_id'"),
        (("--stratify", "labell"), "Did you mean 'label'"),
        (("--test-site", "B"), "Name it with --site"),
        (("--site", "site", "--test-site", "C"), "no row has site = 'C'"),
        (("--site", "site", "--test-site", "A", "--test-site", "B"), "every row is of the site"),
        (("--fractions", "train=0.7,test=0.2"), "add up to 1"),
        (("--fractions", "train,test"), "'train' is no part with a share"),
        (("--fractions", "a=0.5,a=0.5"), "named twice"),
        (("--fractions", "a=0.999,b=0.001"), "no group for 'b'"),
        (("--column", "note"), "already a column 'note'"),
        (("--seeds", "0"), "draws no split"),
        (("--out", "{folder}/labels.csv"), "is the manifest itself"),
        (("--out", "{folder}/split.parquet"), "end in .csv"),
        (("--out", "{folder}/deeper/split.csv"), "would lie outside of its folder"),
        (("--near-duplicates", 5, "--no-keep-duplicates-together"), "Leave one of"),
    ],
)
def test_what_cannot_be_split_says_why(refused, cohort, options, said):
    folder, _ = cohort
    before = sorted(folder.iterdir())
    line = refused(*split(folder, *(str(o).replace("{folder}", str(folder)) for o in options)))
    assert said in line
    assert sorted(folder.iterdir()) == before, "something was written"


def test_a_folder_of_images_can_be_split(remedis, tmp_path):
    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (8, 8), i + (100 if name == "ill" else 0)).save(
                tmp_path / name / f"{i}.png"
            )
    outcome = remedis("split", tmp_path, "--by", "image", "--stratify", "label")
    assert outcome.code == 0, outcome.err
    made = read(tmp_path / "manifest.split.csv")
    assert made.groupby(["split", "label"]).size().to_dict() == {
        (part, label): round(10 * share) for part, share in PARTS.items()
        for label in ("ill", "well")
    }  # fmt: skip
