"""Scenarios on a stock KEDA, its operator and metrics server, run by `make e2e-keda`.

They stand beside `control_plane`, whose cluster, engines and adapter they use.
"""
