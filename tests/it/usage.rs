//! Bad input, closed and full streams, exit statuses.
