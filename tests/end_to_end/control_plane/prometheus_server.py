"""A real Prometheus that scrapes the emulated engines where http_sd lists them."""

from pathlib import Path

import httpx
import yaml

from .daemons import Daemon, free_port

__all__ = ["PrometheusServer"]


class PrometheusServer:
    """Debian's or anybody's `prometheus`, with a folder of its own."""

    def __init__(self, program: str, folder: Path, *, targets_url: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(_configuration(targets_url)), encoding="utf-8")
        flags = [
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        self.daemon = Daemon("prometheus", [program, *flags], log=folder / "prometheus.log")

    def start(self) -> None:
        self.daemon.start()
        self.daemon.wait_ready(self._ready, within_s=30)

    def stop(self) -> None:
        self.daemon.stop()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def _configuration(targets_url: str) -> dict[str, object]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {
                "job_name": "engines",
                "http_sd_configs": [{"url": targets_url, "refresh_interval": "1s"}],
                "relabel_configs": [
                    # An engine that is starting has nothing to say yet.
                    {"source_labels": ["state"], "regex": "starting", "action": "drop"},
                    {"source_labels": ["replica"], "target_label": "pod"},
                    {"regex": "state|replica", "action": "labeldrop"},
                ],
            }
        ],
    }
