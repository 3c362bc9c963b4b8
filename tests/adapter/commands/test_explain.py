"""`wva explain` through an API server and from the adapter's own port, and what it says if not."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from adapter.cli import build_parser, main
from adapter.commands.explanations import AnswerError, Asked, through_api_server
from adapter.kube.kubeconfig import context_namespace
from tests.helpers.api import ApiHarness
from tests.helpers.fake_cluster import failure, transport_to
from tests.helpers.publications import publication_of

GROUP = "/apis/external.metrics.k8s.io/v1beta1"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


@contextlib.asynccontextmanager
async def answer_of(answers: dict[str, Any], text: str) -> AsyncIterator[Any]:
    """Give what the API server's answers come to, for one argument of the command."""

    async def handle(request: web.Request) -> web.Response:
        found = answers.get(request.path)
        if isinstance(found, tuple):
            return failure(*found)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        return web.json_response(found)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with transport_to(url) as transport:
            yield await through_api_server(transport, Asked.parse(text), namespace="mine")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("a/chat", f"{GROUP}/namespaces/a/explanations/chat", id="in a namespace"),
        pytest.param("chat", f"{GROUP}/namespaces/mine/explanations/chat", id="in the context's"),
        pytest.param("a/", f"{GROUP}/namespaces/a/explanations", id="all of a namespace"),
        pytest.param("", f"{GROUP}/explanations", id="all"),
    ],
)
async def test_the_api_group_is_asked_for_what_is_named(text, path):
    async with answer_of({path: {"answer": path}}, text) as answer:
        assert answer == {"answer": path}


OURS = {"spec": {"service": {"name": "wva", "namespace": "wva-system"}}}
KEDAS = {"spec": {"service": {"name": "keda-metrics", "namespace": "keda"}}}
CHAT = f"{GROUP}/namespaces/mine/explanations/chat"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        pytest.param({}, "no adapter has external.metrics.k8s.io here: make install", id="nobody"),
        pytest.param({API_SERVICE: KEDAS}, "leads to keda/keda-metrics, which", id="KEDA has it"),
        pytest.param(
            {API_SERVICE: OURS, CHAT: (404, "NotFound", "no variant 'chat' in namespace 'mine'")},
            "no variant 'chat' in namespace 'mine'",
            id="no such variant",
        ),
        pytest.param(
            {CHAT: (403, "Forbidden", "you can't")}, "cluster-role-view.yaml", id="not allowed"
        ),
        pytest.param(
            {API_SERVICE: OURS, CHAT: (503, "", "no\nendpoints")},
            "no endpoints; wva doctor says",
            id="no adapter behind it",
        ),
        pytest.param(
            {API_SERVICE: KEDAS, CHAT: (503, "", "no")},
            "leads to keda",
            id="KEDA has it, and is away",
        ),
        pytest.param(
            {API_SERVICE: (403, "Forbidden", "no")}, "404", id="nor may the APIService be read"
        ),
    ],
)
async def test_what_keeps_it_from_an_answer_is_told_with_a_remedy(answers, words):
    with pytest.raises(AnswerError, match=words):
        async with answer_of(answers, "chat"):
            pass


def test_the_namespace_is_that_of_the_kubeconfigs_context(tmp_path):
    context = {"cluster": "c", "user": "u", "namespace": "team-a"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert context_namespace(str(path)) == "team-a"
    path.unlink()
    assert context_namespace(str(path)) == "default"


@pytest.fixture
def api():
    with ApiHarness(open_to_all=True) as harness:
        harness.publish(publication_of({"default/llama": 3.0}))
        yield harness


def explain(api: ApiHarness, *arguments: str) -> int:
    authority = api.folder / "ca.crt"
    authority.write_bytes(api.tls.bundle_pem)
    url = f"https://127.0.0.1:{api.port}"
    return main(["explain", *arguments, "--url", url, "--ca-file", str(authority)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["llama"], "default/llama: 3 replicas served", id="a variant"),
        pytest.param(["default/"], "llama", id="a namespace"),
        pytest.param([], "NAMESPACE", id="all"),
        pytest.param(["llama", "--json"], '"variant": "llama"', id="as JSON"),
    ],
)
def test_an_adapter_at_a_url_is_asked_itself(api, capsys, arguments, words):
    assert explain(api, *arguments) == 0
    assert words in capsys.readouterr().out


def test_a_variant_that_is_not_there_is_told_of(api, capsys):
    assert explain(api, "mistral") == 1
    assert "no variant 'mistral' in namespace 'default'" in capsys.readouterr().err


def test_nobody_at_a_url_is_told_of(capsys):
    assert main(["explain", "x", "--url", "https://127.0.0.1:9"]) == 1
    assert "KUBECONFIG" in capsys.readouterr().err


def test_the_variant_may_be_left_out():
    assert build_parser().parse_args(["explain"]).variant is None
