"""Affine forms: numbers known up to a remainder, and the functions of networks on them.

    x = mid + Σ_k slope_k ε_k ± rad,   ε_k in [-1, 1]

Each rule has the signature of the primitive operation it stands for and takes arrays, which are
known exactly, or forms. Its result holds whatever the ε are. Where a function is curved, the
remainder grows with the square of the reach. What is infinite or nan says that nothing is known.

Sources: de Figueiredo & Stolfi (2004), Affine Arithmetic: Concepts and Applications, Numerical
Algorithms 37; Singh et al. (2018), Fast and Effective Robustness Certification, NeurIPS, for max.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array


class Form(NamedTuple):
    """Numbers known up to a remainder; see the module's first lines.

    Attributes:
      mid: [...].
      slope: [D, ...], for the D numbers of the input.
      rad: [...], >= 0.
    """

    mid: Array
    slope: Array
    rad: Array

    @property
    def reach(self) -> Array:
        """[...] largest distance from mid."""
        return jnp.sum(jnp.abs(self.slope), 0) + self.rad

    @property
    def lower(self) -> Array:
        """[...] lower bound."""
        return self.mid - self.reach

    @property
    def upper(self) -> Array:
        """[...] upper bound."""
        return self.mid + self.reach


class Truth(NamedTuple):
    """Bools, as far as they are known: False < True.

    Attributes:
      lower: [...] whether certainly true.
      upper: [...] whether possibly true.
      size: D, for the forms that depend on it.
    """

    lower: Array
    upper: Array
    size: int


def no_rule(name: str) -> str:
    """Error text for an operation that nothing is known of."""
    return (
        f"No bounds are known for the operation {name!r}, only for those of networks. Measure "
        "other mechanisms with `exploitability` or `exhaustive_exploitability`."
    )


def num_noises(operands: Any) -> int:
    """D, from operands that are not all constant."""
    known = next(x for x in operands if isinstance(x, Form | Truth))
    return known.size if isinstance(known, Truth) else known.slope.shape[0]


def as_form(x: Any, size: int) -> Form:
    """A constant as a form."""
    if isinstance(x, Form):
        return x
    return Form(x, jnp.zeros((size, *jnp.shape(x)), x.dtype), jnp.zeros_like(x))


def as_forms(*operands: Any) -> list[Form]:
    """Constants and forms, of which there is one at least, as forms."""
    return [as_form(x, num_noises(operands)) for x in operands]


def between(lower: Array, upper: Array, size: int) -> Form:
    """What is only known to lie between two bounds."""
    mid = 0.5 * (lower + upper)
    return Form(mid, jnp.zeros((size, *mid.shape), mid.dtype), 0.5 * (upper - lower))


def _scale(x: Form, factor: Array) -> Form:
    return Form(x.mid * factor, x.slope * factor[None], x.rad * jnp.abs(factor))


def _add(x: Form, y: Form) -> Form:
    return Form(x.mid + y.mid, x.slope + y.slope, x.rad + y.rad)


def _negate(x: Form, **_: Any) -> Form:
    return Form(-x.mid, -x.slope, x.rad)


def _subtract(x: Any, y: Any, **_: Any) -> Form:
    one, other = as_forms(x, y)
    return _add(one, _negate(other))


def _multiply(x: Any, y: Any, **_: Any) -> Form:
    if not isinstance(x, Form):
        return _scale(y, jnp.asarray(x))
    if not isinstance(y, Form):
        return _scale(x, jnp.asarray(y))
    slope = x.mid[None] * y.slope + y.mid[None] * x.slope
    rad = jnp.abs(x.mid) * y.rad + jnp.abs(y.mid) * x.rad + x.reach * y.reach
    return Form(x.mid * y.mid, slope, rad)


def _product(x: Any, y: Any, **params: Any) -> Form:
    """Sums of products."""
    dot = lambda a, b: jax.lax.dot_general_p.bind(a, b, **params)
    one, other = as_forms(x, y)
    slope = jnp.zeros((), one.mid.dtype)
    rad = jnp.zeros((), one.mid.dtype)
    if isinstance(x, Form):
        slope = slope + jax.vmap(dot, (0, None))(one.slope, other.mid)
        rad = rad + dot(one.rad, jnp.abs(other.mid))
    if isinstance(y, Form):
        slope = slope + jax.vmap(dot, (None, 0))(one.mid, other.slope)
        rad = rad + dot(jnp.abs(one.mid), other.rad)
    if isinstance(x, Form) and isinstance(y, Form):
        rad = rad + dot(one.reach, other.reach)
    return Form(dot(one.mid, other.mid), slope, rad)


def _smooth(
    x: Form,
    function: Callable[[Array], Array],
    parallel: Callable[[Array], Array],
    low: Array | None = None,
) -> Form:
    """A monotone function as the chord over the operand's range, and how far it leaves that.

    Args:
      x: operand.
      function: elementwise f, convex or concave, or odd and concave above 0.
      parallel: takes a slope to a point where f has it; for an odd f also at minus that point.
      low: what is known to be a lower bound of the operand, besides its own.
    """
    low = x.lower if low is None else jnp.maximum(x.lower, low)
    high = x.upper
    ends = function(low), function(high)
    is_wide = high > low
    tangent = jax.jvp(function, (x.mid,), (jnp.ones_like(x.mid),))[1]
    slope = jnp.where(is_wide, (ends[1] - ends[0]) / jnp.where(is_wide, high - low, 1.0), tangent)
    point = parallel(slope)
    places = [low, high, jnp.clip(point, low, high), jnp.clip(-point, low, high)]
    leaves = jnp.stack([function(place) - slope * place for place in places])  # extremes of f - sx
    least, most = jnp.min(leaves, 0), jnp.max(leaves, 0)
    rad = jnp.abs(slope) * x.rad + 0.5 * (most - least)
    spread = 0.5 * jnp.abs(ends[1] - ends[0])
    chord = Form(slope * x.mid + 0.5 * (least + most), slope[None] * x.slope, rad)
    return _where(rad <= spread, chord, between(*ends, num_noises([x]))._replace(rad=spread))


def _where(condition: Array, x: Form, y: Form) -> Form:
    return Form(
        jnp.where(condition, x.mid, y.mid),
        jnp.where(condition[None], x.slope, y.slope),
        jnp.where(condition, x.rad, y.rad),
    )


def _tanh(x: Form, **_: Any) -> Form:
    return _smooth(x, jnp.tanh, lambda s: jnp.arctanh(jnp.sqrt(jnp.clip(1.0 - s, 0.0, 1.0))))


def _logistic(x: Form, **_: Any) -> Form:
    half = _tanh(_scale(x, jnp.full_like(x.mid, 0.5)))
    return Form(0.5 + 0.5 * half.mid, 0.5 * half.slope, 0.5 * half.rad)


def _exp(x: Form, **_: Any) -> Form:
    return _smooth(x, jnp.exp, jnp.log)


def _log(x: Form, **_: Any) -> Form:
    return _smooth(x, jnp.log, lambda s: 1.0 / s)


def _sqrt(x: Form, **_: Any) -> Form:
    return _smooth(x, jnp.sqrt, lambda s: 0.25 / s**2)


def _erf(x: Form, **_: Any) -> Form:
    scale = 0.5 * jnp.pi**0.5
    point = lambda s: jnp.sqrt(jnp.maximum(-jnp.log(scale * s), 0.0))
    return _smooth(x, jax.scipy.special.erf, point)


def _reciprocal(x: Form, low: Array | None = None) -> Form:
    """1/x; nothing is known where x may be 0.

    Args:
      x: operand.
      low: what is known to be a lower bound of it, if anything besides.
    """
    least = x.lower if low is None else jnp.maximum(x.lower, low)
    is_apart = (least > 0.0) | (x.upper < 0.0)
    result = _smooth(x, lambda y: 1.0 / y, lambda s: jnp.sqrt(-1.0 / s), low)
    return result._replace(rad=jnp.where(is_apart, result.rad, jnp.inf))


def _divide(x: Any, y: Any, **_: Any) -> Form:
    return _multiply(x, _reciprocal(y) if isinstance(y, Form) else 1.0 / y)


def _integer_power(x: Form, *, y: int, **_: Any) -> Form:
    if y < 0:
        return _reciprocal(_integer_power(x, y=-y))
    if y == 0:
        return as_form(jnp.ones_like(x.mid), num_noises([x]))
    return functools.reduce(_multiply, [x] * (y - 1), x)


def _maximum(x: Any, y: Any, **_: Any) -> Form:
    """λ x + (1 - λ) y and a remainder that is 0 where one operand is always the larger."""
    one, other = as_forms(x, y)
    difference = _subtract(x, y)
    low, high = difference.lower, difference.upper
    is_open = (low < 0.0) & (high > 0.0)
    share = high / jnp.where(is_open, high - low, 1.0)
    excess = -0.5 * low * share
    mixed = _add(_scale(one, share), _scale(other, 1.0 - share))
    mixed = mixed._replace(mid=mixed.mid + excess, rad=mixed.rad + excess)
    return _where(low >= 0.0, one, _where(high <= 0.0, other, mixed))


def _minimum(x: Any, y: Any, **_: Any) -> Form:
    return _negate(_maximum(*map(_negate, as_forms(x, y))))


def _clamp(low: Any, x: Any, high: Any, **_: Any) -> Form:
    like = next(each for each in (low, x, high) if isinstance(each, Form))
    spread = lambda end: end if isinstance(end, Form) else jnp.broadcast_to(end, like.mid.shape)
    return _minimum(_maximum(x, spread(low)), spread(high))


def _absolute(x: Form, **_: Any) -> Form:
    return _maximum(x, _negate(x))


def _shift(x: Form, constant: float) -> Form:
    return x._replace(mid=x.mid + constant)


def _power(x: Any, y: Any, **_: Any) -> Form:
    """x^y for x > 0."""
    log_x = _log(x) if isinstance(x, Form) else jnp.log(x)
    return _exp(_multiply(log_x, y))


def _convert(x: Any, *, new_dtype: Any, **_: Any) -> Form:
    if not jnp.issubdtype(new_dtype, jnp.floating):
        raise NotImplementedError(no_rule("convert_element_type"))
    if isinstance(x, Truth):
        return between(x.lower.astype(new_dtype), x.upper.astype(new_dtype), x.size)
    return Form(*(part.astype(new_dtype) for part in x))


def _sign_of(x: Any, y: Any) -> tuple[Form, int]:
    """x - y, and D."""
    return _subtract(x, y), num_noises((x, y))


def _less(x: Any, y: Any, **_: Any) -> Truth:
    difference, size = _sign_of(x, y)
    return Truth(difference.upper < 0.0, ~(difference.lower >= 0.0), size)


def _at_most(x: Any, y: Any, **_: Any) -> Truth:
    difference, size = _sign_of(x, y)
    return Truth(difference.upper <= 0.0, ~(difference.lower > 0.0), size)


def _equal(x: Any, y: Any, **_: Any) -> Truth:
    difference, size = _sign_of(x, y)
    may_be = ~((difference.lower > 0.0) | (difference.upper < 0.0))
    return Truth(may_be & (difference.reach == 0.0), may_be, size)


def _is_finite(x: Form, **_: Any) -> Truth:
    certain = jnp.isfinite(x.lower) & jnp.isfinite(x.upper)
    return Truth(certain, jnp.ones_like(certain), num_noises([x]))


def _not(x: Truth, **_: Any) -> Truth:
    return Truth(~x.upper, ~x.lower, x.size)


def _select(which: Any, *cases: Any, **_: Any) -> Any:
    """The chosen case, or all that the cases may be where the choice is open."""
    size = num_noises((which, *cases))
    forms = [as_form(case, size) for case in cases]
    certain = which.lower if isinstance(which, Truth) else which
    certain = jnp.broadcast_to(certain, forms[0].mid.shape)
    pick = lambda *parts: jax.lax.select_n(certain, *parts)
    slope = jax.vmap(pick)(*(form.slope for form in forms))
    chosen = Form(pick(*(form.mid for form in forms)), slope, pick(*(form.rad for form in forms)))
    if not isinstance(which, Truth):
        return chosen
    lowest = jnp.min(jnp.stack([form.lower for form in forms]), 0)
    highest = jnp.max(jnp.stack([form.upper for form in forms]), 0)
    hull = between(lowest, highest, size)
    is_open = which.lower != which.upper
    return jax.tree.map(functools.partial(jnp.where, is_open), hull, chosen)


def softmax(z: Form, axis: int) -> Form:
    """1 / Σ_j exp(z_j - z_i): differences know what their terms have in common."""
    mid, rad = (jnp.moveaxis(part, axis, 0) for part in (z.mid, z.rad))
    slope = jnp.moveaxis(z.slope, axis + 1, 1)
    is_same = jnp.reshape(jnp.eye(len(mid), dtype=bool), (len(mid),) * 2 + (1,) * (mid.ndim - 1))
    difference = Form(
        mid[None, :] - mid[:, None],
        slope[:, None, :] - slope[:, :, None],
        jnp.where(is_same, 0.0, rad[None, :] + rad[:, None]),
    )
    terms = _exp(difference)
    total = Form(terms.mid.sum(1), terms.slope.sum(2), terms.rad.sum(1))
    share = _reciprocal(total, low=jnp.exp(difference.lower).sum(1))
    return Form(
        jnp.moveaxis(share.mid, 0, axis),
        jnp.moveaxis(share.slope, 1, axis + 1),
        jnp.moveaxis(share.rad, 0, axis),
    )


RULES: dict[str, Callable[..., Any]] = {
    "abs": _absolute,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "div": _divide,
    "dot_general": _product,
    "eq": _equal,
    "erf": _erf,
    "erfc": lambda x, **_: _shift(_negate(_erf(x)), 1.0),
    "exp": _exp,
    "exp2": lambda x, **_: _exp(_scale(x, jnp.full_like(x.mid, jnp.log(2.0)))),
    "expm1": lambda x, **_: _shift(_exp(x), -1.0),
    "ge": lambda x, y, **_: _at_most(y, x),
    "gt": lambda x, y, **_: _less(y, x),
    "integer_pow": _integer_power,
    "is_finite": _is_finite,
    "le": _at_most,
    "log": _log,
    "log1p": lambda x, **_: _log(_shift(x, 1.0)),
    "logistic": _logistic,
    "lt": _less,
    "max": _maximum,
    "min": _minimum,
    "mul": _multiply,
    "ne": lambda x, y, **_: _not(_equal(x, y)),
    "neg": _negate,
    "not": _not,
    "pow": _power,
    "rsqrt": lambda x, **_: _reciprocal(_sqrt(x)),
    "select_n": _select,
    "sqrt": _sqrt,
    "square": lambda x, **_: _multiply(x, x),
    "sub": _subtract,
    "tanh": _tanh,
}
