"""`wva explain`: ask a running adapter why a variant has the number it has."""

import argparse
import json
import ssl
from urllib.parse import quote

import httpx

from adapter.errors import AdapterError

__all__ = ["AnswerError", "run"]

TIMEOUT_S = 10.0


class AnswerError(AdapterError):
    """The adapter can't be reached, or answered with an error."""


def run(options: argparse.Namespace) -> int:
    """Print the explanation as text, or as JSON where that is asked for."""
    namespace, _, name = options.variant.rpartition("/")
    url = f"{options.url.rstrip('/')}/explain/{quote(namespace or 'default')}/{quote(name)}"
    accept = "application/json" if options.json else "text/plain"
    answer = _get(url, accept=accept, options=options)
    print(json.dumps(answer.json(), indent=2) if options.json else answer.text.rstrip())
    return 0


def _get(url: str, *, accept: str, options: argparse.Namespace) -> httpx.Response:
    headers = {"accept": accept}
    if options.token_file is not None:
        headers["authorization"] = f"Bearer {options.token_file.read_text().strip()}"
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        answer = httpx.get(url, headers=headers, verify=context, timeout=TIMEOUT_S)
    except (httpx.HTTPError, OSError) as exc:
        raise AnswerError(f"no answer from {url}: {exc}; --url and --ca-file say where") from exc
    if answer.is_error:
        raise AnswerError(f"{url} answered {answer.status_code}: {_message(answer)}")
    return answer


def _message(answer: httpx.Response) -> str:
    """Return the message of a Kubernetes Status, else the body as it came."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:500]
