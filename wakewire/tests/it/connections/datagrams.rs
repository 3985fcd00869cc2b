//! Requests over `udp`: at most once, and what is lost is not known.
