"""Settings under which environments from outside jaxecon run."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

from jaxecon.envs.base import Environment


@contextlib.contextmanager
def foreign_settings(env: Any) -> Iterator[None]:
    """Context in which `env` can be traced.

    jaxecon environments run under the caller's settings, so strict dtype promotion stays strict.
    Others, such as gymnax's own, mix dtypes and ranks: they get "standard" dtype promotion and
    silent rank promotion, whatever the caller has set.
    """
    if isinstance(env, Environment):
        yield
        return
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
