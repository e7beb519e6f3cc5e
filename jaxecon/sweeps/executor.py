"""Laying the lanes of a plan on the machine: one compiled program, run segment by segment.

The program advances a block of lanes by one segment (the iterations up to an evaluation). Blocks
are as wide as the devices allow: one lane per core on CPUs ("sequential"), a memory-bounded batch
per device on accelerators ("vmap"). The host calls it again and again, so results do not depend on
how many lanes there are or where in the study a lane stands.
"""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxecon import devices
from jaxecon.algos.base import prefixed, train_iterations
from jaxecon.sweeps.plan import Plan, as_arrays
from jaxecon.types import PyTree

EVALUATION_SPLITS = ("validation", "test")


def to_data(tree: PyTree) -> PyTree:
    """The tree with PRNG keys as plain integers, so that it can be stored."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def from_data(tree: PyTree, like: PyTree) -> PyTree:
    """Undo `to_data`; `like` has the original types."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x, t: jax.random.wrap_key_data(x) if is_key(t) else x, tree, like)


def lane_segment(
    plan: Plan, state_type: PyTree, splits: dict, state: PyTree, lane: dict, index: jax.Array
) -> tuple[PyTree, dict]:
    """Advance one lane by one segment and evaluate it.

    Args:
      plan: the study (static).
      state_type: shapes and types of the algorithm's state (static).
      splits: economies to train and evaluate on.
      state: the lane's state as data; ignored in segment 0, which starts from scratch.
      lane: the lane's seed, hyperparameters and environment numbers.
      index: () int32, the segment.

    Every random number follows from the study's seed and the lane's seed index alone.
    """
    key = jax.random.fold_in(jax.random.key(plan.study.study.seed), lane["seed"])
    key_init, key_train, key_evaluate = jax.random.split(key, 3)
    hparams = plan.lane_hparams(lane["hparams"])
    env_params = splits["train"].replace(**lane["env_numbers"])
    state = jax.lax.cond(
        index == 0,
        lambda: to_data(plan.algorithm.init(key_init, env_params, hparams)),
        lambda: state,
    )
    state, metrics = train_iterations(
        plan.algorithm,
        key_train,
        from_data(state, state_type),
        env_params,
        hparams,
        first_iteration=index * plan.iterations_per_evaluation,
        num_iterations=plan.iterations_per_evaluation,
    )
    metrics = prefixed("train", metrics)
    evaluated = _evaluate_splits(plan, splits, state, lane, jax.random.fold_in(key_evaluate, index))
    for row, split in enumerate(EVALUATION_SPLITS):
        metrics |= prefixed(split, jax.tree.map(lambda x, row=row: x[row], evaluated))
    return to_data(state), metrics


def _evaluate_splits(
    plan: Plan, splits: dict, state: PyTree, lane: dict, key: jax.Array
) -> dict[str, jax.Array]:
    """Metrics on every evaluation split, leaves [S]: one loop body, compiled once for all."""
    stack = lambda *leaves: jnp.stack(leaves)
    stacked = jax.tree.map(stack, *(splits[split] for split in EVALUATION_SPLITS))

    def evaluate(inputs: tuple) -> dict[str, jax.Array]:
        key, env_params = inputs
        return plan.algorithm.evaluate(key, state, env_params.replace(**lane["env_numbers"]))

    return jax.lax.map(evaluate, (jax.random.split(key, len(EVALUATION_SPLITS)), stacked))


@dataclasses.dataclass(eq=False)
class Executor:
    """The compiled program of a plan, and what it took to build it.

    Attributes:
      plan: the study.
      strategy: "sequential" or "vmap".
      lanes_per_wave: lanes that run at once, over all devices.
      num_traces, num_compilations: how often the program was traced and compiled.
      compile_seconds: tracing and compilation together.
      memory_bytes: what the program claims on each device, by the compiler's own analysis.
      metric_names: sorted names of the metrics that a segment reports.
    """

    plan: Plan
    strategy: str
    lanes_per_wave: int
    num_traces: int
    num_compilations: int
    compile_seconds: float
    memory_bytes: int
    metric_names: list[str]
    state_type: PyTree
    _compiled: Any
    _sharding: NamedSharding
    _splits: PyTree

    def initial_state(self) -> PyTree:
        """Zeros in the place of a state: segment 0 ignores them."""
        zeros = lambda leaf: np.zeros((self.lanes_per_wave, *leaf.shape), leaf.dtype)
        return self.put(jax.tree.map(zeros, jax.eval_shape(to_data, self.state_type)))

    def put(self, tree: PyTree) -> PyTree:
        """Host arrays [lanes_per_wave, ...] laid over the devices."""
        return jax.device_put(tree, self._sharding)

    def lane_inputs(self, lanes: np.ndarray) -> dict:
        """Inputs of the given lanes on the devices."""
        return self.put(_lane_inputs(self.plan, lanes))

    def run(self, state: PyTree, lane: dict, index: int) -> tuple[PyTree, dict]:
        """Advance a wave by segment `index`; consumes `state`."""
        return self._compiled(self._splits, state, lane, np.int32(index))


def _lane_inputs(plan: Plan, lanes: np.ndarray) -> dict:
    take = lambda values: {name: value[lanes] for name, value in values.items()}
    return {
        "seed": plan.seeds[lanes],
        "hparams": take(plan.hparams),
        "env_numbers": take(plan.env_numbers),
    }


def build_executor(plan: Plan) -> Executor:
    """Choose a strategy, size it by the compiled program's memory, and compile.

    Raises:
      ValueError: the study's metric is not one that evaluations report.
      MemoryError: not even the narrowest program fits; the message has the numbers and a remedy.
    """
    started = time.perf_counter()
    settings = plan.study.executor
    available = jax.devices()
    platform = available[0].platform
    strategy = settings.strategy
    if strategy == "auto":
        strategy = "sequential" if platform == "cpu" else "vmap"
    used = available[: min(len(available), plan.num_lanes)]
    most = -(-plan.num_lanes // len(used))  # lanes per device if all ran at once
    width = 1 if strategy == "sequential" else min(settings.lanes_per_device or most, most)
    budget = int(settings.memory_fraction * devices.memory_limit(used[0]))
    if platform == "cpu":
        budget //= len(used)  # the devices share the host's memory
    compilation = _Compilation(plan, strategy, used)
    lowered = compilation.lower(width)
    if len(used) > 1 and devices.may_deadlock(lowered.as_text()):
        used, budget = used[:1], budget * len(used)
        compilation = _Compilation(plan, strategy, used, num_traces=compilation.num_traces)
        lowered = compilation.lower(width)
    while True:
        compiled, needed = compilation.compile(lowered)
        if needed <= budget:
            break
        width = _narrower(width, needed, budget, settings.lanes_per_device, strategy)
        lowered = compilation.lower(width)
    return Executor(
        plan=plan,
        strategy=strategy,
        lanes_per_wave=width * len(used),
        num_traces=compilation.num_traces,
        num_compilations=compilation.num_compilations,
        compile_seconds=time.perf_counter() - started,
        memory_bytes=needed,
        metric_names=compilation.metric_names,
        state_type=compilation.state_type,
        _compiled=compiled,
        _sharding=compilation.sharding,
        _splits=jax.device_put(compilation.splits, compilation.replicated),
    )


def _narrower(width: int, needed: int, budget: int, asked: int | None, strategy: str) -> int:
    """Next width to try, in proportion to the memory; an error where there is none."""
    megabytes = lambda number: f"{number / 2**20:,.0f} MiB"
    if width == 1 or asked is not None:
        remedy = (
            "Reduce num_envs, rollout_length, hidden_sizes or num_eval_episodes"
            + ("" if width == 1 else f", or set executor.lanes_per_device below {asked}")
            + ", raise executor.memory_fraction, or free memory."
        )
        raise MemoryError(
            f"The study needs {megabytes(needed)} per device for {width} lane(s) under "
            f"{strategy!r}, but {megabytes(budget)} may be used. {remedy}"
        )
    return max(1, min(width - 1, int(0.9 * width * budget / needed)))


class _Compilation:
    """Traces and compiles the program of a plan for one set of devices, and counts both."""

    def __init__(self, plan: Plan, strategy: str, used: list[jax.Device], *, num_traces: int = 0):
        self.plan, self.strategy, self.used = plan, strategy, used
        self.num_traces, self.num_compilations = num_traces, 0
        mesh = Mesh(np.asarray(used), ("lanes",))
        self.mesh = mesh
        self.sharding = NamedSharding(mesh, PartitionSpec("lanes"))
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.splits = {name: as_arrays(params) for name, params in plan.splits.items()}
        one = _lane_inputs(plan, np.arange(1))
        lane = jax.tree.map(lambda x: x[0], one)
        self.state_type = jax.eval_shape(
            lambda splits, lane: plan.algorithm.init(
                jax.random.key(0),
                splits["train"].replace(**lane["env_numbers"]),
                plan.lane_hparams(lane["hparams"]),
            ),
            self.splits,
            lane,
        )
        self.metric_names: list[str] = []

    def _block(self, splits: PyTree, state: PyTree, lane: PyTree, index: jax.Array) -> tuple:
        """One device's lanes, leaves [W, ...]."""
        self.num_traces += 1
        segment = functools.partial(lane_segment, self.plan, self.state_type)
        if self.strategy == "vmap":
            return jax.vmap(segment, in_axes=(None, 0, 0, None))(splits, state, lane, index)
        first = lambda tree: jax.tree.map(lambda x: x[0], tree)
        result = segment(splits, first(state), first(lane), index)
        return jax.tree.map(lambda x: x[None], result)

    def lower(self, width: int) -> jax.stages.Lowered:
        """Trace the program for `width` lanes per device."""
        total = width * len(self.used)
        spread, same = PartitionSpec("lanes"), PartitionSpec()
        program = jax.shard_map(
            self._block,
            mesh=self.mesh,
            in_specs=(same, spread, spread, same),
            out_specs=spread,
            check_vma=False,
        )

        def typed(tree: PyTree, sharding: NamedSharding, leading: tuple[int, ...] = ()) -> PyTree:
            struct = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
            return jax.tree.map(lambda x: struct((*leading, *x.shape), x.dtype), tree)

        data_type = jax.eval_shape(to_data, self.state_type)
        lanes = _lane_inputs(self.plan, np.zeros(total, int))
        lowered = jax.jit(program, donate_argnums=1).lower(
            typed(self.splits, self.replicated),
            typed(data_type, self.sharding, (total,)),
            typed(lanes, self.sharding),
            jax.ShapeDtypeStruct((), np.int32, sharding=self.replicated),
        )
        self.metric_names = sorted(lowered.out_info[1])
        self._check_metric()
        return lowered

    def compile(self, lowered: jax.stages.Lowered) -> tuple[Any, int]:
        """The compiled program, and its bytes per device."""
        options = devices.compiler_options(
            self.used[0].platform, one_thread_per_device=len(self.used) > 1
        )
        compiled = lowered.compile(compiler_options=options)
        self.num_compilations += 1
        analysis: Any = compiled.memory_analysis()
        needed = (
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes
            - analysis.alias_size_in_bytes
        )
        return compiled, int(needed)

    def _check_metric(self) -> None:
        from jaxecon.sweeps.study import check_names

        reported = {
            name.removeprefix(f"{split}/")
            for name in self.metric_names
            for split in EVALUATION_SPLITS
            if name.startswith(f"{split}/")
        }
        check_names("metric", [self.plan.study.study.metric], reported)
