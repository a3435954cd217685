//! `sockkit echo-bench`: reports, errors, statuses.
