"""What the adapter may do in the cluster, applied from the manifests without its workload."""

import subprocess
from pathlib import Path

import yaml

from .cluster import ControlPlane

__all__ = ["ROOT", "install_access"]

ROOT = Path(__file__).resolve().parents[3]
# Most tests run the adapter themselves: what makes the cluster run it is left out.
LEFT_OUT = {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap"}


def install_access(plane: ControlPlane) -> None:
    """Create the namespace, the service account and its rights, and the custom resource."""
    kubectl = [str(plane.programs / "kubectl"), f"--kubeconfig={plane.admin_kubeconfig}"]
    overlay = str(ROOT / "manifests" / "overlays" / "hpa")
    rendered = subprocess.run([*kubectl, "kustomize", overlay], capture_output=True, check=True)
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each["kind"] not in LEFT_OUT]
    applied = subprocess.run(
        [*kubectl, "apply", "--filename=-"],
        input=yaml.safe_dump_all(objects).encode(),
        capture_output=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr.decode()
