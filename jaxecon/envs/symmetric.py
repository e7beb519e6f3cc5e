"""Environments with a declared symmetry, whose states and noise can be carried along a group.

A transition is split into what is drawn and what is computed. If the group acts on both, the
environment's symmetry is a statement about single steps that a test can check exactly:

    step(g·s, g·a, g·noise) = g·step(s, a, noise)   and the rewards are equal

where nothing breaks the symmetry. Paired simulation of the two sides measures the break elsewhere.
"""

from typing import Any

from jaxecon.envs import base
from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key


class SymmetricEnvironment(base.Environment):
    """Base of environments that declare a symmetry.

    Write `symmetry`, `noise`, `transition` and the actions of the group; `step_env` follows. An
    element g of the group is its index, a whole number that may be traced; 0 is the identity.
    """

    def symmetry(self) -> SymmetrySpec:
        """Which parts of observation and action transform by which representation."""
        raise NotImplementedError

    def noise(self, key: Key, params: Any) -> Any:
        """Everything random in one step, a pytree of arrays."""
        raise NotImplementedError

    def transition(
        self, state: Any, action: Array, noise: Any, params: Any
    ) -> tuple[Any, Array, dict[str, Array]]:
        """State after one step, its reward and info; a function of its arguments alone."""
        raise NotImplementedError

    def act_on_state(self, element: Array | int, state: Any) -> Any:
        """g·s."""
        raise NotImplementedError

    def act_on_noise(self, element: Array | int, noise: Any) -> Any:
        """g·noise; the same unless said otherwise, which `paired_mismatch` then cannot cancel."""
        return noise

    def act_on_params(self, element: Array | int, params: Any) -> Any:
        """g·params, for data that transform along with the state; unchanged elsewhere."""
        return params

    def step_env(
        self, key: Key, state: Any, action: Array, params: Any
    ) -> tuple[Array, Any, Array, Array, dict[str, Array]]:
        """Draw the noise of one step and make it; info is that of `transition`."""
        state, reward, info = self.transition(state, action, self.noise(key, params), params)
        obs = self.observe(key, state, action, params)
        return obs, state, reward, self.is_terminated(state, params), info
