//! `--trace`: the calls that were made, compared with strace's.
