"""What a kubeconfig says beside where the API server is."""

from kubernetes.aio import config

__all__ = ["context_namespace"]


def context_namespace(path: str | None = None) -> str:
    """Return the namespace of the kubeconfig's context, as kubectl takes it; else "default".

    `path` is None for the one of KUBECONFIG, or at its usual place.
    """
    try:
        _, active = config.list_kube_config_contexts(path)
    except (config.ConfigException, OSError):
        return "default"
    return str((active or {}).get("context", {}).get("namespace") or "default")
