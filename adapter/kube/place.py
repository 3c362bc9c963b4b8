"""Whether this process runs in a pod. Loads nothing of the client."""

import os

__all__ = ["in_cluster"]

# Kubernetes sets it in every container.
_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"


def in_cluster() -> bool:
    """Return whether this is a container of a cluster."""
    return _SERVICE_HOST in os.environ
