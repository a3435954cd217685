//! Columns for programs: comma-separated values, and lines for grep.
//!
//! Owns their columns, which stay where they are. Must not know people. Trade-off: RFC 4180's quoting for the one, and for
//! the other no quoting at all: a tab, which no target contains, between two columns.

use super::records::{port, protocol};
use crate::commands::probe::verdict::Verdict;
use crate::units::milliseconds;

/// The first line of `csv`.
pub fn csv_heading() -> String {
    "target,address,port,protocol,state,class,errno,errname,error,resolve_ms,connect_ms,first_byte_ms,local,attempt"
        .to_owned()
}

/// The line of a verdict in `csv`.
pub fn csv(verdict: &Verdict) -> String {
    fn shown(value: Option<impl ToString>) -> String {
        value.map_or(String::new(), |value| value.to_string())
    }
    let columns = [
        verdict.target.to_string(),
        shown(verdict.address.as_ref()),
        shown(port(verdict)),
        protocol(verdict).to_owned(),
        verdict.state().name().to_owned(),
        verdict.class().to_owned(),
        shown(verdict.errno()),
        verdict.errname().to_owned(),
        shown(verdict.error.as_ref()),
        milliseconds(verdict.resolve).to_string(),
        milliseconds(verdict.elapsed).to_string(),
        shown(verdict.first_byte.map(milliseconds)),
        shown(verdict.local.as_ref()),
        verdict.attempt.to_string(),
    ];
    columns.map(|column| quoted(&column)).join(",")
}

/// RFC 4180 section 2: a field with a comma, a quote or a line break is quoted, and its quotes are doubled.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The line of a verdict in `grep`.
pub fn grep(verdict: &Verdict) -> String {
    let address = verdict.address.as_ref().map_or("-".to_owned(), |address| match address.ip() {
        Some(ip) => ip.to_string(),
        None => address.to_string(),
    });
    let port = port(verdict).map_or("-".to_owned(), |port| port.to_string());
    let (state, errname) = (verdict.state().name(), verdict.errname());
    format!("{state}\t{}\t{address}\t{port}\t{errname}\t{}", protocol(verdict), verdict.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_only_where_it_must_be() {
        for (field, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("", ""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(quoted(field), expected);
        }
    }
}
