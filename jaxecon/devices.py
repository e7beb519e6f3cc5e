"""What the machine offers, and the compiler settings that suit it."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def num_cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_all_cores() -> None:
    """Let JAX see each processor core as a device, so that independent lanes run side by side.

    Has an effect only before JAX has started its backend, and on CPUs only; a number that the
    user has set, through JAX_NUM_CPU_DEVICES or XLA_FLAGS, stands.
    """
    if "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # the backend has started: keep its devices
        jax.config.update("jax_num_cpu_devices", num_cores())


def compiler_options(
    platform: str, *, one_thread_per_device: bool = False
) -> dict[str, str | bool]:
    """Options for `lowered.compile(compiler_options=...)` on a platform.

    On CPUs: plain scheduling, because the concurrency-optimised scheduler of jax 0.10 has been seen
    to hang in compiled loops when cores are contended; the widest vectors, which small networks
    fill; and, where every core has a lane of its own, no thread pool inside a lane.

    Args:
      platform: "cpu", "gpu" or "tpu".
      one_thread_per_device: whether each device should keep to one thread.
    """
    if platform != "cpu":
        return {}
    options: dict[str, str | bool] = {
        "xla_cpu_enable_concurrency_optimized_scheduler": False,
        "xla_cpu_prefer_vector_width": "512",
    }
    if one_thread_per_device:
        options["xla_cpu_multi_thread_eigen"] = False
    return options


def over_devices(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the leading axis of its arguments and results spread over all devices.

    Rows must not depend on each other, as in a batch of solves. After `use_all_cores` the devices
    are the processor's cores. `jit` the result.

    Args:
      function: of pytrees of arrays [B, ...] to pytrees of arrays [B, ...]. B must be a multiple of
        the number of devices, which shard_map checks.
    """
    devices = jax.devices()
    if len(devices) == 1:
        return function
    mesh = jax.sharding.Mesh(np.asarray(devices), ("rows",))
    rows = jax.sharding.PartitionSpec("rows")
    return jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)


def may_deadlock(program: str) -> bool:
    """Whether a lowered program could hang the CPU runtime if several copies ran at once.

    In jax 0.10 a batched LAPACK call blocks a thread of the pool on which it waits for help; with
    one such call per thread, nobody is left (docs/cpu-runtime.md).

    Args:
      program: text of the lowered program.
    """
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    return version < (0, 11) and jax.default_backend() == "cpu" and "lapack_" in program


def memory_limit(device: jax.Device) -> int:
    """Bytes that a program may claim on a device: its own limit, or the free host memory."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    import psutil

    return int(psutil.virtual_memory().available)
