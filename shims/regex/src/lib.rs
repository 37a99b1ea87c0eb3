//! Stands in for the crate `regex`: oci-spec checks one value with it (`execCPUAffinity`), by an expression without
//! Unicode classes. The whole engine would be a fifth of the binary.

pub use regex_lite::Regex;
