"""Flink's late events and allowed lateness.

Source: https://github.com/apache/flink/blob/master/flink-streaming-java/src/test/java/org/apache/flink/streaming/runtime/operators/windowing/WindowOperatorTest.java,
testLateness, testSideOutputDueToLatenessTumbling, testSideOutputDueToLatenessSliding; and isWindowLate of WindowOperator beside it:
late is `window.maxTimestamp() + allowedLateness <= currentWatermark`.

Where the definitions differ:
- Flink's watermark comes with the data and says "nothing at or before me is to come". Windrow's is clock - LATENESS and says
  "nothing before me is accepted". A Flink watermark of w is played here as an event of another entity at w: the clock is w.
- Flink judges the window an element is in, Windrow the event by its own time, where LATENESS is given. Within one window of two
  seconds Flink takes an element that is 1.9 s behind and drops one that is 0.1 s behind, if the window's end lies between them;
  LATENESS draws one line. Without LATENESS an event is judged by its bucket, and the rule is Flink's to the millisecond, with
  allowedLateness = longest window + RETAIN.
- Flink fires a window and (PurgingTrigger) forgets it, or fires again with what came late. Windrow fires nothing: a read shows the
  bucket as it is, late events included.
- In sliding windows an element may be late for one and early for the next; in Windrow it is in its bucket, and so in all windows
  over it, or in none.
"""

import pytest

KEY1, KEY2 = "key1", "key2"


class Played:
    """A stream, and Flink's test harness in its words."""

    def __init__(self, client, stream, window):
        self.client, self.stream, self.window = client, stream, window

    def element(self, key, time_ms):
        return self.client.execute_command("EVENT.ADD", key, self.stream, time_ms)

    def watermark(self, time_ms):
        assert self.element("watermark", time_ms) == "OK"

    def fired(self, key, max_timestamp_ms):
        """The window that Flink emits with this timestamp, the last millisecond in it."""
        options = ["AT", max_timestamp_ms + 1]
        return self.client.execute_command("WINDOW.GET", key, self.stream, *options, f"count:{self.window}")[0]


@pytest.fixture
def play(resp3, make_stream):
    def start(window, bucket, *options):
        definition = f"WINDOWS {window}@{bucket} AGGREGATE count CLOCK EVENT RETAIN 1m".split()
        return Played(resp3, make_stream(*definition, *options), window)

    return start


def test_lateness(play):
    """testLateness: tumbling windows of 2 s, 500 ms of allowed lateness."""
    flink = play("2s", "2s", "LATENESS", "500ms")
    assert flink.element(KEY2, 500) == "OK"
    flink.watermark(1500)
    assert flink.element(KEY2, 1300) == "OK"
    flink.watermark(2300)
    assert flink.fired(KEY2, 1999) == 2
    # Behind the watermark, within the allowed lateness.
    assert flink.element(KEY2, 1997) == "OK"
    # Flink fires 1, because its trigger purged the two before; here all three are in the bucket.
    assert flink.fired(KEY2, 1999) == 3
    flink.watermark(6000)
    # Flink's side output.
    assert flink.element(KEY2, 1998) == "LATE"
    flink.watermark(7000)
    assert flink.fired(KEY2, 1999) == 3


def test_side_output_due_to_lateness_tumbling(play):
    """testSideOutputDueToLatenessTumbling: windows of 2 s, no allowed lateness. One verdict of four differs, as said above: 1980 is
    behind the watermark of 1985, and in a window that ends at 1999."""
    flink = play("2s", "2s", "LATENESS", "0ms")
    assert flink.element(KEY2, 1000) == "OK"
    flink.watermark(1985)
    assert flink.element(KEY2, 1980) == "LATE"  # Flink: in time
    assert flink.element(KEY2, 1985) == "OK"
    flink.watermark(1999)
    assert flink.fired(KEY2, 1999) == 2
    assert flink.element(KEY2, 1998) == "LATE"
    assert flink.element(KEY2, 2001) == "OK"
    flink.watermark(3999)
    assert flink.fired(KEY2, 3999) == 1
    assert flink.fired(KEY2, 1999) == 2


def test_side_output_due_to_lateness_sliding(play):
    """testSideOutputDueToLatenessSliding: windows of 3 s, every second."""
    flink = play("3s", "1s", "LATENESS", "1s")
    flink.element(KEY2, 1000)
    flink.watermark(1999)
    assert flink.fired(KEY2, 1999) == 1
    flink.element(KEY2, 2000)
    flink.watermark(3000)
    assert flink.fired(KEY2, 2999) == 2
    flink.element(KEY1, 3001)
    # Flink: late for the window that ends at 2999, in time for the next two.
    assert [flink.element(KEY2, 2400), flink.element(KEY2, 2400)] == ["OK", "OK"]
    flink.element(KEY1, 3001)
    flink.element(KEY2, 3900)
    flink.watermark(6000)
    assert [flink.fired(KEY2, end_ms) for end_ms in (3999, 4999, 5999)] == [5, 4, 1]
    assert [flink.fired(KEY1, end_ms) for end_ms in (3999, 4999, 5999)] == [2, 2, 2]
    assert flink.element(KEY1, 3001) == "LATE"
    # Flink had fired 2 and left it at that; a bucket holds all that were counted in it.
    assert flink.fired(KEY2, 2999) == 4


@pytest.mark.parametrize("behind_ms", [-2, -1, 0, 1, 2])
def test_without_lateness_a_bucket_closes_where_flinks_window_does(resp3, make_stream, behind_ms):
    """isWindowLate for every element of a window of 2 s, with allowedLateness = 2 s + RETAIN."""
    size_ms, retain_ms = 2000, 600
    max_timestamp_ms = 3999
    watermark_ms = max_timestamp_ms + size_ms + retain_ms + behind_ms
    is_window_late = max_timestamp_ms + size_ms + retain_ms <= watermark_ms
    for time_ms in (2000, 2001, 3000, 3998, 3999):
        stream = make_stream(*f"WINDOWS 2s@2s AGGREGATE count CLOCK EVENT RETAIN {retain_ms}ms".split())
        flink = Played(resp3, stream, "2s")
        flink.watermark(watermark_ms)
        assert flink.element(KEY1, time_ms) == ("LATE" if is_window_late else "OK")
