"""`python -m jaxecon`."""

from jaxecon.cli import main

main()
