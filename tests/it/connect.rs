//! `sockkit connect`: stdin, stdout, verdicts, statuses.
