"""The application: which path is answered by what.

Documents that don't depend on a decision are encoded once, when the application is
built, and answer whatever happens behind: while discovery fails, every namespace
deletion in the cluster hangs.
"""

from collections.abc import Callable, Mapping, Sequence

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from ..clock import Clock
from ..store import Store
from .answers import Answers
from .dashboard import dashboard_endpoint
from .discovery import (
    AGGREGATED_FORMS,
    aggregated_discovery,
    api_group,
    api_group_list,
    api_resource_list,
    version_info,
)
from .documents import Document, documents_endpoint, one_document
from .explain_endpoint import ExplainEndpoint
from .gate import Gate, Guard, Observer, http_exception_status
from .health import health_endpoint
from .openapi import GROUP_PATH, content_hash, openapi_v2, openapi_v3, openapi_v3_root
from .reads import MetricReads
from .request import API_PREFIX, DASHBOARD_PATHS, EXPLANATIONS, GROUP
from .wire import JSON, as_json

__all__ = ["Checks", "create_api"]

# Name of a readiness check -> what is wrong, "" if nothing is.
Checks = Callable[[], Mapping[str, str]]


def create_api(
    store: Store,
    *,
    clock: Clock,
    guard: Guard,
    checks: Checks,
    adapter_version: str,
    observe: Observer,
    more: Sequence[Route] = (),
) -> FastAPI:
    """Return the application that serves `store` to whom `guard` admits.

    Parameters
    ----------
    store, clock
        What is served, and the clock that ages it.
    guard : Guard
        Decides about callers.
    checks : callable
        For /readyz: the name of each check, and what is wrong with it.
    adapter_version : str
        For /version.
    observe : callable
        Told of each answer the kind of its request and its HTTP status.
    more : sequence of Route
        Further paths, behind the same gate.
    """
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _as_status},
    )
    explain = ExplainEndpoint(store, clock=clock, guard=guard)
    for path in _EXPLAIN_PATHS:
        app.add_api_route(path, explain.answer, methods=["GET", "HEAD"])
    dashboard = dashboard_endpoint()
    app.router.routes.extend(
        [
            *(Route(path, dashboard) for path in DASHBOARD_PATHS),
            Route(f"{API_PREFIX}/{{rest:path}}", MetricReads(Answers(store, clock=clock))),
            *_document_routes(store.metrics, adapter_version),
            *(Route(f"/{name}", health_endpoint(name, checks)) for name in _HEALTH),
            *more,
        ]
    )
    app.add_middleware(Gate, guard=guard, observe=observe)
    return app


_HEALTH = ("livez", "readyz", "healthz")
_EXPLAIN_PATHS = (
    "/explain",
    "/explain/{namespace}",
    "/explain/{namespace}/{variant}",
    f"{API_PREFIX}/{EXPLANATIONS}",
    f"{API_PREFIX}/namespaces/{{namespace}}/{EXPLANATIONS}",
    f"{API_PREFIX}/namespaces/{{namespace}}/{EXPLANATIONS}/{{variant}}",
)


def _document_routes(metrics: tuple[str, ...], adapter_version: str) -> list[Route]:
    _, v2, v2beta1 = AGGREGATED_FORMS
    groups = documents_endpoint(
        Document(JSON, as_json(api_group_list())),
        Document(v2, as_json(aggregated_discovery(metrics, version="v2"))),
        Document(v2beta1, as_json(aggregated_discovery(metrics, version="v2beta1"))),
    )
    group_v3 = as_json(openapi_v3(metrics, adapter_version))
    plain = {
        f"/apis/{GROUP}": api_group(),
        API_PREFIX: api_resource_list(metrics),
        "/openapi/v2": openapi_v2(metrics, adapter_version),
        "/openapi/v3": openapi_v3_root(content_hash(group_v3)),
        "/version": version_info(adapter_version),
    }
    return [
        Route("/apis", groups),
        Route(f"/openapi/v3/{GROUP_PATH}", one_document(group_v3)),
        *(Route(path, one_document(as_json(document))) for path, document in plain.items()),
    ]


async def _as_status(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    return Response(http_exception_status(error), error.status_code, media_type="application/json")
