"""The dashboard: what the page may do, and what a real browser shows of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from adapter.external_metrics.dashboard import content_security_policy
from adapter.records import Reason, SourceFault
from tests.helpers.api import ApiHarness
from tests.helpers.publications import publication_of, report_of

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

DETAILS = {
    "input.arrival_rate_rps": 12.5,
    "slo.ttft_s": 0.5,
    "slo.percentile_ratio": 0.95,
    "measured.ttft_p95_s": 0.75,
    "predicted.ttft_s": 0.4,
    "cost.desired_per_hour": 12.3,
}


GROUPED = "/apis/external.metrics.k8s.io/v1beta1/dashboard"


def rendered(api: ApiHarness, folder: Path, path: str = "/dashboard") -> str:
    """Return what the page is after some seconds in a browser, as markup without tags."""
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--ignore-certificate-errors",
            f"--user-data-dir={folder}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"https://127.0.0.1:{api.port}{path}",
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    body = re.sub(r"<(style|script)>.*?</\1>", "", done.stdout, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


@pytest.mark.parametrize("path", ["/dashboard", GROUPED], ids=["own", "in-the-api-group"])
def test_the_page_is_served_to_everybody_and_holds_no_data(path):
    with ApiHarness() as api:
        api.publish(publication_of({"lab/secret-variant": 3}))
        with api.client() as client:
            response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "secret-variant" not in response.text
    policy = response.headers["content-security-policy"]
    assert policy == content_security_policy(response.content)
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_the_list_behind_it_carries_the_figures_that_it_shows():
    with ApiHarness(open_to_all=True) as api:
        api.publish(publication_of({"lab/a": 3}, details=DETAILS))
        with api.client() as client:
            (row,) = client.get("/explain").json()["variants"]
    assert row["arrival_rate_rps"] == 12.5
    assert (row["ttft_target_s"], row["ttft_measured_s"]) == (0.5, 0.75)
    assert row["itl_measured_s"] is None
    assert row["kv_usage_ratio"] is None


@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser on the PATH")
class TestInABrowser:
    @pytest.mark.parametrize("path", ["/dashboard", GROUPED], ids=["own", "in-the-api-group"])
    def test_variants_figures_and_faults_are_shown(self, tmp_path, path):
        fault = SourceFault(
            source="http://engine:8000", reason=Reason.TIMEOUT, message="no answer", since_s=0.0
        )
        with ApiHarness(open_to_all=True) as api:
            api.publish(
                publication_of({"lab/a": 3}, details=DETAILS, report=report_of(faults=(fault,)))
            )
            text = rendered(api, tmp_path, path)
        assert "2 → 3" in text  # replicas now and desired
        assert "750 ms / 500 ms" in text
        assert "12.30" in text
        assert "http://engine:8000 no answer" in text

    def test_who_has_no_token_is_asked_for_one(self, tmp_path):
        with ApiHarness() as api:
            api.publish(publication_of({"lab/a": 3}))
            text = rendered(api, tmp_path)
        assert "cannot list" in text
        assert "2 → 3" not in text

    def test_no_decision_yet_is_said(self, tmp_path):
        with ApiHarness(open_to_all=True) as api:
            text = rendered(api, tmp_path)
        assert "no decision has been published yet" in text
