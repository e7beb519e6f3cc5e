"""Which actions to offer a policy: declared masks, a learned model of them, parts of both, or none.

    C(o, a) = P(action a has an effect where o is seen),   offered: C(o, a) >= τ

`Model` is a classifier with one output per action, learned beside the policy from what each taken
action did. It shares no weight with the policy and knows no reward, so it can be kept for another
task. With probability ε a step offers every action, so that a wrong mask does not confirm itself;
an action with too few labels is always offered, and so is every action where none would be left.

Source: Ardon, Pozanco, Borrajo & Ganesh (2022), Inapplicable Actions Learning for Knowledge
Transfer in Reinforcement Learning, arXiv 2211.15589. The count of labels is our addition.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxecon.algos import optimizers, shuffle
from jaxecon.envs import base
from jaxecon.envs.applicability import declares_mask, had_effect
from jaxecon.networks.policy import MLP
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, Metrics, PyTree

MODES = ("full", "partial", "learned", "none")
APPLICABILITY = 3  # folded into a step's key, so that its other draws do not depend on the mode
NUM_EPOCHS, MINIBATCH = 10, 64  # passes over a rollout's labels, and labels per gradient step
UNKNOWN = 2.0  # initial log odds: what is not known counts as applicable


@struct.dataclass
class Model:
    """What masking needs; save it to use it in another task."""

    params: PyTree
    num_labels: Array  # [A] labels seen of each action
    threshold: Array  # τ
    min_labels: Array  # labels below which an action is always offered


@struct.dataclass
class Learned:
    """The model and its optimiser."""

    model: Model
    opt_state: PyTree


class Labels(NamedTuple):
    """What steps showed about their actions; B stands for any leading axes."""

    applied: Array  # [B] bool, whether the taken action had an effect
    declared: Array | None  # [B, A] bool, what the environment says; None if nothing


class Shown(NamedTuple):
    """What M steps of a rollout showed."""

    obs: Array  # [M, ...]
    action: Array  # int32 [M]
    labels: Labels  # [M]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApplicabilityConfig:
    """Static settings that every algorithm with discrete actions has.

    Attributes:
      applicability: which actions the policy is offered: "full" what the environment declares,
        "none" all, "partial" what it declares of `known_actions` and all others, "learned" what a
        model beside the policy holds for applicable.
      known_actions: actions whose declared masks "partial" and "learned" use.
      applicability_sizes: widths of the model's hidden layers.
    """

    applicability: str = "full"
    known_actions: tuple[int, ...] = ()
    applicability_sizes: tuple[int, ...] = (64, 64)

    def __post_init__(self):
        for name in ("known_actions", "applicability_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        mode, known_actions = self.applicability, self.known_actions
        if mode not in MODES:
            raise ValueError(unknown_name("applicability", mode, MODES))
        if mode == "partial" and not known_actions:
            raise ValueError(
                'known_actions must name at least 1 action with applicability="partial", got none; '
                'use "none" to offer every action.'
            )
        if known_actions and mode not in ("partial", "learned"):
            raise ValueError(
                f'known_actions must be empty with applicability="{mode}", got {known_actions}; it '
                'belongs to "partial" and "learned".'
            )
        if any(width < 1 for width in self.applicability_sizes):
            raise ValueError(
                f"applicability_sizes must be at least 1 each, got {self.applicability_sizes}."
            )
        if any(isinstance(a, bool) or not isinstance(a, int) or a < 0 for a in known_actions):
            raise ValueError(f"known_actions must be indices from 0 on, got {known_actions}.")


@struct.dataclass
class ApplicabilityHyperparams:
    """Traced settings of the model, used by applicability="learned" alone.

    Attributes:
      applicability_rate: Adam's step size for the model; 0 freezes it.
      applicability_threshold: τ, chance of an effect below which an action is hidden.
      applicability_eps: share of steps that offer every action all the same.
      applicability_min_labels: labels of an action below which it is never hidden.
    """

    applicability_rate: Any = 3e-4
    applicability_threshold: Any = 0.2
    applicability_eps: Any = 0.25
    applicability_min_labels: Any = 50.0


def view_of(env: Any, obs: Array) -> Array:
    """What decides which actions apply, float32 rows [B, F] of observations [B, ...]."""
    view = getattr(env, "applicability_view", None)
    flat = jnp.reshape(obs, (obs.shape[0], -1)) if view is None else view(obs)
    return flat.astype(jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Chooser:
    """Masks of one environment under one mode; built inside the traced function."""

    env: Any
    env_params: Any
    mode: str
    known_actions: tuple[int, ...]
    num_actions: int
    network: MLP

    @property
    def learns(self) -> bool:
        """Whether there is a model to learn."""
        return self.mode == "learned"

    @property
    def records(self) -> bool:
        """Whether effects are worth recording: where actions without any may be taken."""
        return self.mode != "full"

    def views(self, obs: Array) -> Array:
        """What decides applicability, rows [B, F] of observations [B, ...]."""
        return view_of(self.env, obs)

    def init(self, key: Key, obs: Array, hparams: Any) -> Learned:
        """A model that holds every action for applicable."""
        params: Any = self.network.init(key, self.views(obs[:1]))["params"]
        last = f"Dense_{len(self.network.hidden_sizes)}"
        bias = jnp.full_like(params[last]["bias"], UNKNOWN)
        params = params | {last: params[last] | {"bias": bias}}
        model = _retuned(
            Model(params, jnp.zeros(self.num_actions), jnp.zeros(()), jnp.zeros(())), hparams
        )
        return Learned(model, _optimizer(hparams).init(params))

    def log_odds(self, params: PyTree, views: Array) -> Array:
        """Log odds that each action applies, [B, A], of views [B, F]."""
        outputs: Any = self.network.apply({"params": params}, views)
        return outputs

    def predict(self, model: Model, obs: Array) -> Array:
        """Actions that the model offers, bool [B, A]; it may offer none."""
        chance = jax.nn.sigmoid(self.log_odds(model.params, self.views(obs)))
        return (chance >= model.threshold) | (model.num_labels < model.min_labels)[None, :]

    def mask(
        self,
        model: Model | None,
        obs: Array,
        declared: Array | None,
        ignores: Array | None = None,
    ) -> Array | None:
        """Actions to offer, bool [B, A] with at least one each; None offers all.

        Args:
          model: what was learned; used by "learned" alone.
          obs: [B, ...].
          declared: [B, A] the environment's mask, or None.
          ignores: [B] whether to offer all that the model alone would hide; None is nowhere.
        """
        if self.mode in ("full", "none"):
            return declared if self.mode == "full" else None
        known = jnp.asarray(np.isin(np.arange(self.num_actions), self.known_actions))[None, :]
        allowed = jnp.ones((obs.shape[0], self.num_actions), bool)
        if self.known_actions and declared is not None:
            allowed = declared | ~known
        if self.mode == "partial" or model is None:
            return allowed
        offered = self.predict(model, obs)
        offered |= known if ignores is None else known | ignores[:, None]
        offered &= allowed
        return jnp.where(jnp.any(offered, axis=1, keepdims=True), offered, allowed)

    def label(self, keys: Key, state: PyTree, action: Array, after: PyTree) -> Labels:
        """What a step of B environments showed."""
        applied = jax.vmap(had_effect, (0, None, None, 0, 0, 0))(
            keys, self.env, self.env_params, state, action, after
        )
        return Labels(applied, declared_mask(self.env, self.env_params, state))


def declared_mask(env: Any, env_params: Any, state: PyTree) -> Array | None:
    """The environment's own masks [B, A] of a batch of states, or None."""
    action_mask = getattr(env, "action_mask", None)
    return None if action_mask is None else jax.vmap(action_mask, (0, None))(state, env_params)


def make_chooser(env: Any, config: Any, env_params: Any) -> Chooser | None:
    """The masks that a configuration asks for; None where they are the environment's own.

    Raises:
      ValueError: the environment has several agents or actions that are not one discrete choice,
        a known action that does not exist, or known actions without a mask to know them by.
    """
    if config.applicability == "full":
        return None
    space = env.action_space(env_params)
    if getattr(env, "num_agents", None) is not None or not isinstance(space, base.Discrete):
        raise ValueError(
            f'applicability must be "full" unless one agent chooses among discrete actions, got '
            f'"{config.applicability}" for {space!r}.'
        )
    num_actions = int(space.n)
    if any(action >= num_actions for action in config.known_actions):
        raise ValueError(
            f"known_actions must be below the number of actions, {num_actions}, "
            f"got {config.known_actions}."
        )
    if config.known_actions and not declares_mask(env, env_params):
        raise ValueError(
            f"known_actions must be empty for {env.name}, got {config.known_actions}: it declares "
            "no mask, so none is known."
        )
    network = MLP(tuple(config.applicability_sizes), num_actions, "relu", 0.01)
    return Chooser(
        env, env_params, config.applicability, tuple(config.known_actions), num_actions, network
    )


def _optimizer(hparams: Any) -> optax.GradientTransformation:
    return optimizers.flat_adam(hparams.applicability_rate, max_grad_norm=0.5)


def _retuned(model: Model, hparams: Any) -> Model:
    """The model with the thresholds that the hyperparameters give now."""
    as_float = lambda x: jnp.asarray(x, jnp.float32)
    return dataclasses.replace(
        model,
        threshold=as_float(hparams.applicability_threshold),
        min_labels=as_float(hparams.applicability_min_labels),
    )


def balanced_weights(applied: Array) -> Array:
    """Weights [M] that give both classes the same total, and M together; M/2 if one is missing."""
    size = jnp.asarray(applied.shape[0], jnp.float32)
    yes = applied.astype(jnp.float32).sum()
    return jnp.where(
        applied, 0.5 * size / jnp.maximum(yes, 1.0), 0.5 * size / jnp.maximum(size - yes, 1.0)
    )


def classifier_loss(
    params: PyTree, views: Array, action: Array, applied: Array, weight: Array, chooser: Chooser
) -> Array:
    """Weighted mean cross-entropy of the taken actions' labels, ().

    Args:
      params: the model's weights.
      views: [M, F].
      action: int32 [M].
      applied: bool [M].
      weight: [M].
      chooser: whose network it is.
    """
    log_odds = chooser.log_odds(params, views)
    chosen = jax.nn.one_hot(action, chooser.num_actions, dtype=log_odds.dtype)
    taken = jnp.sum(log_odds * chosen, axis=-1)
    return jnp.mean(weight * jax.nn.softplus(jnp.where(applied, -taken, taken)))


def fit(
    key: Key,
    learned: Learned,
    shown: Shown,
    chooser: Chooser,
    hparams: Any,
) -> tuple[Learned, Metrics]:
    """Learn from M steps of one rollout; the model before it is what the metrics judge.

    Args:
      key: PRNG key of the order of samples.
      learned: the model and its optimiser.
      shown: M steps.
      chooser: the environment's masks.
      hparams: with `applicability_rate`; 0 leaves the weights as they are.
    """
    applied, size = shown.labels.applied, shown.action.shape[0]
    samples = (chooser.views(shown.obs), shown.action, applied, balanced_weights(applied))
    keys = jax.random.split(key, NUM_EPOCHS)
    order = jax.vmap(lambda key: shuffle.permutation(key, size, "bijection"))(keys)
    minibatches = jnp.reshape(order, (NUM_EPOCHS * _num_minibatches(size), -1))
    optimizer = _optimizer(hparams)

    def step(carry: tuple, index: Array) -> tuple:
        params, opt_state = carry
        batch = jax.tree.map(lambda x: x[index], samples)
        loss, gradient = jax.value_and_grad(classifier_loss)(params, *batch, chooser)
        return optimizers.descend(optimizer, gradient, opt_state, params), loss

    loss: Array
    carry = (learned.model.params, learned.opt_state)
    (params, opt_state), loss = jax.lax.scan(step, carry, minibatches)
    metrics = {"applicability_loss": loss.mean()} | _errors(learned.model, shown, chooser)
    counts = jax.nn.one_hot(shown.action, chooser.num_actions, dtype=jnp.float32).sum(axis=0)
    num_labels = learned.model.num_labels + counts
    model = dataclasses.replace(learned.model, params=params, num_labels=num_labels)
    return Learned(_retuned(model, hparams), opt_state), metrics


def _num_minibatches(size: int) -> int:
    """Number of equal minibatches of at least `MINIBATCH` labels each, if there are as many."""
    most = max(size // MINIBATCH, 1)
    return next(number for number in range(most, 0, -1) if size % number == 0)


def learn_from(
    key: Key,
    learned: Learned | None,
    shown: Shown,
    chooser: Chooser,
    hparams: Any,
) -> tuple[Learned | None, Metrics]:
    """What an algorithm does with the labels of a rollout: report them, and fit a model if any.

    Returns:
      The new model and the metrics `inapplicable_share` (of steps whose action did nothing) and,
      with a model, `applicability_loss` and, where the environment declares masks,
      `false_inapplicable` (share of applicable actions that the model hides, the harmful error) and
      `false_applicable` (share of the others that it offers), over the states visited.
    """
    metrics = {"inapplicable_share": (~shown.labels.applied).astype(jnp.float32).mean()}
    if learned is None:
        return None, metrics
    learned, more = fit(key, learned, shown, chooser, hparams)
    return learned, metrics | more


def _errors(model: Model, shown: Shown, chooser: Chooser) -> Metrics:
    """Shares of applicable actions hidden, and of inapplicable ones offered, where visited."""
    declared = shown.labels.declared
    if declared is None:
        return {}
    offered = chooser.predict(model, shown.obs)
    share = lambda wrong, among: wrong.sum() / jnp.maximum(among.sum(), 1)
    return {
        "false_inapplicable": share(~offered & declared, declared),
        "false_applicable": share(offered & ~declared, ~declared),
    }
