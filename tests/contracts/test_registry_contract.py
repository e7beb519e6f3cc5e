"""Every registry entry keeps the whole contract."""

import pytest

import jaxecon
from jaxecon.envs.registry import ENVIRONMENTS
from jaxecon.testing import check_environment


@pytest.mark.parametrize("env_id", sorted(ENVIRONMENTS))
def test_every_registry_entry_keeps_the_contract(env_id):
    env, env_params = jaxecon.make(env_id)
    check_environment(env, env_params)
