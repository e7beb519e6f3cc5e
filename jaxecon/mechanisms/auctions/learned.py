"""Auctions with parameters: RegretNet, its exchangeable form, and RochetNet.

All of them keep the supply and never charge more than the reported value of what a bidder gets,
whatever their parameters are. RochetNet is truthful by construction. The others become nearly so
by training, so that their revenue says little without an upper bound on the regret.

Source: Dütting, Feng, Narasimhan, Parkes & Ravindranath (2019), Optimal Auctions through Deep
Learning, ICML.
"""

import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.auctions.checks import bids_of, require_count
from jaxecon.mechanisms.auctions.menus import Menu, choose
from jaxecon.mechanisms.base import AuctionTypes, Mechanism, Outcome, cast_like
from jaxecon.mechanisms.trunk import (
    DenseLayer,
    TableLayer,
    apply_dense,
    apply_trunk,
    init_dense,
    init_trunk,
)
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, PyTree

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "silu": jax.nn.silu}


class RegretNetParams(NamedTuple):
    """Layers of the two networks of a `RegretNet`."""

    allocation: tuple[DenseLayer, ...]
    payment: tuple[DenseLayer, ...]


class ExchangeableParams(NamedTuple):
    """Parameters of an `ExchangeableRegretNet`: a trunk, and what is read off it."""

    trunk: tuple[TableLayer, ...]
    pair: DenseLayer  # two logits per bidder and item: of the item and of the bidder
    item: DenseLayer  # logit per item of selling it to nobody
    bidder: DenseLayer  # logit per bidder of getting nothing, and of the payment


class RochetNetParams(NamedTuple):
    """Parameters of a `RochetNet`.

    Attributes:
      logits: [K, M] of each item, or [K, M + 1] with nothing as the last, for unit demand.
      prices: [K] money over the mechanism's scale.
    """

    logits: Array
    prices: Array


@dataclasses.dataclass(frozen=True)
class RegretNet(Mechanism):
    """Two networks: who gets what, and which share of its value each bidder pays.

        additive:     g_·m = softmax over N bidders and nobody
        unit demand:  g = min(softmax over bidders and nobody, softmax over items and nothing)
        p_i = sigmoid(net_i) · Σ_m b_im g_im

    Attributes:
      hidden_sizes: widths of the hidden layers of each network.
      activation: "tanh", "relu" or "silu".
      scale: a typical high value of an item [money]; bids are divided by it.
    """

    hidden_sizes: tuple[int, ...] = (100, 100)
    activation: str = "tanh"
    scale: float = 1.0

    def __post_init__(self):
        for size in self.hidden_sizes:
            require_count("hidden_sizes", size)
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown_name("activation", self.activation, ACTIVATIONS))
        _check_scale(self.scale)

    def init(self, key: Key, types: AuctionTypes) -> RegretNetParams:
        """Fresh parameters for this many bidders and items, and this kind of demand."""
        num_bidders, num_items = types.valuations.shape[-2:]
        num_logits = (num_bidders + 1) * num_items
        if types.unit_demand:
            num_logits += num_bidders * (num_items + 1)
        key_allocation, key_payment = jax.random.split(key)
        num_bids = num_bidders * num_items
        return RegretNetParams(
            self._init_layers(key_allocation, num_bids, num_logits),
            self._init_layers(key_payment, num_bids, num_bidders),
        )

    def _init_layers(self, key: Key, num_inputs: int, num_outputs: int) -> tuple[DenseLayer, ...]:
        widths = (num_inputs, *self.hidden_sizes, num_outputs)
        keys = jax.random.split(key, len(widths) - 1)
        pairs = itertools.pairwise(widths)
        return tuple(init_dense(key, *pair) for key, pair in zip(keys, pairs, strict=True))

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M] and payment [..., N]; there is nothing to smooth."""
        params, bids = cast_like(params, reports), bids_of(reports, unit_demand=True)
        *leading, num_bidders, num_items = bids.shape
        flat = jnp.reshape(_centred(bids, self.scale), (*leading, num_bidders * num_items))
        logits = self._apply(params.allocation, flat)
        table_size = (num_bidders + 1) * num_items
        item_logits = jnp.reshape(logits[..., :table_size], (*leading, num_bidders + 1, num_items))
        bidder_logits = None
        if reports.unit_demand:
            shape = (*leading, num_bidders, num_items + 1)
            bidder_logits = jnp.reshape(logits[..., table_size:], shape)
        allocation = _allocate(item_logits, bidder_logits)
        return _charge(bids, allocation, self._apply(params.payment, flat))

    def _apply(self, layers: tuple[DenseLayer, ...], x: Array) -> Array:
        for layer in layers[:-1]:
            x = ACTIVATIONS[self.activation](apply_dense(layer, x))
        return apply_dense(layers[-1], x)


@dataclasses.dataclass(frozen=True)
class ExchangeableRegretNet(Mechanism):
    """`RegretNet` on a trunk that does not care how bidders and items are numbered.

    The trunk reads the table of bids, and its parameters fit any number of bidders and items. It
    has one network for allocation and payments together.

    Attributes:
      width: features per bidder and item.
      depth: residual layers.
      scale: a typical high value of an item [money]; bids are divided by it.

    Source: Rahme, Jelassi, Bruna & Weinberg (2021), A Permutation-Equivariant Neural Network
    Architecture for Auction Design, AAAI, for the idea.
    """

    width: int = 32
    depth: int = 2
    scale: float = 1.0

    def __post_init__(self):
        require_count("width", self.width)
        require_count("depth", self.depth)
        _check_scale(self.scale)

    def init(self, key: Key, types: Any = None) -> ExchangeableParams:
        """Fresh parameters; they fit any number of bidders and items."""
        key_trunk, key_pair, key_item, key_bidder = jax.random.split(key, 4)
        return ExchangeableParams(
            init_trunk(key_trunk, 1, self.width, self.depth),
            init_dense(key_pair, self.width, 2),
            init_dense(key_item, self.width, 1),
            init_dense(key_bidder, self.width, 2),
        )

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M] and payment [..., N]; there is nothing to smooth."""
        params, bids = cast_like(params, reports), bids_of(reports, unit_demand=True)
        hidden = apply_trunk(params.trunk, _centred(bids, self.scale)[..., None])
        pair = apply_dense(params.pair, hidden)  # [..., N, M, 2]
        nobody = apply_dense(params.item, hidden.mean(axis=-3))[..., 0]  # [..., M]
        bidder = apply_dense(params.bidder, hidden.mean(axis=-2))  # [..., N, 2]
        item_logits = jnp.concatenate([pair[..., 0], nobody[..., None, :]], axis=-2)
        bidder_logits = jnp.concatenate([pair[..., 1], bidder[..., :1]], axis=-1)
        allocation = _allocate(item_logits, bidder_logits if reports.unit_demand else None)
        return _charge(bids, allocation, bidder[..., 1])


@dataclasses.dataclass(frozen=True)
class RochetNet(Mechanism):
    """A learned menu for one bidder, who takes what it likes best: truthful by construction.

        w_k = sigmoid(logits_k), or softmax over items and nothing for unit demand
        k = argmax_k w_k·b - p_k,  or nothing where that is negative

    `smoothing` is the temperature of a softened choice [money], for training: without it only the
    chosen option has a gradient. None is the exact choice, the only truthful one.

    Attributes:
      num_options: K, besides taking nothing.
      scale: a typical high value of an item [money]; prices are learned in units of it.
    """

    num_options: int = 100
    scale: float = 1.0

    num_bidders: ClassVar[int] = 1

    @property
    def is_truthful(self) -> bool:
        """True: a report changes neither the options nor their prices."""
        return True

    def __post_init__(self):
        require_count("num_options", self.num_options)
        _check_scale(self.scale)

    def init(self, key: Key, types: AuctionTypes) -> RochetNetParams:
        """Random options for types of this many items, each priced between 0 and its value."""
        key_logits, key_prices = jax.random.split(key)
        num_bidders, num_items = types.valuations.shape[-2:]
        if num_bidders != 1:
            raise ValueError(f"RochetNet must face 1 bidder, got {num_bidders}; use RegretNet.")
        size = (self.num_options, num_items + types.unit_demand)
        logits = 2.0 * jax.random.normal(key_logits, size)
        value = jnp.sum(_probabilities(logits, types.unit_demand), axis=-1)
        return RochetNetParams(logits, value * jax.random.uniform(key_prices, value.shape))

    def menu(self, params: RochetNetParams, *, unit_demand: bool = False) -> Menu:
        """The options and their prices [money]."""
        prices = params.prices * jnp.asarray(self.scale, params.prices.dtype)
        return Menu(_probabilities(params.logits, unit_demand), prices)

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., 1, M] and payment [..., 1]."""
        params, bids = cast_like(params, reports), bids_of(reports, unit_demand=True)
        menu = self.menu(params, unit_demand=reports.unit_demand)
        return choose(menu, bids, smoothing)


def _probabilities(logits: Array, unit_demand: bool) -> Array:
    """[K, M] probability of each item in each option."""
    return jax.nn.softmax(logits, axis=-1)[:, :-1] if unit_demand else jax.nn.sigmoid(logits)


def _allocate(item_logits: Array, bidder_logits: Array | None) -> Array:
    """Probabilities [..., N, M] from logits [..., N + 1, M] and, for unit demand, [..., N, M + 1].

    The smaller of two tables, one with columns and one with rows that sum to at most one, has both.
    """
    allocation = jax.nn.softmax(item_logits, axis=-2)[..., :-1, :]
    if bidder_logits is None:
        return allocation
    return jnp.minimum(allocation, jax.nn.softmax(bidder_logits, axis=-1)[..., :-1])


def _charge(bids: Array, allocation: Array, payment_logits: Array) -> Outcome:
    """Each bidder pays a share in (0, 1) of its reported value of what it gets."""
    reported_value = jnp.sum(bids * allocation, axis=-1)
    return Outcome(allocation, jax.nn.sigmoid(payment_logits) * reported_value)


def _centred(bids: Array, scale: float) -> Array:
    """Bids in [0, scale] as numbers in [-1, 1]."""
    return bids * jnp.asarray(2.0 / scale, bids.dtype) - 1.0


def _check_scale(scale: float) -> None:
    if not scale > 0.0:
        raise ValueError(f"scale must be a positive amount of money, got {scale}.")
