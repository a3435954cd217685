//! Unix sockets: streams, datagrams, and the life of the path.
