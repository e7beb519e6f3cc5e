"""Groups and representations under the names that networks use; they live in `jaxecon.symmetry`."""

from jaxecon.symmetry import (
    Block,
    FiniteGroup,
    Representation,
    SymmetrySpec,
    cyclic,
    dihedral,
    direct_sum,
    from_generators,
    from_table,
    product,
    regular,
    symmetric,
    trivial,
    z2,
)

__all__ = [
    "Block",
    "FiniteGroup",
    "Representation",
    "SymmetrySpec",
    "cyclic",
    "dihedral",
    "direct_sum",
    "from_generators",
    "from_table",
    "product",
    "regular",
    "symmetric",
    "trivial",
    "z2",
]
