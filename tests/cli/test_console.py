"""What the user sees while a command works."""

from remedis_jax.cli import console


def test_rate_is_that_of_this_run(monkeypatch, capsys):
    """A resumed run begins far from zero, and must not promise to be done at once."""
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    progress = console.count_progress("embedding", interval=5)
    for seconds, done in ((1, 900), (2, 902), (10, 920)):
        clock[0] = 100.0 + seconds
        progress(done, 1000)
    # 20 images in 9 seconds; 80 are left.
    assert capsys.readouterr().err == "embedding: 920/1,000  2.2/s  36 s left\n"


def test_each_of_several_lists_has_its_own_rate(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    progress = console.count_progress("checking images", interval=5)
    for seconds, done, total in ((1, 1, 100), (4, 100, 100), (10, 1, 50), (20, 41, 50)):
        clock[0] = 100.0 + seconds
        progress(done, total)
    assert capsys.readouterr().err == "checking images: 41/50  4.0/s  2 s left\n"
