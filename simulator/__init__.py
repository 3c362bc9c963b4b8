"""Simulated engines, cluster and HPA."""
