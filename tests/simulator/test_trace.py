"""CSV traces: columns, times, errors that name the line."""

from pathlib import Path

import pytest

from optimizer.errors import InvalidInputError
from simulator.trace import read_trace

AZURE = Path(__file__).resolve().parents[2].parent / "shared" / "traces" / "azure-2023-code.csv"


def write(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("timestamp,input_tokens,output_tokens\n5.5,10,3\n7,20,4\n", id="seconds"),
        pytest.param("timestamp,input_tokens,output_tokens\n7,20,4\n5.5,10,3\n", id="out-of-order"),
        pytest.param(
            "output_tokens,x,input_tokens,timestamp\n3,a,10,100.0\n4,b,20,101.5\n", id="columns"
        ),
        pytest.param(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:17:03.5000000,10,3\n2023-11-16 18:17:05.0000000,20,4\n",
            id="azure",
        ),
        pytest.param(
            "timestamp,input_tokens,output_tokens\n"
            "2023-11-16T18:17:03.5Z,10,3\n2023-11-16T19:17:05+01:00,20,4\n",
            id="zones",
        ),
    ],
)
def test_forms_of_a_trace(tmp_path, text):
    trace = read_trace(write(tmp_path, text))
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.prompt_tokens.tolist() == [10, 20]
    assert trace.output_tokens.tolist() == [3, 4]
    assert trace.cached_tokens.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "no column input_tokens, output_tokens, timestamp", id="empty"),
        pytest.param("timestamp,input_tokens\n1,2\n", "no column output_tokens", id="column"),
        pytest.param(
            "timestamp,input_tokens,output_tokens\n1,2,3\n2,x,3\n", "csv:3: .* counts", id="word"
        ),
        pytest.param(
            "timestamp,input_tokens,output_tokens\nnan,2,3\n", "csv:2: .* counts", id="nan"
        ),
        pytest.param(
            "timestamp,input_tokens,output_tokens\n1,0,3\n", "csv:2: 0 and 3 tokens", id="zero"
        ),
    ],
)
def test_broken_traces(tmp_path, text, said):
    with pytest.raises(InvalidInputError, match=said):
        read_trace(write(tmp_path, text))


def test_an_empty_trace(tmp_path):
    assert read_trace(write(tmp_path, "timestamp,input_tokens,output_tokens\n")).arrival_s.size == 0


@pytest.mark.skipif(not AZURE.is_file(), reason="../shared/traces is absent")
def test_the_azure_trace_has_its_published_moments():
    trace = read_trace(AZURE)
    assert trace.arrival_s.size == 8819
    assert trace.prompt_tokens.mean() == pytest.approx(2048, rel=0.01)
    assert trace.output_tokens.mean() == pytest.approx(28, rel=0.02)
