"""The contract every environment keeps, as one call: `check_environment(env, env_params)`.

Each check is a small function of a `Probe`. It returns when it holds, raises `CheckFailed` with
what was seen, expected and how to mend it, and raises `NotApplicable` where it has nothing to say.
To add one, write the function beside its kind and list it in `CHECKS`.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from jaxecon.interop.foreign import foreign_settings
from jaxecon.suggest import unknown_name
from jaxecon.testing import episode_checks as episodes
from jaxecon.testing import gradient_checks as gradients
from jaxecon.testing import program_checks as programs
from jaxecon.testing import shape_checks as shapes
from jaxecon.testing import symmetry_checks as symmetries
from jaxecon.testing.probe import CheckFailed, NotApplicable, Probe
from jaxecon.types import Key

Check = Callable[[Probe], None]

CHECKS: dict[str, Check] = {
    "six_values": shapes.check_six_values,
    "ending_flags": shapes.check_ending_flags,
    "reward": shapes.check_reward,
    "spaces_contain": shapes.check_spaces_contain,
    "sampled_action": shapes.check_sampled_action,
    "steady_signature": shapes.check_steady_signature,
    "scans": shapes.check_scans,
    "steady_info": shapes.check_steady_info,
    "single_precision": shapes.check_single_precision,
    "finite_values": shapes.check_finite_values,
    "jit_equals_plain": programs.check_jit_equals_plain,
    "vmap_equals_loop": programs.check_vmap_equals_loop,
    "one_trace": programs.check_one_trace,
    "static_environment": programs.check_static_environment,
    "traced_params": programs.check_traced_params,
    "deterministic": programs.check_deterministic,
    "no_leaked_tracers": programs.check_no_leaked_tracers,
    "time_limit": episodes.check_time_limit,
    "natural_ending": episodes.check_natural_ending,
    "auto_reset": episodes.check_auto_reset,
    "fresh_reset": episodes.check_fresh_reset,
    "final_observation": episodes.check_final_observation,
    "ends_together": episodes.check_ends_together,
    "action_mask": episodes.check_action_mask,
    "episode_summary": episodes.check_episode_summary,
    "finite_gradients": gradients.check_finite_gradients,
    "gradients_flow": gradients.check_gradients_flow,
    "symmetry_sizes": symmetries.check_symmetry_sizes,
    "symmetric_observation": symmetries.check_symmetric_observation,
}


class ContractError(AssertionError):
    """An environment breaks its contract; the message lists every check that failed."""


class CheckResult(NamedTuple):
    """The outcome of one check."""

    name: str
    passed: bool  # also True where the check did not apply
    message: str  # what failed, "skipped: why", or empty

    @property
    def skipped(self) -> bool:
        """Whether the check did not apply to this environment."""
        return self.passed and self.message.startswith("skipped: ")


class ContractReport(NamedTuple):
    """The outcome of every check that ran."""

    env_name: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> dict[str, str]:
        """Message of each failed check, by its name."""
        return {result.name: result.message for result in self.results if not result.passed}

    def __str__(self) -> str:
        """One line per check."""
        failed, total = len(self.failures), len(self.results)
        lines = [f"{self.env_name}: {failed} of {total} contract checks failed"]
        for result in self.results:
            verdict = "ok" if result.passed and not result.skipped else "FAILED"
            verdict = "skipped" if result.skipped else verdict
            detail = result.message.removeprefix("skipped: ")
            lines.append(f"  {verdict:8}{result.name}" + (f": {detail}" if detail else ""))
        return "\n".join(lines)


def list_checks() -> dict[str, str]:
    """What each check asks, in one line, by its name."""
    return {name: (check.__doc__ or "").splitlines()[0] for name, check in CHECKS.items()}


def check_environment(
    env: Any,
    env_params: Any = None,
    *,
    key: Key | None = None,
    num_steps: int = 64,
    checks: Iterable[str] | None = None,
    raise_on_failure: bool = True,
) -> ContractReport:
    """Report of every contract check on an environment, or an error that lists the failures.

    Args:
      env: a jaxecon environment, or any gymnax 1.x environment. The latter run under "standard"
        dtype promotion and silent rank promotion; jaxecon's under the caller's settings.
      env_params: its economy; `env.default_params` if None.
      key: PRNG key of all draws; `jax.random.key(0)` if None.
      num_steps: length of the random play behind the checks, at least 8. Longer play visits more
        states and is likelier to reach a natural ending.
      checks: names to run, of `list_checks()`; all if None.
      raise_on_failure: False returns the report of a failing environment too.

    Returns:
      ContractReport. A check that does not apply passes, with a message "skipped: why".

    Raises:
      ContractError: a check failed and `raise_on_failure` is set.
      ValueError: `num_steps` is too small, or a name in `checks` is unknown.
    """
    names = list(CHECKS) if checks is None else list(checks)
    for name in names:
        if name not in CHECKS:
            raise ValueError(unknown_name("contract check", name, CHECKS))
    if num_steps < 8:
        raise ValueError(f"num_steps must be at least 8, got {num_steps}.")
    key = jax.random.key(0) if key is None else key
    with foreign_settings(env):
        env_params = env.default_params if env_params is None else env_params
        probe = Probe(env, env_params, key, num_steps)
        results = tuple(_run(name, probe) for name in names)
    report = ContractReport(getattr(env, "name", type(env).__name__), _fold_repeats(results))
    if raise_on_failure and not report.passed:
        raise ContractError(_error_text(report))
    return report


def _run(name: str, probe: Probe) -> CheckResult:
    """Outcome of one check; an error it did not foresee counts as a failure."""
    try:
        CHECKS[name](probe)
    except NotApplicable as why:
        return CheckResult(name, True, f"skipped: {why}")
    except CheckFailed as failure:
        return CheckResult(name, False, str(failure))
    except Exception as error:
        first_line = (str(error).strip() or "no message").splitlines()[0]
        return CheckResult(name, False, f"raised {type(error).__name__}: {first_line}")
    return CheckResult(name, True, "")


def _fold_repeats(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """The same results, with a failure text that came before replaced by where it came."""
    first: dict[str, str] = {}
    folded = []
    for result in results:
        origin = result.name if result.passed else first.setdefault(result.message, result.name)
        same = origin == result.name
        message = result.message if same else f"the same error as {origin}"
        folded.append(result._replace(message=message))
    return tuple(folded)


def _error_text(report: ContractReport) -> str:
    failures = report.failures
    head = f"{report.env_name} fails {len(failures)} of {len(report.results)} contract checks:"
    return "\n".join([head, *(f"  {name}: {message}" for name, message in failures.items())])
