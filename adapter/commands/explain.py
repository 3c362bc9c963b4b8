"""`wva explain`: ask a running adapter why a variant has the number it has."""

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any

from adapter.errors import ConfigError
from adapter.explain import to_text
from adapter.external_metrics.overview import overview_text

from .explanations import Asked, directly, through_api_server

__all__ = ["answered", "run"]

# Where an adapter without a cluster serves its API.
LOCAL = "https://127.0.0.1:8443"


def run(options: argparse.Namespace) -> int:
    """Print the explanation as text, or as JSON where that is asked for."""
    asked = Asked.parse(options.variant)
    document = answered(options, asked)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        text = to_text(document) if asked.variant else overview_text(document)
        print(text.rstrip())
    return 0


def answered(options: argparse.Namespace, asked: Asked) -> Mapping[str, Any]:
    """Return the answer: of the URL, else of the cluster, else of an adapter on this machine."""
    if options.url is None and options.ca_file is None and options.token_file is None:
        # Half a second of imports that only a cluster needs.
        from adapter.kube.kubeconfig import context_namespace
        from adapter.kube.transport import connect

        async def ask() -> Mapping[str, Any]:
            async with connect() as transport:
                return await through_api_server(transport, asked, namespace=context_namespace())

        try:
            return asyncio.run(ask())
        except ConfigError:
            pass  # no cluster: an adapter that runs here
    return directly(
        options.url or LOCAL, asked, ca_file=options.ca_file, token_file=options.token_file
    )
