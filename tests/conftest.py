"""Strict settings for every test: dtypes do not drift, ranks do not broadcast, warnings fail."""

import gc
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import jax
import pytest
from hypothesis import settings

MOST_MAPS = 25_000
CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
# most programs are small: the other worker, and modules after a clearing, find them here
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

settings.register_profile("jaxecon", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("jaxecon")


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """XLA maps memory for every program it compiles, and Linux lets a process have 65,530 maps.

    Beyond that the process aborts, so programs of earlier modules are let go in time.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def standard_promotion():
    """For foreign environments, which mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
