//! trueline-conformance
