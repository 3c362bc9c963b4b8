"""The report: lines for people, JSON for scripts, an exit code that means something."""

import json

from adapter.doctor.findings import exit_code, fail, ok, skip, to_json, to_text, warn

FOUND = [
    ok("clock", "this machine", "agrees"),
    warn("hpa", "default/a", "waits", "kubectl patch"),
    skip("signals", "default/a", "no adapter to ask"),
]


def test_only_what_does_not_work_fails_a_script() -> None:
    assert exit_code(FOUND) == 0
    assert exit_code([*FOUND, fail("target", "default/a", "gone", "kubectl get")]) == 1


def test_text_has_a_line_for_each_and_the_mend_below_it() -> None:
    assert to_text(FOUND).splitlines() == [
        "OK    clock    this machine: agrees",
        "WARN  hpa      default/a: waits",
        "               mend: kubectl patch",
        "SKIP  signals  default/a: no adapter to ask",
        "1 OK, 1 WARN, 0 FAIL, 1 SKIP",
    ]


def test_json_has_the_same() -> None:
    report = json.loads(to_json(FOUND))
    assert report["counts"] == {"OK": 1, "WARN": 1, "FAIL": 0, "SKIP": 1}
    assert report["findings"][1] == {
        "level": "WARN",
        "check": "hpa",
        "subject": "default/a",
        "message": "waits",
        "remedy": "kubectl patch",
    }
