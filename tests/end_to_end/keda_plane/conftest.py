"""A stock KEDA on the control plane of all scenarios, and the same table of outcomes."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.control_plane.cluster import ControlPlane
from tests.end_to_end.control_plane.conftest import (  # noqa: F401 - pytest finds them here
    keep_logs,
    outcome,
    plane,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_terminal_summary,
    world,
)
from tests.end_to_end.control_plane.stage import World

from .binaries import assets
from .keda import Keda


@pytest.fixture(scope="session")
def installed_keda(plane: ControlPlane) -> Iterator[Keda]:  # noqa: F811
    """KEDA's definitions and rights in the cluster; its programs start with the first test."""
    keda = Keda(assets(), plane, plane.folder)
    keda.install()
    yield keda
    keda.stop()


@pytest.fixture
async def keda(installed_keda: Keda, world: World) -> Keda:  # noqa: F811
    """KEDA, running, and the owner of external.metrics.k8s.io."""
    if not hasattr(installed_keda, "operator"):
        await installed_keda.start(world.kube)
    await installed_keda.register(world.kube)
    return installed_keda
