"""Trading and portfolio choice."""
