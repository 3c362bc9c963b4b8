"""Log lines: one record, one line, the same keys for everybody."""

import io
import json
import logging
import warnings

import pytest
import uvicorn

from adapter.logs import configure_logging


@pytest.fixture
def stream():
    """Give the root logger and warnings back as they were."""
    root = logging.getLogger()
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "grpc", "httpx", "kubernetes")
    loggers = [root, *(logging.getLogger(name) for name in names)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    yield io.StringIO()
    logging.captureWarnings(capture=False)
    for one, handlers, level, propagate in before:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


def lines(stream) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_time_level_logger_message_and_extras(stream):
    configure_logging(level="info", style="json", stream=stream)
    logging.getLogger("adapter.loop").info("tick %d", 3, extra={"variants": 2, "collect_s": 0.01})
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "logger", "message", "variants", "collect_s"]
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-24T02:47:20.123Z")
    assert {**line, "time": ""} == {
        "time": "",
        "level": "info",
        "logger": "adapter.loop",
        "message": "tick 3",
        "variants": 2,
        "collect_s": 0.01,
    }


def test_console_is_one_line_of_text(stream):
    configure_logging(level="info", style="console", stream=stream)
    logging.getLogger("adapter.loop").warning("held", extra={"variant": "a b", "age_s": 40.5})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert ' warning adapter.loop: held variant="a b" age_s=40.5\n' in text


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_is_read_from_outside_cannot_forge_a_line(stream, style):
    configure_logging(level="info", style=style, stream=stream)
    hostile = 'x\n2026-01-01T00:00:00Z error fake: "\r\n'
    logging.getLogger("a").info("got %s", hostile, extra={"value": hostile})
    assert stream.getvalue().count("\n") == 1
    assert "\r" not in stream.getvalue()


def test_json_stays_json_whatever_is_in_extra(stream):
    configure_logging(level="info", style="json", stream=stream)
    extra = {"ratio": float("nan"), "far": [float("inf"), {"x": object()}], "path": {1: 2}}
    logging.getLogger("a").info("odd", extra=extra)
    text = stream.getvalue()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert line["ratio"] == "nan"
    assert line["far"][0] == "inf"
    assert line["path"] == {"1": 2}


def test_extra_never_hides_the_line_itself(stream):
    configure_logging(level="info", style="json", stream=stream)
    logging.getLogger("a").info("true", extra={"level": "fake", "time": "fake", "logger": "fake"})
    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["message"]) == ("info", "a", "true")


@pytest.mark.parametrize("style", ["json", "console"])
def test_exceptions_are_told(stream, style):
    configure_logging(level="info", style=style, stream=stream)
    try:
        int("boom")
    except ValueError:
        logging.getLogger("a").exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "ValueError: invalid literal" in stream.getvalue()
    if style == "json":
        (line,) = lines(stream)
        assert line["exception"].startswith("Traceback")


def test_level_is_obeyed(stream):
    configure_logging(level="warning", style="json", stream=stream)
    logging.getLogger("a").info("no")
    logging.getLogger("a").warning("yes")
    assert [line["message"] for line in lines(stream)] == ["yes"]


def test_uvicorns_records_come_the_same_way_and_its_access_log_does_not(stream):
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(io.StringIO()))
    logging.getLogger("uvicorn").propagate = False
    configure_logging(level="info", style="json", stream=stream)
    uvicorn.Config(app=lambda: None, log_config=None)
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
    logging.getLogger("uvicorn.access").info("GET / 200")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "logger", "message"]
    assert (line["logger"], line["message"]) == ("uvicorn.error", "started")


def test_clients_do_not_log_bodies_even_at_debug(stream):
    configure_logging(level="debug", style="json", stream=stream)
    logging.getLogger("kubernetes.client.rest").debug("response body: token")
    logging.getLogger("httpx").info("HTTP Request: GET /")
    assert stream.getvalue() == ""


def test_warnings_are_records_too(stream):
    configure_logging(level="info", style="json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old" in line["message"]


def test_configuring_twice_does_not_say_everything_twice(stream):
    for _ in range(2):
        configure_logging(level="info", style="json", stream=stream)
    logging.getLogger("a").info("once")
    assert len(lines(stream)) == 1
