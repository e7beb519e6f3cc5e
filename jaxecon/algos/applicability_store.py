"""Models of applicability in other tasks: save, load, and start a training run from one.

save_applicability(path, state.applicability.model, env, env_params)
model = load_applicability(path, other, other_params)
algorithm = reuse_applicability(make_ppo(other, config), model)
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.algos.applicability import Learned, Model, view_of
from jaxecon.types import Key, PyTree


def reuse_applicability(algorithm: Any, model: Model, *, trusted: bool = False) -> Any:
    """The algorithm, starting from a model of applicability learned elsewhere.

    Its weights go on learning at `applicability_rate`; 0 freezes them.

    Args:
      algorithm: made with applicability="learned" for an environment with the same actions.
      model: as `load_applicability` gives it.
      trusted: whether its counts of labels hold here too. Otherwise an action is hidden only after
        `applicability_min_labels` labels of the new task.

    Raises:
      ValueError: when the algorithm starts, if it does not learn a model, or one of other actions
        or layers.
    """

    def init(key: Key, env_params: Any, hparams: Any) -> PyTree:
        state = algorithm.init(key, env_params, hparams)
        own = state.applicability
        if own is None:
            raise ValueError(
                'algorithm must be made with applicability="learned" to reuse a model.'
            )
        _require_same_shapes(model, own.model)
        counts = model.num_labels if trusted else own.model.num_labels
        kept = own.model.replace(params=model.params, num_labels=counts)
        return state.replace(applicability=Learned(kept, own.opt_state))

    return algorithm._replace(init=init)


def _require_same_shapes(model: Model, own: Model) -> None:
    """Raise ValueError unless a model judges as many actions by the same layers."""
    sizes = lambda m: jax.tree.map(jnp.shape, m.params)
    judged, wanted = model.num_labels.shape[0], own.num_labels.shape[0]
    if judged != wanted:
        raise ValueError(
            f"model must judge the {wanted} actions of this environment, got one of {judged}; "
            "train a new model, or use an environment with the same actions."
        )
    if sizes(model) != sizes(own):
        raise ValueError(
            f"model must have the layers {sizes(own)}, got {sizes(model)}; set applicability_sizes "
            "as they were when it was learned, and use an environment with the same observations."
        )


def _action_names(env: Any, env_params: Any) -> list[str]:
    """Names of the actions, or their numbers where the environment has none."""
    names = getattr(env, "action_names", None)
    return [str(i) for i in range(env.action_space(env_params).n)] if names is None else [*names]


def save_applicability(path: str | os.PathLike, model: Model, env: Any, env_params: Any) -> None:
    """Write a model, with the names of the actions that it judges, as one .npz file."""
    layers = {
        f"{layer}/{name}": x for layer, part in model.params.items() for name, x in part.items()
    }
    rest = {"num_labels": model.num_labels, "threshold": model.threshold}
    with open(path, "wb") as file:  # a file object keeps NumPy from renaming it
        np.savez(
            file,
            action_names=np.array(_action_names(env, env_params)),
            min_labels=model.min_labels,
            **jax.tree.map(np.asarray, layers | rest),
        )


def load_applicability(path: str | os.PathLike, env: Any, env_params: Any) -> Model:
    """A saved model, for an environment with the same actions and the same view of them.

    Raises:
      ValueError: the file holds something else, the model judges other actions, or it sees
        observations of another size.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    missing = {"action_names", "num_labels", "threshold", "min_labels"} - set(arrays)
    if missing:
        raise ValueError(
            f"{path} must hold a model that save_applicability wrote, got a file without "
            f"{', '.join(sorted(missing))}."
        )
    saved, wanted = arrays.pop("action_names").tolist(), _action_names(env, env_params)
    if saved != wanted:
        raise ValueError(
            f"{path} must hold a model of the actions {wanted}, got one of {saved}; train a new "
            "model, or use an environment with the same actions."
        )
    rest = {
        name: jnp.asarray(arrays.pop(name)) for name in ("num_labels", "threshold", "min_labels")
    }
    params: dict = {}
    for name, value in arrays.items():
        layer, _, leaf = name.partition("/")
        params.setdefault(layer, {})[leaf] = jnp.asarray(value)
    space = env.observation_space(env_params)
    example = jax.eval_shape(lambda: view_of(env, jnp.zeros((1, *space.shape), space.dtype)))
    if params["Dense_0"]["kernel"].shape[0] != example.shape[-1]:
        raise ValueError(
            f"{path} must hold a model of {example.shape[-1]} inputs for {env}, "
            f"got one of {params['Dense_0']['kernel'].shape[0]}."
        )
    return Model(params, **rest)
