//! The points as CSV (RFC 4180), a line each.

use super::Outcome;
use crate::error::BenchError;

/// All points, with a header.
///
/// # Errors
///
/// None that memory does not have.
pub fn csv(outcome: &Outcome) -> Result<String, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Settings(format!("write CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "axis",
        "value",
        "mode",
        "contender",
        "rate_per_s",
        "rate_per_cpu_s",
        "p50_us",
        "p90_us",
        "p99_us",
        "p999_us",
        "p9999_us",
        "max_us",
        "rss_bytes",
        "wrong",
        "unanswered",
        "overloaded",
        "server",
    ];
    writer.write_record(header).map_err(|error| failed(&error))?;
    for point in &outcome.points {
        let latency = &point.latency;
        let optional = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.0}"));
        let mut record = vec![
            point.axis.to_string(),
            point.value.to_string(),
            point.mode.clone(),
            point.contender.title().to_owned(),
            format!("{:.0}", point.rate_per_s),
            optional(point.rate_per_cpu_s),
        ];
        let percentiles = [
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
            latency.p9999_us,
            latency.max_us,
        ];
        record.extend(percentiles.map(|us| format!("{us:.1}")));
        // The percentiles of one that was overloaded are the least they are; they stay numbers.
        record.extend([
            optional(point.rss_bytes),
            point.wrong.to_string(),
            point.unanswered.to_string(),
            point.is_overloaded.to_string(),
            point.identity.clone().unwrap_or_default(),
        ]);
        writer.write_record(&record).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_line_that_reads_back() {
        let mut outcome = super::super::example();
        outcome.points[1].is_overloaded = true;
        let text = csv(&outcome).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap().len(), 17);
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), outcome.points.len());
        let first = ["pipeline", "1", "events", "Windrow", "4000", "8000", "0.2"];
        assert_eq!(records[0].iter().take(7).collect::<Vec<_>>(), first);
        let overloaded: Vec<_> = records.iter().take(3).map(|record| &record[15]).collect();
        assert_eq!(overloaded, ["false", "true", "false"]);
        let sorted_set = records.iter().find(|record| &record[3] == "Redis sorted set").unwrap();
        assert_eq!((&records[0][16], &sorted_set[16]), ("", "Redis 7.0.15"));
    }
}
