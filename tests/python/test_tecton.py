"""Tecton's wall-clock against latest-event-time windows.

Source: https://docs.tecton.ai/docs/1.0/sdk-reference/feature-views/configuration/read-features/AggregationLeadingEdge, the table
under "Example": a stream that is 30 minutes late, a request at 03:00 for a one-hour sum; WALL_CLOCK_TIME gives 2,
LATEST_EVENT_TIME gives 4.

Where the definitions differ, and what was read into the example:
- The text calls 02:31 the latest event, but the table has one at 02:32 and counts it. Here the newest event received is the one
  of 02:32; those of 02:41, 02:49 and 02:55 ("no", "no") have not arrived.
- Tecton's latest event is the stream's, as is Windrow's: AT EVENT is min(newest event of the stream, clock) + 1, for every entity.
- The example's 03:00 is played as a full hour one to two hours ago, and the request at 03:00 as a read AT that time.
"""

import time

import pytest
from pending import marks

MINUTE = 60_000
HOUR = 60 * MINUTE
# Minutes after midnight: (event, in the window by wall clock, in the window by latest event).
ARRIVED = [(92, False, True), (115, False, True), (130, True, True), (152, True, True)]
NOT_ARRIVED = [161, 169, 175]
REQUEST = 180


def loaded(client, make_stream, clock):
    definition = f"FIELDS col INT WINDOWS 1h@1m AGGREGATE sum(col) CLOCK {clock} RETAIN 4h".split()
    stream = make_stream(*definition)
    midnight_ms = (int(time.time() * 1000) - HOUR) // HOUR * HOUR - REQUEST * MINUTE
    for minute, _, _ in ARRIVED:
        assert client.execute_command("EVENT.ADD", "e", stream, midnight_ms + minute * MINUTE, "col", 1) == "OK"
    return stream, midnight_ms


def test_by_wall_clock_the_late_half_hour_is_missing(resp3, make_stream):
    stream, midnight_ms = loaded(resp3, make_stream, "WALL")
    at_ms = midnight_ms + REQUEST * MINUTE
    assert resp3.execute_command("WINDOW.GET", "e", stream, "AT", at_ms, "sum(col):1h") == [2]
    assert sum(wall for _, wall, _ in ARRIVED) == 2


@pytest.mark.parametrize("clock", [pytest.param("WALL", marks=marks("at-event")), pytest.param("EVENT", marks=marks("at-event"))])
def test_by_latest_event_the_hour_is_whole(resp3, make_stream, clock):
    stream, _ = loaded(resp3, make_stream, clock)
    assert resp3.execute_command("WINDOW.GET", "e", stream, "AT", "EVENT", "sum(col):1h") == [4]
    assert sum(latest for _, _, latest in ARRIVED) == 4


def test_an_event_clock_is_the_latest_event_time(resp3, make_stream):
    stream, _ = loaded(resp3, make_stream, "EVENT")
    assert resp3.execute_command("WINDOW.GET", "e", stream, "sum(col):1h") == [4]


def test_what_arrives_later_is_in_both(resp3, make_stream):
    """Once the stream has caught up, the two agree on everything but the window's place."""
    stream, midnight_ms = loaded(resp3, make_stream, "WALL")
    for minute in NOT_ARRIVED:
        resp3.execute_command("EVENT.ADD", "e", stream, midnight_ms + minute * MINUTE, "col", 1)
    at_ms = midnight_ms + REQUEST * MINUTE
    assert resp3.execute_command("WINDOW.GET", "e", stream, "AT", at_ms, "sum(col):1h") == [5]


@pytest.mark.parametrize("clock", [pytest.param("WALL", marks=marks("at-event"))])
def test_an_hour_after_the_table_the_wall_clock_sees_nothing_and_the_latest_event_still_four(resp3, make_stream, clock):
    stream, midnight_ms = loaded(resp3, make_stream, clock)
    at_ms = midnight_ms + (REQUEST + 40) * MINUTE
    assert resp3.execute_command("WINDOW.GET", "e", stream, "AT", at_ms, "sum(col):1h") == [0]
    assert resp3.execute_command("WINDOW.GET", "e", stream, "AT", "EVENT", "sum(col):1h") == [4]
