"""Strict numerics for every test: 8 CPU devices, no silent broadcasting between ranks."""

import gc
import importlib.util
import mmap
import os
from pathlib import Path

# Before jax initialises its backend: device-count tests need several devices on one machine.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags


def xla_knows(flag: str) -> bool:
    """Whether the installed XLA has a flag: one that it does not know ends the process."""
    for path in Path(importlib.util.find_spec("jaxlib").origin).parent.glob("*.so"):
        with path.open("rb") as library:
            with mmap.mmap(library.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(flag.encode()) >= 0:
                    return True
    return False


# Read when jax initialises its backend, which nothing has done yet. Tests compile far longer than
# they compute, and the older emitter of loops halves that; the values are the same to rounding.
XLA_FLAGS = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
if xla_knows("xla_cpu_use_fusion_emitters"):
    XLA_FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(XLA_FLAGS).strip()

# Programs and traces pile up over a session; looking through all of them for garbage again and
# again is a good part of its time.
gc.set_threshold(50_000, 20, 100)

jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which pytest never parses.
flags.FLAGS.mark_as_parsed()


# Minutes each, most of them in processes of their own. Begun last, one would be waited for alone.
LONGEST_FIRST = (
    "test_resume.py", "test_two_processes.py", "test_tasks_chain.py", "test_killed_grid.py",
    "test_chain.py", "test_loop.py", "test_methods.py", "test_finetune.py", "test_bit.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture
def key() -> jax.Array:
    """A fixed root key; tests fold in what they need."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory):
    """A phantom of a few patients on disk: natural/, pool/ and labelled/ with manifest.csv."""
    from remedis_jax.data.phantom import PhantomSize, write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(folder, size=32, scale=PhantomSize.tiny())
    return folder


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory):
    """What is remembered of images stays among the files of the session."""
    os.environ["REMEDIS_CACHE"] = str(tmp_path_factory.mktemp("user-cache"))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs compiled once per session, as the commands keep them between runs."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        # The processes of a parallel run have neighbouring folders, and share their programs.
        base = tmp_path_factory.getbasetemp()
        parallel = "PYTEST_XDIST_WORKER" in os.environ
        folder = (base.parent if parallel else base) / "xla"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
