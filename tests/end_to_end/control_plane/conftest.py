"""One control plane for all scenarios, and the table of what they came to."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from .access import install_access
from .binaries import MissingProgramsError, assets
from .cluster import ControlPlane
from .kube_api import Kube, Kubectl
from .outcomes import Outcome, table
from .stage import World

OUTCOMES = "outcomes"
REPORT = pytest.StashKey[pytest.TestReport]()


class Outcomes:
    """What all scenarios came to, whichever process they ran in."""

    def __init__(self) -> None:
        self.rows: list[Outcome] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            found = (value for name, value in report.user_properties if name == OUTCOMES)
            self.rows.extend(Outcome(**value) for value in found)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(OUTCOMES):
        config.pluginmanager.register(Outcomes(), OUTCOMES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" or report.failed:
        item.stash[REPORT] = report
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    outcomes = config.pluginmanager.get_plugin(OUTCOMES)
    if outcomes.rows:
        terminalreporter.section("scenarios on the real control plane")
        for line in table(outcomes.rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Stock etcd, kube-apiserver and kube-controller-manager, with the adapter's RBAC applied."""
    try:
        programs = assets()
    except MissingProgramsError as exc:
        pytest.exit(f"make e2e: {exc}", returncode=2)
    plane = ControlPlane(programs, tmp_path_factory.mktemp("plane"))
    try:
        plane.start()
        install_access(plane)
        yield plane
    finally:
        plane.stop()


@pytest.fixture
async def world(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[World]:
    kube = Kube(plane.url, plane.admin_context)
    kubectl = Kubectl(plane.programs / "kubectl", plane.admin_kubeconfig, tmp_path)
    yield World(plane, kube, kubectl, tmp_path)
    await kube.close()


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """The scenario's row in the table; its name is the test's."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    row = Outcome(name)
    yield row
    row.time_s = time.monotonic() - row.started_s
    report = request.node.stash.get(REPORT, None)
    row.result = report.outcome if report is not None else "error"
    request.node.user_properties.append((OUTCOMES, asdict(row)))


@pytest.fixture(autouse=True)
def keep_logs(
    request: pytest.FixtureRequest, tmp_path: Path, plane: ControlPlane
) -> Iterator[None]:
    """Say where the logs are when a scenario fails."""
    yield
    report = request.node.stash.get(REPORT, None)
    if report is not None and report.failed:
        logs = [*tmp_path.glob("*.log"), *plane.logs]
        report.sections.append(("logs", "\n".join(str(each) for each in logs)))
        for log in tmp_path.glob("*.log"):
            report.sections.append((log.name, log.read_text(errors="replace")[-4000:]))
