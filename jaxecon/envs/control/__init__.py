"""Single decision makers in operations and control."""
