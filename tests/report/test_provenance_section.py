import platform

from remedis_jax.hardware import hardware, hardware_text
from remedis_jax.report.provenance_section import STEM, hours_text, provenance_section

RECORD = {
    "command": "remedis sweep --config x.py",
    "versions": {"jax": "0.10.2"},
    "seeds": [0, 1],
    "manifests": {"data/a_b.csv": "ab" * 32},
    "weights": {"simclr": "cd" * 32},
    "hardware": {
        "platform": "Linux x86_64", "processor": "Some CPU", "processors": 2, "memory_gib": 8.0,
        "accelerators": [{"kind": "Some GPU", "count": 2, "memory_gib": 79.6}],
    },
    "hours": 1.25,
    "config": {"optimizer": {"learning_rate": 0.1}},
}  # fmt: skip


def test_what_is_known_is_said():
    section = provenance_section(RECORD)
    for text in (
        "```sh\nremedis sweep --config x.py\n```",
        "- Seeds: 0, 1",
        "- Hardware: 2 processors (Some CPU), 8 GiB of memory, 2 × Some GPU of 79.6 GiB, "
        "Linux x86\\_64",
        "- Computing time: 1.2 hours",
        "- jax 0.10.2",
        "- data/a\\_b.csv\n  `" + "ab" * 32 + "`",
        '"learning_rate": 0.1',
        "### experiment.json without the config",
    ):
        assert text in section.markdown, text
    assert section.markdown.count("learning_rate") == 1 and section.folded
    assert section.tables[STEM].to_numpy().tolist() == [
        ["manifests", "data/a_b.csv", "ab" * 32],
        ["weights", "simclr", "cd" * 32],
    ]


def test_old_records_lack_keys():
    section = provenance_section({"title": "T"})
    assert section.markdown == '### experiment.json\n\n```json\n{\n "title": "T"\n}\n```'
    assert section.tables == {}
    sparse = provenance_section({"hardware": None, "hours": None, "manifests": {}, "versions": {}})
    assert sparse.markdown.count("###") == 1


def test_hours_in_words():
    assert [hours_text(h) for h in (12.34, 0.05, None)] == ["12.3 hours", "3.0 minutes", ""]


def test_hardware_says_what_and_not_which():
    found = hardware()
    assert set(found) == {
        "platform", "processor", "processors", "memory_gib", "accelerators",
    }  # fmt: skip
    assert found["processors"] >= 1 and found["processor"] and found["memory_gib"] > 0
    assert found["accelerators"] == []
    assert "no accelerator" in hardware_text(found)
    assert hardware_text({}) == ""
    assert platform.node() not in found.values()


def test_accelerators_are_counted_by_kind(monkeypatch):
    class Device:
        def __init__(self, platform, kind, stats=None):
            self.platform, self.device_kind, self._stats = platform, kind, stats

        def memory_stats(self):
            return self._stats

    devices = [
        Device("gpu", "GPU X", {"bytes_limit": 80 * 2**30}),
        Device("gpu", "GPU X", {"bytes_limit": 80 * 2**30}),
        Device("tpu", "TPU v5"),
        Device("cpu", "cpu"),
    ]
    monkeypatch.setattr("jax.local_devices", lambda: devices)
    assert hardware()["accelerators"] == [
        {"kind": "GPU X", "count": 2, "memory_gib": 80.0},
        {"kind": "TPU v5", "count": 1, "memory_gib": None},
    ]
