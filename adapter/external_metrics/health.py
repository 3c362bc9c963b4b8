"""/livez, /readyz and /healthz, as Kubernetes API servers answer them: text."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

__all__ = ["health_endpoint"]


def health_endpoint(
    name: str, checks: Callable[[], Mapping[str, str]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint `name`; only readyz depends on `checks`, the others on answering."""

    async def endpoint(request: Request) -> Response:
        problems = {"ping": "", **(checks() if name == "readyz" else {})}
        failed = any(problems.values())
        if not failed and "verbose" not in request.query_params:
            return PlainTextResponse("ok")
        lines = [
            f"[-]{check} failed: {problem}" if problem else f"[+]{check} ok"
            for check, problem in problems.items()
        ]
        verdict = f"{name} check {'failed' if failed else 'passed'}"
        return PlainTextResponse(
            "\n".join([*lines, verdict, ""]), status_code=503 if failed else 200
        )

    return endpoint
