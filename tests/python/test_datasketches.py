"""Approximate aggregates beside the truth, with Apache DataSketches as a second opinion on the same values.

The values lie in many buckets, so that every answer is a merge. The truth is counted here; DataSketches shows that the bounds are
those a well-known implementation keeps on this very data.
"""

import collections
import math
import random

import datasketches
import pytest
from pending import needs

MINUTE = 60_000
BUCKETS = 60
START = 1_700_000_000_000 // (60 * MINUTE) * (60 * MINUTE)
ROWS_PER_COMMAND = 5000
PRECISIONS = [8, 12, 14]
COUNTS = {"ten": 10, "thousand": 1000, "hundred_thousand": 100_000, "million": 1_000_000}
QUANTILES = [0.01, 0.5, 0.9, 0.99, 0.999]
ACCURACY = 0.01

# The number of shards is not what this is about.
pytestmark = pytest.mark.parametrize("port", [4], ids=["four_shards"], indirect=True)


def fill(client, stream, field, entity, values):
    """All values as events, each in a bucket of its own choice: value i in bucket i mod 60."""
    head = ["EVENT.MADD", stream, "FIELDS", 1, field, "EVENTS"]
    for start in range(0, len(values), ROWS_PER_COMMAND):
        rows = []
        for place, value in enumerate(values[start : start + ROWS_PER_COMMAND], start):
            rows += (entity, START + place % BUCKETS * MINUTE, value)
        replies = client.execute_command(*head, *rows)
        assert replies.count("OK") == len(replies) == len(rows) // 3


@needs("sketches")
@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("kind", ["INT", "STRING"])
def test_distinct_is_within_three_sigma(resp3, make_stream, kind, count):
    if kind == "STRING" and count > 100_000:
        count = 200_000  # the same code from the hash on, and slower to send
    aggregates = [f"distinct(v,{precision})" for precision in PRECISIONS]
    definition = ["FIELDS", "v", kind, "WINDOWS", "1h@1m", "all", "AGGREGATE", *aggregates, "CLOCK", "EVENT"]
    stream = make_stream(*definition)
    values = list(range(count)) if kind == "INT" else [f"merchant-{value}" for value in range(count)]
    # A tenth again, in other buckets: what is distinct is not counted twice.
    fill(resp3, stream, "v", "e", values + values[: count // 10 + 7][::-1])
    for precision, aggregate in zip(PRECISIONS, aggregates):
        sigma = 1.04 / math.sqrt(2**precision)
        windowed, lifetime = resp3.execute_command("WINDOW.GET", "e", stream, f"{aggregate}:1h", f"{aggregate}:all")
        for where, estimate in [("1h", windowed), ("all", lifetime)]:
            off = abs(estimate - count) / count
            assert off <= 3 * sigma, f"{aggregate}:{where} of {count}: {estimate}, off by {off / sigma:.2f} sigma"
        if count == 10:
            assert (windowed, lifetime) == (10, 10), "exact while sparse"
        assert abs(second_opinion_distinct(values, precision) - count) / count <= 3 * sigma


def second_opinion_distinct(values, precision):
    """Merged from 60 sketches, as the buckets are."""
    union = datasketches.hll_union(precision)
    for bucket in range(BUCKETS):
        sketch = datasketches.hll_sketch(precision, datasketches.HLL_8)
        for value in values[bucket::BUCKETS]:
            sketch.update(value)
        union.update(sketch)
    return union.get_estimate()


def distributions():
    chance = random.Random(7)
    count = 100_000
    return {
        "uniform": [chance.uniform(0, 1000) for _ in range(count)],
        "lognormal": [chance.lognormvariate(0, 2.5) for _ in range(count)],
        "both_signs": [chance.gauss(0, 100) for _ in range(count)],
        "mostly_zero": [0.0 if chance.random() < 0.7 else chance.expovariate(0.01) for _ in range(count)],
        "negative": [-chance.paretovariate(1.5) for _ in range(count)],
    }


@needs("sketches")
@pytest.mark.parametrize("name", distributions())
def test_quantiles_are_within_one_percent(resp3, make_stream, name):
    values = distributions()[name]
    aggregates = [f"quantile(v,{q})" for q in QUANTILES]
    definition = ["FIELDS", "v", "FLOAT", "WINDOWS", "1h@1m", "all", "AGGREGATE", *aggregates, "CLOCK", "EVENT"]
    stream = make_stream(*definition)
    fill(resp3, stream, "v", "e", values)
    ranked = sorted(values)
    second_opinion = datasketches.kll_doubles_sketch(400)
    for value in values:
        second_opinion.update(value)
    rank_error = second_opinion.normalized_rank_error(False)
    for length in ("1h", "all"):
        answers = resp3.execute_command("WINDOW.GET", "e", stream, *(f"{aggregate}:{length}" for aggregate in aggregates))
        for q, answer in zip(QUANTILES, answers):
            place = q * (len(ranked) - 1)
            # The two neighbours of the exact place, each widened by the accuracy.
            low, high = widened(ranked[math.floor(place)])[0], widened(ranked[math.ceil(place)])[1]
            assert low <= answer <= high, f"quantile {q} of {name}:{length}: {answer}, not in [{low}, {high}]"
            lowest, highest = widened(answer)
            below, above = second_opinion.get_rank(lowest, False), second_opinion.get_rank(highest, True)
            assert below - 2 * rank_error <= q <= above + 2 * rank_error, f"KLL: {answer} has rank {below} to {above}"


def widened(value):
    return sorted((value * (1 - ACCURACY), value * (1 + ACCURACY)))


@needs("sketches")
@pytest.mark.parametrize("k", [3, 10, 50])
@pytest.mark.parametrize("exponent", [0.8, 1.1, 1.5])
def test_topk_has_every_value_heavier_than_its_share(resp3, make_stream, k, exponent):
    chance = random.Random(k * 100 + int(exponent * 10))
    names = [f"merchant-{place}" for place in range(20_000)]
    weights = [(place + 1) ** -exponent for place in range(len(names))]
    values = chance.choices(names, weights, k=100_000)
    stream = make_stream(*f"FIELDS v STRING WINDOWS 1h@1m all AGGREGATE topk(v,{k}) CLOCK EVENT".split())
    fill(resp3, stream, "v", "e", values)
    truth = collections.Counter(values)
    heavy = {value for value, count in truth.items() if count > len(values) / k}
    assert heavy or exponent < 1.5, "the steepest distribution has a heavy value for every k"
    second_opinion = datasketches.frequent_strings_sketch(12)
    for value in values:
        second_opinion.update(value)
    no_false_negatives = datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES
    theirs = {item[0] for item in second_opinion.get_frequent_items(no_false_negatives, len(values) // k)}
    for length in ("1h", "all"):
        (rows,) = resp3.execute_command("WINDOW.GET", "e", stream, f"topk(v,{k}):{length}")
        found = [value for value, _ in rows]
        counts = [count for _, count in rows]
        assert len(rows) <= k and len(set(found)) == len(found)
        assert counts == sorted(counts, reverse=True)
        assert heavy <= set(found), f"{length}: {heavy - set(found)} have more than {len(values) / k}"
        assert heavy <= theirs
        for value, count in rows:
            assert count >= 1 and value in truth


@needs("sketches")
def test_topk_is_exact_while_the_values_fit(resp3, make_stream):
    stream = make_stream(*"FIELDS v STRING WINDOWS 1h@1m AGGREGATE topk(v,5) countby(v,8) CLOCK EVENT".split())
    values = [name for name, count in zip("abcdefg", (700, 600, 500, 400, 300, 200, 100)) for _ in range(count)]
    random.Random(1).shuffle(values)
    fill(resp3, stream, "v", "e", values)
    top, by = resp3.execute_command("WINDOW.GET", "e", stream, "topk(v,5):1h", "countby(v,8):1h")
    assert top == [["a", 700], ["b", 600], ["c", 500], ["d", 400], ["e", 300]]
    assert by == [*top, ["f", 200], ["g", 100]]
