//! What resctrl says of a container's class and monitoring group, in the JSON form of `runc events`.

use super::{Group, open_directory, read};
use crate::sys::path::open_beneath;
use crate::sys::{Call, Errno, errno_of};
use anyhow::Result;
use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Empty for a container without `linux.intelRdt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The line of the default class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// All lines of the container's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// By memory domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BandwidthInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Bytes since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bandwidth {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    pub llc_occupancy: u64,
}

impl Group {
    /// Reads what there is of the hardware's features.
    pub fn stats(&self, root: &Path) -> Result<Stats> {
        let tree = Tree(open_directory(root)?);
        let default = tree.text("schemata")?.unwrap_or_default();
        let own = tree.text(&format!("{}/schemata", self.class))?.unwrap_or_default();
        let mut stats =
            Stats { schemata: own.lines().map(|line| line.trim().to_owned()).collect(), ..Stats::default() };
        // With code and data prioritisation the resource has two halves.
        for l3 in ["L3", "L3CODE"] {
            let Some(mask) = tree.text(&format!("info/{l3}/cbm_mask"))? else { continue };
            stats.l3_cache_info = Some(CacheInfo {
                cbm_mask: mask,
                min_cbm_bits: tree.number(&format!("info/{l3}/min_cbm_bits"))?,
                num_closids: tree.number(&format!("info/{l3}/num_closids"))?,
            });
            stats.l3_cache_schema_root = line_of(&default, "L3");
            stats.l3_cache_schema = line_of(&own, "L3");
            break;
        }
        if tree.text("info/MB/min_bandwidth")?.is_some() {
            stats.mem_bw_info = Some(BandwidthInfo {
                bandwidth_gran: tree.number("info/MB/bandwidth_gran")?,
                delay_linear: tree.number("info/MB/delay_linear")?,
                min_bandwidth: tree.number("info/MB/min_bandwidth")?,
                num_closids: tree.number("info/MB/num_closids")?,
            });
            stats.mem_bw_schema_root = line_of(&default, "MB");
            stats.mem_bw_schema = line_of(&own, "MB");
        }
        self.monitored(&tree, &mut stats)?;
        Ok(stats)
    }

    fn monitored(&self, tree: &Tree, stats: &mut Stats) -> Result<()> {
        let Some(features) = tree.text("info/L3_MON/mon_features")? else { return Ok(()) };
        let has = |feature: &str| features.lines().any(|line| line == feature);
        let group = self.monitor_path().unwrap_or_else(|| self.class.clone());
        let domains = tree.directories(&format!("{group}/mon_data"))?;
        let value = |domain: &str, file: &str| match has(file) {
            true => tree.number(&format!("{group}/mon_data/{domain}/{file}")),
            false => Ok(0),
        };
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            let read = |domain: &String| {
                let total = value(domain, "mbm_total_bytes")?;
                Ok(Bandwidth { mbm_total_bytes: total, mbm_local_bytes: value(domain, "mbm_local_bytes")? })
            };
            stats.mbm_stats = Some(domains.iter().map(read).collect::<Result<_>>()?);
        }
        if has("llc_occupancy") {
            let read = |domain: &String| Ok(Occupancy { llc_occupancy: value(domain, "llc_occupancy")? });
            stats.cmt_stats = Some(domains.iter().map(read).collect::<Result<_>>()?);
        }
        Ok(())
    }
}

/// The last line for a resource whose name begins so.
fn line_of(schemata: &str, resource: &str) -> String {
    schemata.lines().map(str::trim).rfind(|line| line.starts_with(resource)).unwrap_or_default().to_owned()
}

struct Tree(OwnedFd);

impl Tree {
    /// The text without white space around it; `None` when there is no such file.
    fn text(&self, path: &str) -> Result<Option<String>> {
        match read(&self.0, path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if errno_of(&e) == Some(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// 0 where the hardware says `Unavailable`, or the file is not there.
    fn number(&self, path: &str) -> Result<u64> {
        Ok(self.text(path)?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// The names of the directories in a directory, sorted.
    fn directories(&self, path: &str) -> Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = match open_beneath(self.0.as_fd(), Path::new(path), flags) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            directory => directory.call(|| format!("open {path}"))?,
        };
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory).call(|| format!("open {path}"))?.iter() {
            let entry = entry.call(|| format!("read {path}"))?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() == Some(Type::Directory) && name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_the_hardware_has_is_told() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let group = Group { class: "c1".into(), owned: true, monitor: Some("m1".into()) };
        file(root, "schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n");
        file(root, "c1/schemata", "    MB:0=50;1=100\n    L3:0=f;1=fff\n");
        let stats = group.stats(root).unwrap();
        let lines = ["MB:0=50;1=100", "L3:0=f;1=fff"];
        assert_eq!(stats, Stats { schemata: lines.map(String::from).to_vec(), ..Stats::default() });

        for (name, text) in [("cbm_mask", "fff\n"), ("min_cbm_bits", "1\n"), ("num_closids", "16\n")] {
            file(root, &format!("info/L3/{name}"), text);
        }
        for name in ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"] {
            file(root, &format!("info/MB/{name}"), "10\n");
        }
        file(root, "info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n");
        file(root, "c1/mon_groups/m1/mon_data/mon_L3_00/llc_occupancy", "4096\n");
        file(root, "c1/mon_groups/m1/mon_data/mon_L3_00/mbm_total_bytes", "7\n");
        file(root, "c1/mon_groups/m1/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n");
        let json = serde_json::to_value(group.stats(root).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "l3_cache_info": { "cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16 },
                "l3_cache_schema_root": "L3:0=fff;1=fff",
                "l3_cache_schema": "L3:0=f;1=fff",
                "mem_bw_info": { "bandwidth_gran": 10, "delay_linear": 10, "min_bandwidth": 10, "num_closids": 10 },
                "mem_bw_schema_root": "MB:0=100;1=100",
                "mem_bw_schema": "MB:0=50;1=100",
                "schemata": lines,
                "mbm_stats": [
                    { "mbm_total_bytes": 7, "mbm_local_bytes": 0 }, { "mbm_total_bytes": 0, "mbm_local_bytes": 0 }
                ],
                "cmt_stats": [{ "llc_occupancy": 4096 }, { "llc_occupancy": 0 }],
            })
        );
        assert_eq!(serde_json::to_value(Stats::default()).unwrap(), serde_json::json!({}));
    }
}
