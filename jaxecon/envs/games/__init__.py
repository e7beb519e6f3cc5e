"""Strategic interaction between firms and people."""
