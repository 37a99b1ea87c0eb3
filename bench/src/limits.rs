//! The lowest memory limit with which a container still starts: what its creation is charged for.

use crate::cases::{Leftovers, Profile};
use crate::complaints::Complaints;
use crate::contestant::{Contestant, Names};
use crate::place::{Cgroups, Place};
use crate::sys;
use crate::table::Table;
use anyhow::{Result, bail};
use serde_json::json;

/// Limits are tried in steps of this many KiB, up to the highest.
const STEP: u64 = 8;
const HIGHEST: u64 = 32 * 1024;
/// A limit is enough if the container starts this many times in a row.
const REPEATS: usize = 3;

pub fn print(place: &Place, contestants: &[Contestant], complaints: &mut Complaints, markdown: bool) {
    let controller = match place.cgroups {
        Cgroups::V1 => place.hierarchies.iter().any(|h| h.ends_with("memory")),
        Cgroups::V2 => std::fs::read_to_string(place.hierarchies[0].join("cgroup.controllers"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|c| c == "memory")),
    };
    if !controller {
        println!("limits: left out, this hierarchy has no memory controller");
        return;
    }
    let names = contestants.iter().map(|c| c.name.clone());
    let mut table = Table::new(std::iter::once(String::new()).chain(names).collect());
    for (name, profile) in [("minimal", Profile::Minimal), ("docker", Profile::Docker)] {
        let mut row = vec![name.to_owned()];
        for who in contestants {
            row.push(match lowest(place, who, profile) {
                Ok(limit) => limit.to_string(),
                Err(error) => {
                    complaints.say("limits", who, &error);
                    "n/a".into()
                }
            });
        }
        table.push(row);
    }
    println!("Lowest memory limit that starts /bin/true, in KiB:");
    table.print(markdown);
    println!();
}

/// By bisection.
fn lowest(place: &Place, who: &Contestant, profile: Profile) -> Result<u64> {
    let (mut too_low, mut enough) = (0, HIGHEST / STEP);
    if !starts(place, who, profile, HIGHEST)? {
        bail!("{HIGHEST} KiB are not enough");
    }
    while enough - too_low > 1 {
        if sys::interrupted() {
            bail!("interrupted");
        }
        let middle = (too_low + enough) / 2;
        if starts(place, who, profile, middle * STEP)? { enough = middle } else { too_low = middle }
    }
    Ok(enough * STEP)
}

fn starts(place: &Place, who: &Contestant, profile: Profile, kib: u64) -> Result<bool> {
    let id = format!("limit-{}", who.name);
    let mut config = profile.config(place)?;
    config["linux"]["resources"]["memory"] = json!({"limit": kib * 1024});
    let bundle = place.bundle(&id, config)?;
    let pid_file = bundle.join("pid");
    let names = Names { cgroup: format!("{}/{id}", place.cgroup), id, bundle, pid_file };
    let command = who.run_limited(place, &names, profile, kib * 1024)?;
    let _leftovers = Leftovers { place, who, names: vec![names] };
    for _ in 0..REPEATS {
        if !place.succeeds(&command)? {
            return Ok(false);
        }
    }
    Ok(true)
}
