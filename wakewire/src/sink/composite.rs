//! Several sinks behind one name.
