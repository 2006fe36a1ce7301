//! One plot as SVG: lines over a logarithmic axis.

use crate::error::BenchError;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, Ranged,
    SVGBackend, SeriesLabelPosition, WHITE,
};
use plotters::style::{BLACK, Color};
use std::ops::Range;

/// Width and height of a plot.
const SIZE: (u32, u32) = (620, 380);

/// Colours that those who do not see red and green as others do can tell apart (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 11] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    // Valkey's: those of the like Redis, darker.
    RGBColor(128, 56, 0),
    RGBColor(0, 90, 66),
    RGBColor(120, 64, 94),
    RGBColor(138, 95, 0),
];

/// A line: its name, its colour's number, its points.
pub(super) struct Series {
    pub name: String,
    pub colour: usize,
    pub points: Vec<(f64, f64)>,
}

/// A plot of lines.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub x_title: &'a str,
    pub y_title: &'a str,
    /// The values of x are quantiles, drawn by what is left above them.
    pub is_quantiles: bool,
    pub y_text: fn(f64) -> String,
}

impl Chart<'_> {
    /// The plot, or nothing where there are no points.
    pub fn svg(&self, series: &[Series]) -> Result<Option<String>, BenchError> {
        let x_of = |x: f64| if self.is_quantiles { 1.0 / (1.0 - x) } else { x };
        let all = || series.iter().flat_map(|series| &series.points).filter(|(_, y)| *y > 0.0);
        let (Some(x), Some(y)) = (range(all().map(|(x, _)| x_of(*x))), range(all().map(|(_, y)| *y))) else {
            return Ok(None);
        };
        let mut text = String::new();
        self.draw(&mut text, series, x, y, x_of)
            .map_err(|error| BenchError::Settings(format!("plot: {error}")))?;
        Ok(Some(text))
    }

    fn draw(
        &self,
        text: &mut String,
        series: &[Series],
        x: Range<f64>,
        y: Range<f64>,
        x_of: impl Fn(f64) -> f64,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(78)
            .build_cartesian_2d(logarithmic(x), logarithmic(y))?;
        let x_text = |x: &f64| if self.is_quantiles { quantile(*x) } else { short(*x) };
        let y_text = |y: &f64| (self.y_text)(*y);
        chart
            .configure_mesh()
            .x_desc(self.x_title)
            .y_desc(self.y_title)
            .x_label_formatter(&x_text)
            .y_label_formatter(&y_text)
            .light_line_style(BLACK.mix(0.04))
            .bold_line_style(BLACK.mix(0.12))
            .label_style(("sans-serif", 12))
            .draw()?;
        for Series { name, colour, points } in series {
            let colour = COLOURS[colour % COLOURS.len()];
            let points: Vec<(f64, f64)> =
                points.iter().filter(|(_, y)| *y > 0.0).map(|(x, y)| (x_of(*x), *y)).collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 12))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

fn logarithmic(
    range: Range<f64>,
) -> impl AsRangedCoord<Value = f64, CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>> {
    range.log_scale()
}

/// From the least to the greatest, with some room; `None` without numbers.
fn range(numbers: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (least, greatest) = numbers
        .fold((f64::MAX, f64::MIN), |(least, greatest), number| (least.min(number), greatest.max(number)));
    (least <= greatest).then(|| least / 1.3..greatest * 1.6)
}

/// A number with the unit of its size: 20k, 1.5M.
pub(super) fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// 1, 10, 100 … of which one is slower: p0, p90, p99 …
fn quantile(one_in: f64) -> String {
    let text = format!("{:.5}", 100.0 * (1.0 - 1.0 / one_in));
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [(1.0, "1"), (20_000.0, "20k"), (1_500_000.0, "1.5M"), (0.25, "0.25")] {
            assert_eq!(short(number), text);
        }
        assert_eq!([1.0, 10.0, 1000.0].map(quantile), ["p0", "p90", "p99.9"]);
    }

    #[test]
    fn a_plot_has_its_title_its_lines_and_nothing_from_elsewhere() {
        let chart = Chart { title: "T<1>", x_title: "x", y_title: "y", is_quantiles: true, y_text: short };
        let series =
            [Series { name: "a".to_owned(), colour: 0, points: vec![(0.0, 1.0), (0.5, 2.0), (0.9, 0.0)] }];
        let svg = chart.svg(&series).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.contains("T&lt;1&gt;"), "{svg}");
        assert_eq!(svg.matches("http").count(), 1, "only the namespace names an address");
        assert!(chart.svg(&[]).unwrap().is_none());
    }
}
