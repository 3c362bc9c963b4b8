"""What a class keeps ready depends on the hour, in the zone that it names."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from adapter.config import Hours, ServiceClass, parse_settings
from adapter.decide import DecisionMemory, decide
from adapter.errors import ConfigError
from adapter.records import TickReport
from adapter.schedule import covers, standby
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

NIGHT = Hours(days=("fri",), start="22:00", end="06:00", timezone="Europe/Berlin")
REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)


def unix_s(text, zone="Europe/Berlin"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        pytest.param("2026-11-27T21:59", False, id="friday-just-before"),
        pytest.param("2026-11-27T22:00", True, id="friday-evening"),
        pytest.param("2026-11-28T05:59", True, id="the-morning-after"),
        pytest.param("2026-11-28T06:00", False, id="over"),
        pytest.param("2026-11-27T05:00", False, id="the-morning-before"),
        pytest.param("2026-11-28T23:00", False, id="another-day"),
    ],
)
def test_a_night_belongs_to_the_day_it_starts_on(moment, inside):
    assert covers(NIGHT, unix_s(moment)) is inside


def test_daylight_saving_is_the_zones_business():
    day = Hours(start="09:00", end="17:00", timezone="Europe/Berlin")
    assert covers(day, unix_s("2026-07-01T07:30", "UTC"))
    assert not covers(day, unix_s("2026-12-01T07:30", "UTC"))


def test_quiet_hours_win_over_schedules_and_schedules_over_the_class():
    each = ServiceClass.model_validate(
        {
            "warm": {"replicas": 1},
            "schedules": [
                {"start": "08:00", "end": "10:00", "warm": {"replicas": 3, "percent": 20}}
            ],
            "quiet_hours": [{"days": ["sun"], "start": "00:00", "end": "23:00"}],
        }
    )
    at = {name: standby([each], unix_s(text, "UTC")) for name, text in (
        ("plain", "2026-11-27T12:00"), ("morning", "2026-11-27T09:00"), ("sunday", "2026-11-29T09:00"),
    )}  # fmt: skip
    told = {n: (float(s.replicas[0]), float(s.ratio[0]), bool(s.quiet[0])) for n, s in at.items()}
    assert told == {
        "plain": (1.0, 0.0, False), "morning": (3.0, 0.2, False), "sunday": (0.0, 0.0, True),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        pytest.param("{start: '25:00', end: '06:00'}", "start", id="no-such-hour"),
        pytest.param("{start: '22:00', end: '06:00', timezone: Mars/Base}", "isn't known", id="no-such-zone"),
        pytest.param("{days: [friday], start: '22:00', end: '06:00'}", "days", id="no-such-day"),
    ],
)  # fmt: skip
def test_bad_hours_are_refused(hours, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(f"service_classes: {{c: {{quiet_hours: [{hours}]}}}}")


SETTINGS = """
hpa_tolerance: 0.0
brakes: {{warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}}
accelerators: {{H100: {{cost_per_hour: 4.0}}}}
service_classes: {{chat: {{slo: {{ttft_ms: 1000, itl_ms: 50}}, {extra}}}}}
models: {{m: {{service_class: chat, profiles: {{H100: {{alpha_ms: 6.5, beta_ms: 0.02}}}}}}}}
variants: [{{name: v, model: m, accelerator: H100, max_replicas: 20}}]
"""


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        pytest.param("kind: online", 1.0, id="no-buffer"),
        pytest.param("warm: {replicas: 2}", 3.0, id="two-replicas-beside-the-one-at-work"),
    ],
)
def test_a_warm_buffer_is_ready_beside_what_demand_needs(extra, expected):
    catalog, memory = catalog_of(SETTINGS.format(extra=extra)), DecisionMemory.empty()
    for taken_s in (1000.0, 1005.0, 1010.0):
        busy = replica(0, "a", completion_rate_rps=1.0, running_requests=3.0)
        snapshot = snapshot_of(catalog, [busy], taken_s=taken_s)
        publication, memory = decide(snapshot, catalog, memory, report=REPORT)
    assert publication.values["wva_desired_replicas"][0] == expected
