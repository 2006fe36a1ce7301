"""The example of Kafka Streams' SlidingWindows.

Source: https://kafka.apache.org/42/javadoc/org/apache/kafka/streams/kstream/SlidingWindows.html ("For example, if we have a time
difference of 5000ms and the following data arrives": three records of key A, five windows).

Where the definitions differ:
- Kafka's windows are inclusive at both ends: [start; start + difference]. Windrow's are half-open, so the same window is one
  millisecond longer, 5001ms, and is read AT its end + 1. Buckets of 1ms make it exact.
- Kafka makes a window when a record enters or leaves it, and emits it. Windrow makes none: any T can be asked, those that Kafka
  emits among them.
- Kafka's grace closes a window ("closed when stream-time > window-end + grace-period"); a record is dropped when all its windows
  are closed, so how late it may be depends on the window's length. LATENESS judges the event by its own time.
"""

DIFFERENCE_MS = 5000
RECORDS = [(8000, 1), (9200, 2), (12400, 3)]
WINDOWS = [
    (3000, 8000, [1]),
    (4200, 9200, [1, 2]),
    (7400, 12400, [1, 2, 3]),
    (8001, 13001, [2, 3]),
    (9201, 14201, [3]),
]
DEFINITION = (
    "FIELDS v INT WINDOWS 5001ms@1ms AGGREGATE count sum(v) min(v) max(v) CLOCK EVENT SKEW 0ms REJECT RETAIN 10s"
).split()


def contents(client, stream, t_ms):
    features = [f"{aggregate}:5001ms" for aggregate in ("count", "sum(v)", "min(v)", "max(v)")]
    return client.execute_command("WINDOW.GET", "A", stream, "AT", t_ms, *features)


def summary(values):
    return [len(values), sum(values), min(values, default=None), max(values, default=None)]


def test_every_sliding_window_of_the_example_has_the_same_contents(resp3, make_stream):
    stream = make_stream(*DEFINITION)
    for time_ms, value in RECORDS:
        assert resp3.execute_command("EVENT.ADD", "A", stream, time_ms, "v", value) == "OK"
    for start_ms, end_ms, values in WINDOWS:
        assert end_ms - start_ms == DIFFERENCE_MS
        assert contents(resp3, stream, end_ms + 1) == summary(values), f"[{start_ms};{end_ms}]"


def test_a_window_changes_exactly_where_kafka_makes_a_new_one(resp3, make_stream):
    """The windows listed are all there are: between their ends nothing enters or leaves."""
    stream = make_stream(*DEFINITION)
    for time_ms, value in RECORDS:
        resp3.execute_command("EVENT.ADD", "A", stream, time_ms, "v", value)
    changes = []
    before = summary([])
    for end_ms in range(7990, 17_410):
        now = contents(resp3, stream, end_ms + 1)
        if now != before:
            changes.append(end_ms)
        before = now
    # The last change is the third record's leaving: the window is empty, and Kafka has none.
    assert changes == [end_ms for _, end_ms, _ in WINDOWS] + [12_400 + DIFFERENCE_MS + 1]


def test_records_out_of_order_give_the_same_windows(resp3, make_stream):
    stream = make_stream(*DEFINITION)
    for time_ms, value in reversed(RECORDS):
        assert resp3.execute_command("EVENT.ADD", "A", stream, time_ms, "v", value) == "OK"
    for _, end_ms, values in WINDOWS:
        assert contents(resp3, stream, end_ms + 1) == summary(values)


def test_grace_closes_at_the_same_millisecond_for_a_record_at_its_windows_end(resp3, make_stream):
    """A record whose only open window is the one that ends with it: stream-time > end + grace drops it in both."""
    grace_ms = 1000
    stream = make_stream(*DEFINITION, "LATENESS", f"{grace_ms}ms")
    end_ms = 8000
    for stream_time_ms, verdict in [(end_ms + grace_ms, "OK"), (end_ms + grace_ms + 1, "LATE")]:
        assert resp3.execute_command("EVENT.ADD", "clock", stream, stream_time_ms, "v", 0) == "OK"
        assert resp3.execute_command("EVENT.ADD", "A", stream, end_ms, "v", 1) == verdict
