"""`wva serve`: the adapter itself."""

import argparse
import asyncio
from pathlib import Path

from adapter.app import serve
from adapter.config import Settings, load_settings
from adapter.logs import configure_logging

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; settings that can't be used end it with 2."""
    settings_path: Path | None = options.settings
    settings = Settings() if settings_path is None else load_settings(settings_path)
    # What is declared is read and decided on in the loop's process: here it would only lie about.
    settings = settings.model_copy(update={"variants": (), "models": {}})
    configure_logging(level=options.log_level, style=options.log_format)
    asyncio.run(
        serve(
            settings,
            settings_path,
            log_arguments=("--log-level", options.log_level, "--log-format", options.log_format),
        )
    )
    return 0
