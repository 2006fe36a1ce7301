"""Windows over real events against DuckDB: the same buckets as RANGE frames of SQL.

Counts and sums of INT fields must be equal to the last bit, floats to 1e-12 of their size. The SQL knows nothing of rings and
partials: an event belongs to the bucket floor(time / width); a window of T is a range of buckets.
"""

import math

import duckdb
import pytest
from commits import database
from pending import marks

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WINDOWS = {"1d": (DAY, 15 * MINUTE), "7d": (7 * DAY, 3 * HOUR), "30d": (30 * DAY, 12 * HOUR)}
LONGEST_MS = 30 * DAY
RETAIN_MS = 20 * DAY
FIELDS = {"files": "INT", "added": "INT", "deleted": "INT", "churn": "FLOAT", "folder": "STRING"}
RELATIVE = 1e-12
ROWS_PER_COMMAND = 2000
ENTITIES_PER_COMMAND = 500
# Events are ordered by time, and by arrival where times are equal; both in one number.
ORDER = "time_ms * 1048576 + seq"

# The number of shards is not what this is about.
pytestmark = pytest.mark.parametrize("port", [4], ids=["four_shards"], indirect=True)

# Each aggregate as an SQL aggregate over the frame; {seconds} is the length of the window, {t} the probe's T.
EXACT = {
    "count": "count(time_ms)",
    "count(folder)": "count(folder)",
    "sum(files)": "sum(files)",
    "sum(added)": "sum(added)",
    "sum(deleted)": "sum(deleted)",
    "min(added)": "min(added)",
    "max(added)": "max(added)",
    "min(churn)": "min(churn)",
    "max(churn)": "max(churn)",
    "since": "max(time_ms)",
}
CLOSE = {
    "sum(churn)": "sum(churn)",
    "avg(added)": "avg(added)",
    "avg(churn)": "avg(churn)",
    "rate": "count(time_ms)",
    "rate(deleted)": "sum(deleted)",
}
MOMENTS = {
    "var_pop(churn)": "var_pop(churn)",
    "var_samp(churn)": "var_samp(churn)",
    "stddev_pop(added)": "stddev_pop(added)",
    "stddev_samp(added)": "stddev_samp(added)",
}
ORDERED = {
    "first(files)": f"arg_min(files, {ORDER})",
    "last(folder)": f"arg_max(folder, {ORDER})",
    "last(churn)": f"arg_max(churn, {ORDER})",
    "lastk(added,3)": f"arg_max(added, {ORDER}, 3)",
}
OPTIONS = marks("at-event", "offset", "hop", "final")


def times(clock_ms, lateness_ms):
    """Options of a read, its T for buckets of a width, and whether that is a past T, after which there may be events."""
    aligned_ms = (clock_ms - DAY) // (12 * HOUR) * (12 * HOUR)
    yield [], lambda _: clock_ms + 1, False
    # On every bucket's edge; between edges; the oldest that every window answers.
    for at_ms in (aligned_ms, clock_ms - 3 * DAY - 12_345, clock_ms + 1 - RETAIN_MS):
        yield ["AT", at_ms], lambda _, at_ms=at_ms: at_ms, True


def options(clock_ms, lateness_ms):
    """What else moves T, alone and one after the other."""
    t_ms = clock_ms + 1
    yield ["AT", "EVENT"], lambda _: t_ms, False
    yield ["OFFSET", "100h"], lambda _: t_ms - 100 * HOUR, True
    for hop, hop_ms in {"1d": DAY, "5m": 5 * MINUTE}.items():
        hopped_ms = t_ms // hop_ms * hop_ms
        yield ["HOP", hop], lambda _, hopped_ms=hopped_ms: hopped_ms, hopped_ms != t_ms
    behind_ms = (t_ms - DAY - 7) // (90 * MINUTE) * (90 * MINUTE)
    yield ["AT", t_ms - DAY, "OFFSET", "7ms", "HOP", "90m"], lambda _: behind_ms, True
    if lateness_ms:
        # A multiple of the width: both edges are the same.
        yield ["FINAL"], lambda width_ms: (clock_ms - lateness_ms) // width_ms * width_ms, True


FAMILIES = [
    pytest.param({**EXACT, **CLOSE}, times, False, id="sums"),
    pytest.param(MOMENTS, times, False, id="moments", marks=marks("moments")),
    pytest.param(ORDERED, times, False, id="ordered", marks=marks("sketches")),
    pytest.param({**EXACT, **CLOSE}, times, True, id="exclude", marks=marks("edge")),
    pytest.param(EXACT, options, False, id="options", marks=OPTIONS),
    pytest.param(EXACT, options, True, id="options_exclude", marks=marks("edge") or OPTIONS),
]


@pytest.fixture(scope="module")
def events():
    return database()


@pytest.mark.parametrize("lateness_ms", [None, 10 * DAY], ids=["without_lateness", "lateness_10d"])
@pytest.mark.parametrize("aggregates, reads, exclude", FAMILIES)
def test_windows_of_real_events_equal_range_frames(resp3, events, aggregates, reads, exclude, lateness_ms):
    client, stream = resp3, "duckdb"
    declare(client, stream, aggregates, lateness_ms)
    try:
        judge(events, lateness_ms)
        last = events.execute("SELECT max(seq) FROM judged").fetchone()[0]
        sent = 0
        for upto in [last // 5, last // 2, last * 4 // 5, last]:
            send(client, stream, events, sent, upto)
            sent = upto
            clock_ms = events.execute("SELECT max(time_ms) FROM judged WHERE seq <= ?", [upto]).fetchone()[0]
            entities = chosen_entities(events, upto, everyone=reads is times and upto == last)
            for words, t_of_width, is_past in reads(clock_ms, lateness_ms):
                words = [*words, "EDGE", "EXCLUDE"] if exclude else words
                compare(client, stream, events, upto, entities, aggregates, words, t_of_width, (exclude, is_past))
    finally:
        client.execute_command("STREAM.DROP", stream)


def declare(client, stream, aggregates, lateness_ms):
    fields = [word for field in FIELDS.items() for word in field]
    windows = [f"{name}@{width_ms}ms" for name, (_, width_ms) in WINDOWS.items()]
    lateness = ["LATENESS", f"{lateness_ms}ms"] if lateness_ms else []
    options = ["CLOCK", "EVENT", "RETAIN", f"{RETAIN_MS}ms", *lateness]
    reply = client.execute_command(
        "STREAM.CREATE", stream, "FIELDS", *fields, "WINDOWS", *windows, "AGGREGATE", *aggregates, *options
    )
    assert reply in ("OK", True)


def judge(events, lateness_ms):
    """Which events count: those whose bucket some tier keeps, by the clock that the events before them left."""
    kept = " OR ".join(
        f"floor_to(time_ms, {width_ms}) >= floor_to(clock_ms + 1 - {length_ms} - {RETAIN_MS}, {width_ms})"
        for length_ms, width_ms in WINDOWS.values()
    )
    timely = f"time_ms >= clock_ms - {lateness_ms}" if lateness_ms else "true"
    events.execute("CREATE OR REPLACE MACRO floor_to(x, w) AS x // w * w")
    events.execute("CREATE OR REPLACE MACRO ceil_to(x, w) AS (x + w - 1) // w * w")
    events.execute(f"""
        CREATE OR REPLACE TABLE judged AS
        SELECT *, coalesce(({kept}) AND {timely}, true) AS counted FROM (
            SELECT *, max(time_ms) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS clock_ms
            FROM events)
    """)
    late, everything = events.execute("SELECT count(*) FILTER (NOT counted), count(*) FROM judged").fetchone()
    assert everything > 200_000 and late > 1000, "the real events come out of order"


def send(client, stream, events, after, upto):
    columns = ", ".join(FIELDS)
    rows = events.execute(
        f"SELECT counted, entity, time_ms, {columns} FROM judged WHERE seq > ? AND seq <= ? ORDER BY seq", [after, upto]
    ).fetchall()
    head = ["EVENT.MADD", stream, "FIELDS", len(FIELDS), *FIELDS, "EVENTS"]
    for start in range(0, len(rows), ROWS_PER_COMMAND):
        chunk = rows[start : start + ROWS_PER_COMMAND]
        replies = client.execute_command(*head, *(value for row in chunk for value in row[1:]))
        assert replies == ["OK" if row[0] else "LATE" for row in chunk], f"rows {start} ff. after {after}"


def compare(client, stream, events, upto, entities, aggregates, words, t_of_width, edges):
    for length, (length_ms, width_ms) in WINDOWS.items():
        t_ms = t_of_width(width_ms)
        expected = frames(events, upto, entities, aggregates, length, t_ms, *edges)
        assert len(expected) == len(entities)
        features = [f"{aggregate}:{length}" for aggregate in aggregates]
        got = {}
        for start in range(0, len(entities), ENTITIES_PER_COMMAND):
            chunk = entities[start : start + ENTITIES_PER_COMMAND]
            rows = client.execute_command("WINDOW.MGET", len(chunk), *chunk, stream, *words, *features)
            got.update(zip(chunk, rows))
        for entity in entities:
            for aggregate, wanted, value in zip(aggregates, expected[entity], got[entity]):
                what = f"{aggregate}:{length} of {entity}, {words or 'now'}, T {t_ms}, events up to {upto}"
                assert_equal(aggregate, finish(aggregate, wanted, length_ms, t_ms), value, what)


def chosen_entities(events, upto, everyone):
    """Everyone, or the busiest and every 50th."""
    rows = events.execute(
        "SELECT entity FROM judged WHERE seq <= ? GROUP BY entity ORDER BY count(*) DESC, entity", [upto]
    ).fetchall()
    names = [entity for (entity,) in rows]
    return names if everyone else names[:60] + names[60::50]


def frames(events, upto, entities, aggregates, length, t_ms, exclude, is_past):
    """The aggregates of each entity, in one query: a probe row stands in the window's last bucket, its frame is the window."""
    length_ms, width_ms = WINDOWS[length]
    low = f"{'ceil_to' if exclude else 'floor_to'}({t_ms} - {length_ms}, {width_ms})"
    high = f"{'floor_to' if exclude and is_past else 'ceil_to'}({t_ms}, {width_ms})"
    values = ", ".join(f"{expression} OVER frame" for expression in aggregates.values())
    rows = events.execute(
        f"""
        WITH bounds AS (SELECT {low} AS low, {high} AS high),
        points AS (
            SELECT entity, floor_to(time_ms, {width_ms}) AS bucket, 0 AS span, seq, time_ms, {", ".join(FIELDS)}
            FROM judged, bounds
            WHERE counted AND seq <= $upto AND time_ms >= low - {width_ms} AND time_ms < high + {width_ms}
            UNION ALL
            SELECT unnest($entities), high - {width_ms}, high - {width_ms} - low, NULL, NULL,
                   {", ".join("NULL" for _ in FIELDS)} FROM bounds),
        answers AS (
            SELECT seq, entity, {values} FROM points
            WINDOW frame AS (PARTITION BY entity ORDER BY bucket RANGE BETWEEN span PRECEDING AND CURRENT ROW))
        SELECT * EXCLUDE seq FROM answers WHERE seq IS NULL
        """,
        {"upto": upto, "entities": entities},
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def finish(aggregate, value, length_ms, t_ms):
    """What SQL's value means in terms of the aggregate."""
    if value is None and aggregate.startswith(("sum", "rate")):
        value = 0 if aggregate in EXACT or aggregate == "rate(deleted)" else 0.0
    if aggregate.startswith("rate"):
        return value / (length_ms / 1000)
    if aggregate == "since" and value is not None:
        return max(0, t_ms - 1 - value)
    if aggregate.startswith("lastk"):
        return [] if value is None else value
    return value


def assert_equal(aggregate, wanted, value, what):
    if isinstance(wanted, float):
        assert isinstance(value, float), f"{what}: a float, not {value!r}"
        tolerance = 0 if aggregate in EXACT or aggregate in ORDERED else RELATIVE
        assert math.isclose(value, wanted, rel_tol=tolerance, abs_tol=0), f"{what}: {value!r}, DuckDB says {wanted!r}"
    else:
        assert (type(value), value) == (type(wanted), wanted), f"{what}: {value!r}, DuckDB says {wanted!r}"


def test_duckdb_frames_mean_what_this_file_believes(port):
    """A probe's frame holds the buckets [low, high), peers included."""
    found = duckdb.execute("""
        SELECT n FROM (
            SELECT bucket, kind, count(v) OVER (ORDER BY bucket RANGE BETWEEN span PRECEDING AND CURRENT ROW) AS n FROM (
                VALUES (10, 0, 1, 'e'), (20, 0, 1, 'e'), (30, 0, 1, 'e'), (30, 0, 1, 'e'), (40, 0, 1, 'e'), (30, 10, NULL, 'p')
            ) AS t(bucket, span, v, kind))
        WHERE kind = 'p'
    """).fetchone()
    assert found == (3,)
