"""Ids for `gymnasium.make` and `gymnasium.make_vec`."""

import gymnasium

from jaxecon.envs.registry import list_environments


def register_gymnasium(*, include_gymnax: bool = False) -> list[str]:
    """Register every environment as "jaxecon/<id>" and return those names.

    After it, `gymnasium.make("jaxecon/Cournot-v0", num_firms=3)` and
    `gymnasium.make_vec("jaxecon/Cournot-v0", num_envs=64,
    vectorization_mode="vector_entry_point")` work in any trainer that takes an id. Names that
    Gymnasium already has are left alone, so calling it twice does no harm.

    Args:
      include_gymnax: register gymnax's own environments too.
    """
    names = []
    for env_id in list_environments(include_gymnax=include_gymnax):
        names.append(f"jaxecon/{env_id}")
        if names[-1] not in gymnasium.registry:
            gymnasium.register(
                names[-1],
                entry_point="jaxecon.interop:to_gymnasium",
                vector_entry_point="jaxecon.interop:to_gymnasium_vector",
                kwargs={"env_id_or_env": env_id},
            )
    return names
