"""Shared type names, and nothing else."""

from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # typed PRNG key from jax.random.key
PyTree = Any
Metrics = dict[str, jax.Array]
