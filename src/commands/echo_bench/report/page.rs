//! The report as a picture and as a page: SVG charts, and one HTML file that needs nothing else.
//!
//! Owns their marks and scales. Must not know how anything was measured. Trade-off: the charts are drawn here, as text, and
//! not by a script in the page: so they are the same in every browser, in a mail and in print, and nothing is fetched.

use std::fmt::Write as _;
use std::time::Duration;

use super::Report;
use crate::histogram::{Histogram, Value};
use crate::units::Latency;

/// A chart's size, and the room for its labels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 80.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 30.0;

/// The columns of the histogram.
const COLUMNS: usize = 60;

/// Colours that are told apart by those who do not see red and green as different (Okabe and Ito).
const BLUE: &str = "#0072b2";
const ORANGE: &str = "#d55e00";

/// Where a value lies between the ends of a logarithmic axis, from 0 to 1.
fn place(value: f64, (low, high): (f64, f64)) -> f64 {
    if high <= low { 0.5 } else { (value.max(low) / low).ln() / (high / low).ln() }
}

fn shown(ns: f64) -> String {
    Latency(Duration::from_nanos(ns as u64)).to_string()
}

/// Text as it may stand in a page: what was typed, or a target's name, is no mark-up.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A chart without its content: title, axis of latencies, and lines.
fn frame(id: &str, title: &str, range: (f64, f64), content: &str) -> String {
    let mut marks = String::new();
    for step in 0..=4 {
        let ns = range.0 * (range.1 / range.0).powf(f64::from(step) / 4.0);
        let y = y_of(ns, range);
        let _ = write!(
            marks,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            shown(ns)
        );
    }
    format!(
        "<g id=\"{id}\"><text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}</text>{marks}{content}</g>",
        escaped(title)
    )
}

fn y_of(ns: f64, range: (f64, f64)) -> f64 {
    HEIGHT - BOTTOM - place(ns, range) * (HEIGHT - BOTTOM - TOP)
}

fn line(points: &[(f64, f64)], colour: &str) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>", points.join(" "))
}

fn below(x: f64, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", HEIGHT - 12.0, escaped(text))
}

fn range_of(histogram: &Histogram) -> (f64, f64) {
    let low = histogram.min().as_nanos().max(1) as f64;
    (low, (histogram.max().as_nanos() as f64).max(low * 1.1))
}

/// Latency over the share of messages, as far as there are ten beyond it: each nine has the same width.
fn spectrum(histogram: &Histogram) -> String {
    let range = range_of(histogram);
    let nines_max = (histogram.total() as f64 / 10.0).max(10.0).log10();
    let x = |nines: f64| LEFT + nines / nines_max * (WIDTH - LEFT - 20.0);
    let mut points = Vec::new();
    let mut lost_from = None;
    for step in 0..=200 {
        let nines = nines_max * f64::from(step) / 200.0;
        match histogram.quantile((1.0 - 10.0_f64.powf(-nines)) * 100.0) {
            Some(Value::Finite(latency)) => points.push((x(nines), y_of(latency.as_nanos() as f64, range))),
            _ => {
                lost_from = Some(x(nines));
                break;
            }
        }
    }
    let mut content = line(&points, BLUE);
    for (nines, name) in
        [(0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")]
    {
        if nines <= nines_max {
            content.push_str(&below(x(nines), name));
        }
    }
    if let Some(from) = lost_from {
        let _ = write!(content, "<text x=\"{from:.1}\" y=\"{:.1}\" fill=\"{ORANGE}\">lost</text>", TOP + 14.0);
    }
    frame("spectrum", "Latency by percentile", range, &content)
}

/// How many messages took how long.
fn bars(histogram: &Histogram) -> String {
    let range = range_of(histogram);
    let mut counts = vec![0_u64; COLUMNS];
    for (ns, count) in histogram.buckets() {
        let column = (place(ns as f64, range) * COLUMNS as f64) as usize;
        counts[column.min(COLUMNS - 1)] += count;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let width = (WIDTH - LEFT - 20.0) / COLUMNS as f64;
    let mut content = format!("<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">Histogram</text>");
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (*count as f64 / most * (HEIGHT - BOTTOM - TOP)).max(1.0);
        let _ = write!(
            content,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{BLUE}\"><title>{count}</title></rect>",
            LEFT + index as f64 * width,
            HEIGHT - BOTTOM - height,
            width - 1.0
        );
    }
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        content
            .push_str(&below(LEFT + share * (WIDTH - LEFT - 20.0), &shown(range.0 * (range.1 / range.0).powf(share))));
    }
    format!("<g id=\"histogram\">{content}</g>")
}

/// The median and the 99th percentile as time went by.
fn time_series(report: &Report) -> String {
    let histogram = &report.round_trip.histogram;
    let range = range_of(histogram);
    let steps = report.time_series.len().max(2) as f64;
    let x = |index: usize| LEFT + index as f64 / (steps - 1.0) * (WIDTH - LEFT - 20.0);
    let points = |of: fn(&super::Step) -> Option<f64>| -> Vec<(f64, f64)> {
        let known = report.time_series.iter().enumerate().filter_map(|(index, step)| Some((index, of(step)?)));
        known.map(|(index, us)| (x(index), y_of(us * 1e3, range))).collect()
    };
    let mut content = line(&points(|step| step.p50_us), BLUE) + &line(&points(|step| step.p99_us), ORANGE);
    let end_s = report.time_series_step_ms * steps / 1e3;
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        content.push_str(&below(LEFT + share * (WIDTH - LEFT - 20.0), &format!("{:.1} s", end_s * share)));
    }
    frame("time-series", "p50 (blue) and p99 (orange) over time", range, &content)
}

/// All charts, one below the other.
pub fn svg(report: &Report) -> String {
    let histogram = &report.round_trip.histogram;
    let charts = if histogram.count() == 0 {
        vec!["<text x=\"20\" y=\"40\">nothing was answered</text>".to_owned()]
    } else {
        vec![spectrum(histogram), time_series(report), bars(histogram)]
    };
    let height = HEIGHT * charts.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    for (index, chart) in charts.iter().enumerate() {
        let _ = write!(text, "<g transform=\"translate(0,{})\">{chart}</g>", HEIGHT * index as f64);
    }
    text.push_str("</svg>\n");
    text
}

/// One page with everything: the report as it is printed, the charts, and the JSON.
pub fn html(report: &Report) -> anyhow::Result<String> {
    let json = serde_json::to_string(report)?;
    // In a script element only its own end would be read as mark-up.
    let data = json.replace("</", "<\\/");
    let mut warnings = String::new();
    for warning in report.environment.iter().flat_map(|environment| &environment.warnings) {
        let _ = write!(warnings, "<li>{}</li>", escaped(warning));
    }
    let environment = serde_json::to_string_pretty(&report.environment)?;
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>sockkit echo-bench: {target}</title>\
         <style>body{{font-family:sans-serif;max-width:800px;margin:2em auto;padding:0 1em}}\
         pre{{background:#f4f4f4;padding:1em;overflow:auto}}svg{{max-width:100%;height:auto}}</style></head><body>\
         <h1>sockkit echo-bench: {target}</h1><pre id=\"report\">{text}</pre><ul id=\"warnings\">{warnings}</ul>\
         {svg}<h2>Environment</h2><pre id=\"environment\">{environment}</pre>\
         <script type=\"application/json\" id=\"data\">{data}</script></body></html>\n",
        target = escaped(&report.target),
        text = escaped(&report.text()),
        svg = svg(report),
        environment = escaped(&environment),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_mark_up() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn a_place_is_between_the_ends() {
        for (value, expected) in [(10.0, 0.0), (100.0, 0.5), (1000.0, 1.0), (1.0, 0.0)] {
            assert!((place(value, (10.0, 1000.0)) - expected).abs() < 1e-9, "{value}");
        }
        assert!((place(5.0, (5.0, 5.0)) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_spectrum_stops_where_messages_were_lost() {
        let mut histogram = Histogram::default();
        histogram.record_many(10_000, 900);
        histogram.record_many(20_000, 50);
        assert!(!spectrum(&histogram).contains(">lost<"));
        histogram.record_lost(50);
        assert!(spectrum(&histogram).contains(">lost<"));
        assert!(!bars(&histogram).contains("NaN") && !spectrum(&histogram).contains("NaN"));
    }
}
