"""Running the command line inside the test's process."""

import contextlib
import io
import sys

import jax
import pytest

from jaxecon.cli import app as cli


@pytest.fixture(scope="session")
def jaxecon_command():
    """Runs `jaxecon ARGUMENTS` in this process; returns (exit status, stdout, stderr)."""

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["jaxecon", *map(str, arguments)])
            patch.setenv("COLUMNS", "200")
            # optax raises floats to integer powers, which strict promotion refuses
            with (
                jax.numpy_dtype_promotion("standard"),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                pytest.raises(SystemExit) as stopped,
            ):
                cli.main()
        return stopped.value.code or 0, out.getvalue(), err.getvalue()

    return run
