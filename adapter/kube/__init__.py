"""Talking to the Kubernetes API: the only place that does."""
