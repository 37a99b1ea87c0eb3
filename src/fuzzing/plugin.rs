//! What a volume plugin answers.

use crate::volumes::driver;

/// The bytes of an HTTP answer with a plugin's JSON, cut off wherever they end.
pub fn plugin(bytes: &[u8]) {
    driver::check_answer(bytes);
}
