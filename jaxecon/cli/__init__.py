"""The `jaxecon` command: arguments to dataclasses to library calls, no numerics."""

from jaxecon.cli.app import main

__all__ = ["main"]
