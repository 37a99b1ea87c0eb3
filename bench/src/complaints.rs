//! What went wrong, said once for each contestant.

use crate::contestant::Contestant;
use std::collections::HashSet;

#[derive(Default)]
pub struct Complaints {
    said: HashSet<String>,
}

impl Complaints {
    pub fn say(&mut self, case: &str, who: &Contestant, error: &anyhow::Error) {
        let text = format!("{}: {error:#}", who.name);
        if self.said.contains(&text) {
            eprintln!("{case}: {}: the same as before", who.name);
        } else {
            eprintln!("{case}: {text}");
            self.said.insert(text);
        }
    }
}
