//! trueline-runtime
