//! trueline-tests
