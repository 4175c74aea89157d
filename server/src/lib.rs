//! trueline-server
