"""Error text for a misspelt name."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """Sentence that says a name is unknown and which valid ones are nearest.

    Args:
      kind: what the name should have been, such as "environment id".
      name: what was given.
      valid: every accepted name.
    """
    valid = sorted(valid)
    folded = {option.lower(): option for option in valid}
    near = difflib.get_close_matches(str(name).lower(), list(folded), n=3, cutoff=0.5)
    if near:
        hint = "Did you mean " + " or ".join(repr(folded[option]) for option in near) + "?"
    else:
        hint = "Valid: " + ", ".join(valid) + "."
    return f"Unknown {kind} {name!r}. {hint}"
