"""The fast way through a CSV file gives what the csv module gives, or leaves it to that."""

import random
from pathlib import Path

import pandas as pd
import pytest

from remedis_jax.data import tables
from remedis_jax.errors import UserError

PATH = Path("m.csv")


def read(data: bytes):
    try:
        return tables.read_csv(data, PATH)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    "text",
    [
        "image\na\nb\n",
        "image,b\na,1\nb,2",
        "image,b\r\na,1\r\nb,\r\n",
        "image,b\n,1\n ,\x0bx\n",
        "é,\u2028\n\x1ca,\x85\n",
    ],
)
def test_plain_files_take_the_fast_way(text):
    assert tables._cut(text) is not None
    assert isinstance(read(text.encode()), pd.DataFrame)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "image\n", "image;b\na;1\n", 'image,b\n"a",1\n', "image,b\na,1,2\nb\n",
        "image,b\na\n", "image,b\na,1\n\nb,2\n", "image,b\n,\n", "image\na\rb\n", ",\na,b\n",
        "image\n" + "x" * 131_073 + "\n",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_csv_module(text):
    assert tables._cut(text) is None


def test_both_ways_agree(monkeypatch):
    """On files of a few signs, most of them odd: the same table, or the same words."""
    draw = random.Random(0)
    signs = ["a", "b", " ", "é", "\x0b", "\u2028", ";", ",", ",", "\n", "\n", "\r\n", "\r", '"']
    plain, files, fast = 0, [], []
    for number in range(2000):
        some = signs[: 14 if number % 4 == 0 else 12]
        head = ("image,b\n", "image\n", "", "a;b\n")[number % 4]
        files.append((head + "".join(draw.choices(some, k=draw.randint(1, 12)))).encode())
        plain += tables._cut(files[-1].decode()) is not None
        fast.append(read(files[-1]))
    assert plain > 100
    monkeypatch.setattr(tables, "_cut", lambda text: None)
    for data, found in zip(files, fast):
        slow = read(data)
        if isinstance(slow, str):
            assert found == slow, data
        else:
            pd.testing.assert_frame_equal(found, slow, check_index_type=False)
