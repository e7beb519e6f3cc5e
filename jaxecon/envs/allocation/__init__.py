"""Dividing a budget fairly among agents whose demands arrive over time."""
