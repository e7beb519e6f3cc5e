"""Studies: many configurations and seeds as one compiled program.

Importing this package lets JAX see every processor core as a device, if JAX has not started yet.
"""

from jaxecon.devices import use_all_cores

use_all_cores()

from jaxecon.sweeps.arms import run_arms  # noqa: E402
from jaxecon.sweeps.comparison import compare_arms  # noqa: E402
from jaxecon.sweeps.runner import Progress, run_study  # noqa: E402
from jaxecon.sweeps.study import Study, load_study  # noqa: E402
from jaxecon.sweeps.symmetry import symmetry_plot  # noqa: E402
from jaxecon.sweeps.trained import load_mechanism, load_policy  # noqa: E402

__all__ = [
    "Progress",
    "Study",
    "compare_arms",
    "load_mechanism",
    "load_policy",
    "load_study",
    "run_arms",
    "run_study",
    "symmetry_plot",
]
