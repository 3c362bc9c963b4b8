"""What the cluster's objects mean: variants, their scale targets and replicas, their limits.

Pure, but for `source`, which keeps the objects in step with the API server.
"""
