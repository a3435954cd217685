//! Ports that are taken, descriptors that run out, accepts that fail.
