"""Which part of a symmetry a subgroup is, in words: "keeps shifts, breaks sign".

The names are those of the groups that environments declare: shifts of assets with changes of sign,
turns and mirrors of a plane, relabellings. Elements of any other group go by their numbers.
"""

from collections.abc import Iterable

import numpy as np

from jaxecon.symmetry import FiniteGroup, Representation, SymmetrySpec
from jaxecon.symmetry.groups import cyclic, dihedral, product, symmetric, z2

MOST_LISTED = 6  # elements that a text names one by one


def kept_in_words(spec: SymmetrySpec, subgroup: Iterable[int]) -> str:
    """What a subgroup keeps of a declared symmetry and, where that is short, what it breaks.

    Args:
      spec: the symmetry; its group and action decide the words.
      subgroup: elements, the identity among them, such as the kernel of a component.
    """
    group, kept = spec.group, frozenset(subgroup)
    if len(kept) == group.order:
        return "keeps all"
    if _is_signed_shift(spec.action_rep):
        return _signed_shifts(group, kept)
    if group == cyclic(group.order):
        name = _cyclic_name(spec.action_rep)
        return _phrase({name: _powers(name, range(group.order), kept)})
    if group.order % 2 == 0 and group == dihedral(group.order // 2):
        half = group.order // 2
        turns = _powers("turns", range(half), kept)
        return _phrase({"turns": turns, "mirrors": _mirrors(half, kept)})
    if group.order in (6, 24) and group == symmetric(3 if group.order == 6 else 4):
        return _relabellings(group.order, len(kept))
    listed = sorted(kept)[:MOST_LISTED]
    rest = ", …" if len(kept) > MOST_LISTED else ""
    return f"kept: {', '.join(map(str, listed))}{rest}" if len(kept) > 1 else "keeps nothing"


def _is_signed_shift(rep: Representation) -> bool:
    """Whether coordinates are shifted around a circle and all change sign, element by element."""
    half = rep.group.order // 2
    if rep.group.order != 2 * half or half < 2 or rep.group != product(z2(), cyclic(half)):
        return False
    shifts, flipped = rep.matrices[:half], rep.matrices[half:]
    moves = np.abs(shifts[1] - shifts[0]).max() > 0.5
    return bool(moves and (shifts > -0.5).all() and np.abs(shifts + flipped).max() < 1e-6)


def _signed_shifts(group: FiniteGroup, kept: frozenset[int]) -> str:
    """Words for a subgroup of Z2 x C_N, whose element N + k is k shifts with a change of sign."""
    half = group.order // 2
    parts = {
        "sign": "sign" if half in kept else "",
        "shifts": _powers("shifts", range(half), kept),
    }
    mixed = [k for k in range(1, half) if half + k in kept]
    if half in kept or not mixed:
        return _phrase(parts)
    step = mixed[0]
    both = "odd shifts" if step == 1 else f"the shift by {step}"
    return _phrase(
        {name: text for name, text in parts.items() if text} | {both: f"{both} with sign change"}
    )


def _cyclic_name(rep: Representation) -> str:
    """What a cyclic group does to actions."""
    if rep.dimension > 1 and rep.is_permutation:
        return "shifts"
    return "mirror" if rep.group.order == 2 and rep.dimension == 1 else "turns"


def _powers(name: str, powers: range, kept: frozenset[int]) -> str:
    """Words for the powers of one element that are kept, "" for none but the identity."""
    steps = [power for power in powers[1:] if power in kept]
    if not steps or steps[0] == 1:
        return name if steps else ""
    step, order = steps[0], len(powers)
    if name == "turns":
        return f"turns by {360 * step / order:g}°"
    if step == 2:
        return f"even {name}"
    return f"the shift by {step}" if order == 2 * step else f"shifts by multiples of {step}"


def _mirrors(half: int, kept: frozenset[int]) -> str:
    """Words for the kept mirrors of a regular polygon, by the angles of their lines."""
    found = [k for k in range(half) if half + k in kept]
    if len(found) == half:
        return "mirrors"
    angles = ", ".join(f"{180 * k / half:g}°" for k in found[:MOST_LISTED])
    return f"mirrors at {angles}" + (", …" if len(found) > MOST_LISTED else "") if found else ""


def _relabellings(order: int, num_kept: int) -> str:
    """Words for the normal subgroups of all relabellings of 3 or 4."""
    if num_kept == order // 2:
        return "keeps even relabellings, breaks odd ones"
    return "keeps double swaps" if num_kept == 4 else "breaks all relabellings"


def _phrase(parts: dict[str, str]) -> str:
    """What is kept and broken of the parts of a group, given what is kept of each."""
    kept = [text for text in parts.values() if text]
    broken = "breaks " + " and ".join(name for name, text in parts.items() if not text)
    if not kept:
        return broken
    return "keeps " + " and ".join(kept) + (f", {broken}" if len(kept) < len(parts) else "")
