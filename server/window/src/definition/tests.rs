//! What STREAM.CREATE accepts, refuses and makes of it.

use super::{ClockMode, Definition, SkewAction};
use crate::layout::Layout;

const PURCHASES: &str = "FIELDS amount FLOAT merchant STRING WINDOWS 5m@5s 1h@1m 7d@1h AGGREGATE count sum(amount) max(amount) count(merchant):7d";

fn parse(text: &str) -> Result<Definition, String> {
    Definition::parse_text("purchases", text).map_err(|error| error.to_string())
}

fn layout(text: &str) -> Layout {
    Layout::compile(&parse(text).unwrap()).unwrap()
}

#[test]
fn a_definition_round_trips_through_its_text() {
    for text in [
        PURCHASES,
        "WINDOWS all AGGREGATE count",
        "FIELDS n INT WINDOWS 1h all AGGREGATE count sum(n):all rate:1h CLOCK EVENT LATENESS 90s SKEW 5s REJECT RETAIN 2h@1m TTL 1d",
        "fields clock float windows 60m aggregate COUNT Sum(clock) clock wall retain 5m",
    ] {
        let definition = parse(text).unwrap();
        let again = parse(&definition.to_args_text()).unwrap();
        assert_eq!(definition, again, "{}", definition.to_args_text());
        assert!(definition.same_as(&again));
    }
}

#[test]
fn a_field_may_have_a_keywords_name() {
    let definition =
        parse("FIELDS clock FLOAT WINDOWS INT WINDOWS 5m AGGREGATE sum(clock) sum(WINDOWS)").unwrap();
    assert_eq!(definition.fields.len(), 2);
    assert_eq!(definition.windows.len(), 1);
}

#[test]
fn durations_are_compared_by_value_and_order_does_not_matter() {
    let one =
        parse("FIELDS a FLOAT b INT WINDOWS 60m 5m AGGREGATE sum(a) max(b):5m:60m SKEW 60s CLAMP").unwrap();
    let other = parse("AGGREGATE max(b) sum(a) WINDOWS 5m 1h FIELDS b INT a FLOAT").unwrap();
    assert_eq!(one.difference(&other), None);
    let third = parse("AGGREGATE max(b) sum(b) WINDOWS 5m 1h FIELDS b INT a FLOAT").unwrap();
    assert!(one.difference(&third).unwrap().contains("sum(b)"));
}

#[test]
fn the_default_width_divides_the_length_and_is_at_most_a_sixtieth() {
    for (window, width_ms) in [
        ("5m", 5_000),
        ("1h", 60_000),
        ("7d", 3_600_000),
        ("30d", 43_200_000),
        ("1d", 900_000),
        ("15m", 15_000),
        ("10s", 100),
        ("6s", 100),
        ("365d", 86_400_000),
        ("1m", 1_000),
    ] {
        let definition = parse(&format!("WINDOWS {window} AGGREGATE count RETAIN 0s")).unwrap();
        assert_eq!(definition.windows[0].width_ms, width_ms, "{window}");
    }
    for window in ["5s", "1s", "6001ms", "59ms"] {
        assert!(parse(&format!("WINDOWS {window} AGGREGATE count")).unwrap_err().contains('@'), "{window}");
    }
}

#[test]
fn a_tier_keeps_its_longest_window_retain_skew_and_one_bucket() {
    // The rule: N = ⌈(longest + RETAIN)/w⌉ + ⌈SKEW/w⌉ + 1.
    let layout =
        layout("WINDOWS 5m@1m 1h@1m 10s@100ms AGGREGATE count RETAIN 90s@1m SKEW 250ms REJECT LATENESS 1s");
    let tiers: Vec<(i64, i64, usize)> =
        layout.tiers.iter().map(|tier| (tier.width_ms, tier.retain_ms, tier.slots)).collect();
    assert_eq!(tiers, [(100, 1_100, 100 + 11 + 3 + 1), (60_000, 90_000, 60 + 2 + 1 + 1)]);
}

#[test]
fn default_retain_is_lateness_and_one_bucket() {
    assert_eq!(layout("WINDOWS 1h@1m AGGREGATE count").tiers[0].retain_ms, 60_000);
    assert_eq!(layout("WINDOWS 1h@1m AGGREGATE count LATENESS 10m").tiers[0].retain_ms, 660_000);
    assert_eq!(layout("WINDOWS 1h@1m AGGREGATE count LATENESS 10m RETAIN 0s").tiers[0].retain_ms, 0);
}

#[test]
fn skew_is_clamped_on_the_wall_clock_and_rejected_on_event_time() {
    let wall = parse("WINDOWS 1h AGGREGATE count").unwrap();
    assert_eq!((wall.clock, wall.skew_ms, wall.skew_action), (ClockMode::Wall, 60_000, SkewAction::Clamp));
    let event = parse("WINDOWS 1h AGGREGATE count CLOCK EVENT").unwrap();
    assert_eq!(
        (event.clock, event.skew_ms, event.skew_action),
        (ClockMode::Event, 60_000, SkewAction::Reject)
    );
}

#[test]
fn dedup_is_part_of_the_definition_and_compared_by_value() {
    let text = "WINDOWS 1h AGGREGATE count dedup 600s";
    let definition = parse(text).unwrap();
    assert_eq!(definition.dedup_ms, Some(600_000));
    assert!(definition.to_args_text().ends_with(" DEDUP 10m"), "{}", definition.to_args_text());
    let other = parse("WINDOWS 1h AGGREGATE count").unwrap();
    assert_eq!(other.dedup_ms, None);
    assert_eq!(definition.difference(&other).unwrap(), "it has DEDUP 10m, not nothing there");
    assert_eq!(definition.difference(&parse("DEDUP 10m WINDOWS 1h AGGREGATE count").unwrap()), None);
}

#[test]
fn aggregates_apply_to_all_windows_or_to_those_behind_them() {
    let names =
        |text: &str| layout(text).features.iter().map(|feature| feature.name.to_string()).collect::<Vec<_>>();
    assert_eq!(
        names("FIELDS x FLOAT WINDOWS 5m 60m all AGGREGATE count sum(x):1h rate"),
        ["count:5m", "count:1h", "count:all", "sum(x):1h", "rate:5m", "rate:1h"]
    );
}

#[test]
fn partials_that_several_aggregates_need_are_stored_once() {
    let layout = layout("FIELDS x FLOAT WINDOWS 5m AGGREGATE sum(x) avg(x) rate(x) count(x)");
    assert_eq!(layout.tiers[0].columns.len(), 2);
}

#[test]
fn aggregates_with_numbers_have_one_text_and_are_compared_by_value() {
    let text = "FIELDS x FLOAT s STRING WINDOWS 5m all AGGREGATE lastk(x,03) distinct(s,12) Quantile(x,.50) topk(s,5) \
                countby(s,7):5m decaysum(x,60m) distinct(x,9)";
    let one = parse(text).unwrap();
    let aggregates = "AGGREGATE lastk(x,3) distinct(s) quantile(x,0.5) topk(s,5) countby(s,7):5m decaysum(x,1h) distinct(x,9) ";
    assert!(one.to_args_text().contains(aggregates), "{}", one.to_args_text());
    let again = parse(&one.to_args_text()).unwrap();
    assert_eq!(again, one);
    let moved = "FIELDS s STRING x FLOAT WINDOWS all 5m AGGREGATE distinct(x,9) decaysum(x,1h):all countby(s,7):5m topk(s,5) \
                 quantile(x,0.5) distinct(s) lastk(x,3)";
    assert_eq!(one.difference(&parse(moved).unwrap()), None);
    assert!(one.difference(&parse(&moved.replace("0.5", "0.51")).unwrap()).is_some());
    assert!(one.difference(&parse(&moved.replace("lastk(x,3)", "lastk(x,4)")).unwrap()).is_some());
    let layout = Layout::compile(&one).unwrap();
    let names: Vec<&str> = layout.features.iter().map(|feature| &*feature.name).collect();
    assert!(names.contains(&"decaysum(x,1h):all") && !names.contains(&"decaysum(x,1h):5m"), "{names:?}");
    let found = crate::query::Feature::find(&layout, b"distinct(s, 12):60s").unwrap();
    assert_eq!(&*found.name, "distinct(s):1m");
}

#[test]
fn all_quantiles_of_a_field_share_one_sketch() {
    let layout =
        layout("FIELDS x FLOAT WINDOWS 5m AGGREGATE quantile(x,0.5) quantile(x,0.99) quantile(x,0.999)");
    assert_eq!(layout.tiers[0].columns.len(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("", "WINDOWS is missing"),
        ("WINDOWS 5m", "AGGREGATE is missing"),
        ("AGGREGATE count", "WINDOWS is missing"),
        ("WINDOWS 5m 300s AGGREGATE count", "window 5m is given twice"),
        ("WINDOWS 5m@7s AGGREGATE count", "7s does not divide"),
        ("WINDOWS 5m@0s AGGREGATE count", "does not divide"),
        ("WINDOWS 5m@10m AGGREGATE count", "does not divide"),
        ("WINDOWS all@1m AGGREGATE count", "no buckets"),
        ("WINDOWS 0s AGGREGATE count", "is not a window"),
        ("WINDOWS -5m AGGREGATE count", "is not a window"),
        ("WINDOWS 5m AGGREGATE sum(x)", "unknown field 'x'"),
        ("FIELDS x STRING WINDOWS 5m AGGREGATE sum(x)", "is a STRING"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE sum", "needs a field"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE median(x)", "unknown aggregate"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE sum(x", "is not an aggregate"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE count count", "given twice"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE count:1h", "none of the stream's windows"),
        ("FIELDS x FLOAT WINDOWS 5m 1h AGGREGATE count:5m", "window 1h has no aggregate"),
        ("FIELDS x FLOAT WINDOWS 5m all AGGREGATE count rate:all", "no value over 'all'"),
        ("FIELDS x FLOAT WINDOWS all AGGREGATE rate", "applies to none"),
        ("FIELDS x STRING WINDOWS 5m AGGREGATE quantile(x,0.5)", "is a STRING"),
        ("FIELDS x STRING WINDOWS 5m AGGREGATE stddev_pop(x)", "is a STRING"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE lastk(x)", "'lastk': write it as lastk(field,k)"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE lastk(x,0)", "a number from 1 to 1000, not '0'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE topk(x,1001)", "a number from 1 to 1000, not '1001'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE countby(x,-3)", "a number from 1 to 1000, not '-3'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE countby(x,3,4)", "at most 2 arguments"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE distinct(x,3)", "a number from 4 to 16, not '3'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE distinct(x,17)", "a number from 4 to 16, not '17'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE quantile(x,1)", "between 0 and 1, as 0.99, not '1'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE quantile(x,0)", "between 0 and 1, as 0.99, not '0'"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE quantile(x,nan)", "between 0 and 1"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE quantile(x)", "write it as quantile(field,q)"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE sum(x,2)", "write it as sum(field)"),
        ("FIELDS x FLOAT WINDOWS all AGGREGATE decaysum(x,soon)", "the half-life is a duration above 0"),
        ("FIELDS x FLOAT WINDOWS all AGGREGATE decaysum(x,0s)", "the half-life is a duration above 0"),
        ("FIELDS x FLOAT WINDOWS 5m AGGREGATE count decaysum(x,1h)", "kept for 'all' only"),
        ("FIELDS x FLOAT WINDOWS 5m all AGGREGATE count decaysum(x,1h):5m", "kept for 'all' only"),
        ("FIELDS x FLOAT x INT WINDOWS 5m AGGREGATE count", "declared twice"),
        ("FIELDS x DOUBLE WINDOWS 5m AGGREGATE count", "needs a type"),
        ("FIELDS x WINDOWS 5m AGGREGATE count", "needs a type"),
        ("FIELDS 9x FLOAT WINDOWS 5m AGGREGATE count", "invalid field name"),
        ("WINDOWS 5m AGGREGATE count CLOCK LOCAL", "CLOCK is WALL or EVENT"),
        ("WINDOWS 5m AGGREGATE count CLOCK", "CLOCK takes one word"),
        ("WINDOWS 5m AGGREGATE count CLOCK EVENT SKEW 1s CLAMP", "needs CLOCK WALL"),
        ("WINDOWS 5m AGGREGATE count SKEW 1s", "SKEW takes a duration and"),
        ("WINDOWS 5m AGGREGATE count LATENESS soon", "LATENESS needs a duration"),
        ("WINDOWS 5m AGGREGATE count RETAIN 1h@1h", "no window has buckets of that width"),
        ("WINDOWS 5m AGGREGATE count RETAIN 1h 2h", "given twice"),
        ("WINDOWS 5m AGGREGATE count TTL 1m", "TTL 1m is shorter"),
        ("WINDOWS 5m AGGREGATE count DEDUP", "DEDUP takes one word"),
        ("WINDOWS 5m AGGREGATE count DEDUP soon", "DEDUP needs a duration"),
        ("WINDOWS 5m AGGREGATE count DEDUP 0s", "at least 1ms"),
        ("WINDOWS 5m AGGREGATE count BACKFILL FROM other", "BACKFILL is not a part of a definition"),
        ("WINDOWS 5m AGGREGATE count BACKFILL s", "BACKFILL is followed by FROM and a stream"),
        (
            "WINDOWS 5m AGGREGATE count BACKFILL FROM purchases",
            "BACKFILL FROM 'purchases' is the stream itself",
        ),
        ("WINDOWS 5m AGGREGATE count WINDOWS 1h", "WINDOWS is given twice"),
        ("WINDOWS 5m AGGREGATE count FOREVER", "unknown aggregate 'FOREVER'"),
        ("SOMETIMES WINDOWS 5m AGGREGATE count", "syntax error at 'SOMETIMES'"),
        ("FIELDS x FLOAT WINDOWS 30d@1s AGGREGATE sum(x)", "a full record would take"),
        ("WINDOWS 8640000000000000ms@1ms AGGREGATE count", "a full record would take"),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    for name in ["", "9s", "a b", "é", &"n".repeat(65)] {
        assert!(
            Definition::parse_text(name, PURCHASES).unwrap_err().to_string().contains("invalid stream name"),
            "{name}"
        );
    }
    assert!(Definition::parse_text(&"n".repeat(64), PURCHASES).is_ok());
}

#[test]
fn a_full_record_beyond_the_limit_says_what_takes_the_room() {
    let error = parse("FIELDS x FLOAT WINDOWS 10h@1s 30d@1m AGGREGATE sum(x) count").unwrap_err();
    assert!(error.contains("buckets of 1s take") && error.contains("buckets of 1m take"), "{error}");
}

fn alter(text: &str, words: &str) -> Result<Definition, String> {
    let words: Vec<&[u8]> = words.split_ascii_whitespace().map(str::as_bytes).collect();
    parse(text).unwrap().altered(&words).map_err(|error| error.to_string())
}

#[test]
fn an_alter_makes_what_creating_the_stream_so_would_have_made() {
    for (before, words, after) in [
        (
            "WINDOWS 5m AGGREGATE count",
            "add fields add FLOAT windows 1h aggregate sum(add):1h",
            "FIELDS add FLOAT WINDOWS 5m 1h AGGREGATE count sum(add):1h",
        ),
        (
            "WINDOWS 5m 1h AGGREGATE count rate:1h",
            "DROP WINDOWS 60m AGGREGATE rate",
            "WINDOWS 5m AGGREGATE count",
        ),
        (
            "WINDOWS 5m 1h AGGREGATE count rate:1h",
            "ADD AGGREGATE rate:5m",
            "WINDOWS 5m 1h AGGREGATE count rate",
        ),
        (
            "WINDOWS 5m 1h AGGREGATE count rate",
            "DROP AGGREGATE rate:5m",
            "WINDOWS 5m 1h AGGREGATE count rate:1h",
        ),
        (
            "WINDOWS 5m AGGREGATE count LATENESS 1m TTL 1d",
            "SET TTL NONE LATENESS 2m SKEW 5s REJECT ADD WINDOWS all",
            "WINDOWS 5m all AGGREGATE count LATENESS 2m SKEW 5s REJECT",
        ),
    ] {
        let altered = alter(before, words).unwrap();
        assert_eq!(altered.difference(&parse(after).unwrap()), None, "{words}");
        let declared = parse(before).unwrap().altered_to(&parse(after).unwrap()).unwrap();
        assert_eq!(altered.difference(&declared), None, "{words}");
    }
}

#[test]
fn an_alter_that_cannot_be_says_why() {
    for (words, part) in [
        ("ADD", "ADD takes FIELDS, WINDOWS, AGGREGATE"),
        ("ADD WINDOWS", "nothing behind it"),
        ("DROP FIELDS a", "DROP takes WINDOWS, AGGREGATE"),
        ("RENAME x", "is not ADD, DROP or SET"),
        ("ADD AGGREGATE sum(a) BACKFILL", "BACKFILL is not a part of a definition"),
        ("ADD FIELDS b INT BACKFILL", "BACKFILL stands once, behind ADD WINDOWS or ADD AGGREGATE"),
        ("SET TTL 9d BACKFILL", "BACKFILL stands once, behind ADD"),
        ("ADD AGGREGATE count", "has count already"),
        ("DROP AGGREGATE max(a)", "has no max(a)"),
        ("DROP WINDOWS 5m", "without a window"),
        ("DROP AGGREGATE count", "AGGREGATE is missing"),
        ("SET TTL 1s", "TTL 1s is shorter"),
        ("SET CLOCK EVENT", "SET takes RETAIN"),
        ("SET SKEW NONE", "SKEW cannot be NONE"),
        ("ADD FIELDS a INT", "'a'"),
    ] {
        let error = alter("FIELDS a FLOAT WINDOWS 5m AGGREGATE count", words).unwrap_err();
        assert!(error.contains(part), "{words}: {error}");
    }
    let stream = parse("FIELDS a FLOAT WINDOWS 5m AGGREGATE count").unwrap();
    for (wanted, part) in [
        ("WINDOWS 5m AGGREGATE count", "field 'a' cannot be removed"),
        ("FIELDS a INT WINDOWS 5m AGGREGATE count", "type of field 'a'"),
        ("FIELDS a FLOAT WINDOWS 5m@1s AGGREGATE count", "bucket width of window 5m"),
        ("FIELDS a FLOAT WINDOWS 5m AGGREGATE count CLOCK EVENT", "CLOCK"),
    ] {
        let error = stream.altered_to(&parse(wanted).unwrap()).unwrap_err();
        assert!(error.contains(part), "{wanted}: {error}");
    }
}
