//! Completions, man pages and the README are what the program says.
