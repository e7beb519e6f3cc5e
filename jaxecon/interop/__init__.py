"""jaxecon environments in the hands of trainers written for Gymnasium.

Algorithms and wrappers for gymnax need nothing from here: every jaxecon environment is a gymnax
environment.
"""

from jaxecon.interop.register import register_gymnasium
from jaxecon.interop.single import GymnasiumEnv, to_gymnasium
from jaxecon.interop.spaces import to_gymnasium_space
from jaxecon.interop.vector import GymnasiumVectorEnv, to_gymnasium_vector

__all__ = [
    "GymnasiumEnv",
    "GymnasiumVectorEnv",
    "register_gymnasium",
    "to_gymnasium",
    "to_gymnasium_space",
    "to_gymnasium_vector",
]
