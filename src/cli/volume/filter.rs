//! `--filter` of `volume ls` and `volume prune`.

use crate::runtime::volume::Listed;
use anyhow::{Context as _, Result, bail, ensure};
use regex_lite::Regex;

/// One `--filter KEY=VALUE`.
#[derive(Debug)]
pub struct Filter<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// Reads the filters; only the keys of `known` are good.
pub fn parse<'a>(filters: &[&'a str], known: &[&str]) -> Result<Vec<Filter<'a>>> {
    filters
        .iter()
        .map(|text| {
            // `label!=key` is the key `label!`.
            let (key, value) = text.split_once('=').context("bad format of filter (expected name=value)")?;
            ensure!(known.contains(&key), "invalid filter '{key}'");
            Ok(Filter { key, value })
        })
        .collect()
}

/// Docker's booleans.
pub fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => bail!("invalid filter '{key}=[{value}]'"),
    }
}

/// Whether a volume has a label: `key`, or `key=value`.
pub fn has_label(volume: &Listed, label: &str) -> bool {
    let labels = &volume.metadata.labels;
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
        None => labels.contains_key(label),
    }
}

/// Whether a volume is in the list of `volume ls`: of the labels it needs all, of drivers and names one.
pub fn selects(filters: &[Filter], volume: &Listed) -> Result<bool> {
    let values = |key: &'static str| filters.iter().filter(move |filter| filter.key == key).map(|filter| filter.value);
    for value in values("dangling") {
        if boolean("dangling", value)? != volume.users.is_empty() {
            return Ok(false);
        }
    }
    if !values("label").all(|label| has_label(volume, label)) {
        return Ok(false);
    }
    if values("driver").next().is_some() && !values("driver").any(|driver| driver == volume.metadata.driver) {
        return Ok(false);
    }
    let mut named = values("name").peekable();
    if named.peek().is_none() {
        return Ok(true);
    }
    Ok(named.any(|pattern| {
        // What is no regular expression is itself what is looked for.
        Regex::new(pattern).map_or_else(|_| volume.name.contains(pattern), |regex| regex.is_match(&volume.name))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::Metadata;

    fn volume(name: &str, labels: &[(&str, &str)], users: &[&str]) -> Listed {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Listed {
            name: name.into(),
            mountpoint: "/v".into(),
            metadata: Metadata::new(None, labels, Default::default(), false),
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            scope: "local".into(),
            status: Default::default(),
        }
    }

    #[test]
    fn filters_select_as_dockers_do() {
        let volume = volume("web-data", &[("env", "prod"), ("old", "")], &["c1"]);
        let cases = [
            (&[][..], true),
            (&["dangling=false"], true),
            (&["dangling=1"], false),
            (&["label=env"], true),
            (&["label=env=prod", "label=old"], true),
            (&["label=env=prod", "label=new"], false),
            (&["label=env=test"], false),
            (&["driver=local"], true),
            (&["driver=nfs"], false),
            (&["driver=nfs", "driver=local"], true),
            (&["name=data"], true),
            (&["name=^data"], false),
            (&["name=^web-.*$", "driver=local"], true),
            (&["name=x", "name=web"], true),
            (&["name=["], false),
        ];
        for (texts, expected) in cases {
            let filters = parse(texts, &["dangling", "driver", "label", "name"]).unwrap();
            assert_eq!(selects(&filters, &volume).unwrap(), expected, "{texts:?}");
        }
        assert_eq!(parse(&["size=3"], &["name"]).unwrap_err().to_string(), "invalid filter 'size'");
        assert!(parse(&["name"], &["name"]).unwrap_err().to_string().contains("expected name=value"));
        let filters = parse(&["dangling=perhaps"], &["dangling"]).unwrap();
        assert!(selects(&filters, &volume).is_err());
        assert_eq!(parse(&["label!=x"], &["label!"]).unwrap()[0].key, "label!");
    }
}
