"""Stateless economics: pure functions that can be read, tested and differentiated alone."""
