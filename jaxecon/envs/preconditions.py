"""Preconditions of actions as formulas over named features of the state, compiled to a mask.

    Preconditions({"hold": "True", "sell": "has_stock & ~halted"}).mask(features)

In the spirit of STRIPS, but with any formula of "&", "|", "~" and brackets instead of a list of
literals. A formula is read once, when its `Preconditions` are made; under `jit` it becomes the
boolean operations themselves.

Source: Fikes & Nilsson (1971), STRIPS: A New Approach to the Application of Theorem Proving to
Problem Solving, Artificial Intelligence 2.
"""

import ast
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxecon.suggest import unknown_name
from jaxecon.types import Array


class Preconditions:
    """When each of A actions applies.

    Args:
      formulas: formula of each action by its name, in the order of the actions.
      features: names that a formula may use; None allows any, and `mask` then asks for them.

    Raises:
      ValueError: a formula does not parse, uses something other than names, "True", "False", "&",
        "|", "~" and brackets, or names an unknown feature.
    """

    def __init__(self, formulas: Mapping[str, str], features: tuple[str, ...] | None = None):
        if not formulas:
            raise ValueError("formulas must name at least 1 action, got none.")
        self.formulas = dict(formulas)
        self._trees = {action: _parse(action, text) for action, text in formulas.items()}
        if features is not None:
            for action, tree in self._trees.items():
                _require_features(action, tree, features)

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions, [A]."""
        return tuple(self.formulas)

    def mask(self, features: Mapping[str, Array]) -> Array:
        """Which actions apply, bool [..., A].

        Args:
          features: bool arrays of one shape [...] by name.

        Raises:
          ValueError: a formula names a feature that is not given.
        """
        for action, tree in self._trees.items():
            _require_features(action, tree, features)
        columns = [_evaluate(tree, features) for tree in self._trees.values()]
        shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in features.values()))
        return jnp.stack([jnp.broadcast_to(column, shape) for column in columns], axis=-1)


def _parse(action: str, text: str) -> ast.expr:
    """Syntax tree of a formula; ValueError names the action and what the formula may hold."""
    allowed = 'names, "True", "False", "&", "|", "~" and brackets'
    if not isinstance(text, str):
        raise ValueError(
            f"The precondition of {action!r} must be a formula in a string, got {text!r}."
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(
            f"The precondition of {action!r} must be a formula of {allowed}, got {text!r}."
        ) from error
    if not _is_formula(tree):
        raise ValueError(f"The precondition of {action!r} may use {allowed} alone, got {text!r}.")
    return tree


def _is_formula(tree: ast.AST) -> bool:
    """Whether every node of a syntax tree is one that `_evaluate` knows."""
    if isinstance(tree, ast.BinOp):
        is_known = isinstance(tree.op, ast.BitAnd | ast.BitOr)
        return is_known and _is_formula(tree.left) and _is_formula(tree.right)
    if isinstance(tree, ast.UnaryOp):
        return isinstance(tree.op, ast.Invert) and _is_formula(tree.operand)
    return isinstance(tree, ast.Name) or (
        isinstance(tree, ast.Constant) and isinstance(tree.value, bool)
    )


def _evaluate(tree: Any, features: Mapping[str, Array]) -> Array:
    """Truth of a formula for features [...]."""
    if isinstance(tree, ast.Name):
        return jnp.asarray(features[tree.id], bool)
    if isinstance(tree, ast.Constant):
        return jnp.asarray(tree.value, bool)
    if isinstance(tree, ast.UnaryOp):
        return ~_evaluate(tree.operand, features)
    left, right = _evaluate(tree.left, features), _evaluate(tree.right, features)
    return left & right if isinstance(tree.op, ast.BitAnd) else left | right


def _require_features(action: str, tree: ast.AST, features: Any) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in features:
            kind = f"feature in the precondition of {action!r}:"
            raise ValueError(unknown_name(kind, node.id, features))
