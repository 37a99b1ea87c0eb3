//! Checks of the config as a whole; every problem is reported, not only the first.
