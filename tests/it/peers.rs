//! Other programs on the other end: nc, ncat, socat, Python.
