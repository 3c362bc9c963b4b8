"""Measurements against named baselines; `python -m bench` runs them all."""
