"""Chronon's sawtooth windows: a head that moves with every event, a tail that moves in hops.

Sources:
- https://github.com/airbnb/chronon/blob/main/docs/source/authoring_features/GroupBy.md#windowing: a window of 1 hour with hops of
  10 minutes, asked at 2:27pm, spans 1:20 - 2:27; hopping, it would span 1:20 - 2:20; sliding, 1:27 - 2:27.
- https://github.com/airbnb/chronon/blob/main/aggregator/src/main/scala/ai/chronon/aggregator/windowing/Resolution.scala: the
  tail's hop is 1 day for windows of at least 12 days, 1 hour for at least 12 hours, else 5 minutes.

Where the definitions differ:
- Chronon computes the head from raw events, up to the query's millisecond. Windrow's head is a bucket too: at the present nothing
  is in it that has not happened, so both agree; under a past T the bucket that T is in may hold up to w - 1 ms after T
  (EDGE INCLUDE), or is left out (EDGE EXCLUDE).
- The hop is the bucket width of the window, chosen in the definition.
"""

from pending import needs

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# 2:27pm on a day that begins on a day's edge.
NOON = 1_700_006_400_000 // DAY * DAY + 12 * HOUR
ASKED = NOON + 2 * HOUR + 27 * MINUTE


def clock(hours, minutes, ms=0):
    return NOON + hours * HOUR + minutes * MINUTE + ms


def filled(client, make_stream):
    """A window of one hour with hops of ten minutes, and an event of weight 1 in every minute up to the question."""
    stream = make_stream(*"FIELDS v INT WINDOWS 1h@10m AGGREGATE count sum(v) CLOCK EVENT RETAIN 3h".split())
    for minute in range(60, 2 * 60 + 27):
        assert client.execute_command("EVENT.ADD", "e", stream, clock(0, minute), "v", 1) == "OK"
    # The clock is at the question's last millisecond: T is 2:27 sharp.
    client.execute_command("EVENT.ADD", "other", stream, ASKED - 1, "v", 0)
    return stream


def count(client, stream, *options):
    return client.execute_command("WINDOW.GET", "e", stream, *options, "count:1h")[0]


def test_at_2_27_the_window_spans_1_20_to_2_27(resp3, make_stream):
    stream = filled(resp3, make_stream)
    assert count(resp3, stream) == 67
    # To the millisecond: one more before 1:20 is out, one at 1:20 is in, and the newest is in.
    for time_ms, change in [(clock(1, 20, -1), 0), (clock(1, 20), 1), (ASKED - 1, 1)]:
        before = count(resp3, stream)
        resp3.execute_command("EVENT.ADD", "e", stream, time_ms, "v", 1)
        assert count(resp3, stream) == before + change


@needs("hop")
def test_hopping_the_same_window_misses_what_is_newer_than_2_20(resp3, make_stream):
    stream = filled(resp3, make_stream)
    assert count(resp3, stream, "HOP", "10m") == 60


def test_the_window_grows_from_one_hour_to_one_hop_more_like_a_sawtooth(resp3, make_stream):
    """An event in every minute: the count is the window's length in minutes."""
    stream = make_stream(*"WINDOWS 1h@10m AGGREGATE count CLOCK EVENT".split())
    teeth = []
    for minute in range(180):
        resp3.execute_command("EVENT.ADD", "e", stream, clock(0, minute, MINUTE - 1))
        teeth.append(count(resp3, stream))
    # T is the end of that minute. On a hop's edge the window is one hour sharp, and until the next it grows by a minute a minute.
    assert teeth[119:130] == [60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 60]
    assert teeth[69:] == [60 + (minute + 1) % 10 for minute in range(69, 180)]


@needs("edge")
def test_the_other_edge_never_reaches_too_far_back(resp3, make_stream):
    stream = filled(resp3, make_stream)
    # 1:27 is rounded up to 1:30.
    assert count(resp3, stream, "EDGE", "EXCLUDE") == 57


def test_the_hops_of_chronons_own_resolutions(resp3, make_stream):
    stream = make_stream(*"WINDOWS 6h@5m 7d@1h 30d@1d AGGREGATE count CLOCK EVENT RETAIN 1d SKEW 1m REJECT".split())
    tails = {"6h": (6 * HOUR, 5 * MINUTE), "7d": (7 * DAY, HOUR), "30d": (30 * DAY, DAY)}
    resp3.execute_command("EVENT.ADD", "other", stream, ASKED - 1)
    for window, (length_ms, hop_ms) in tails.items():
        tail_ms = (ASKED - length_ms) // hop_ms * hop_ms
        for time_ms, change in [(tail_ms - 1, 0), (tail_ms, 1)]:
            before = resp3.execute_command("WINDOW.GET", "e", stream, f"count:{window}")[0]
            assert resp3.execute_command("EVENT.ADD", "e", stream, time_ms) == "OK"
            after = resp3.execute_command("WINDOW.GET", "e", stream, f"count:{window}")[0]
            assert after - before == change, f"{window} at {time_ms - tail_ms} from its tail"
