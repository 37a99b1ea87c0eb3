//! `--filter` of `volume ls` and `volume prune`.

use crate::cli::args::{Flag, Matches};
use crate::cli::pflag::boolean;
use crate::runtime::volume::Listed;
use anyhow::{Result, bail, ensure};
use regex_lite::Regex;

/// One `--filter KEY=VALUE`.
#[derive(Debug)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

/// Reads the filters. As for Docker an empty one is none, and keys are in small letters.
pub fn parse(matches: &Matches, flag: &Flag) -> Result<Vec<Filter>> {
    let given = matches.texts(flag)?.into_iter().filter(|text| !text.is_empty());
    Ok(given
        .map(|text| {
            // `label!=key` is the key `label!`. That there is a value was seen when the flag was read.
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            Filter { key: key.trim().to_lowercase(), value: value.trim().to_owned() }
        })
        .collect())
}

/// Refuses keys that a command does not know.
pub fn check_keys(filters: &[Filter], known: &[&str]) -> Result<()> {
    for Filter { key, .. } in filters {
        ensure!(!key.is_empty(), "invalid filter");
        ensure!(known.contains(&key.as_str()), "invalid filter '{key}'");
    }
    Ok(())
}

fn values<'a>(filters: &'a [Filter], key: &'static str) -> impl Iterator<Item = &'a str> {
    filters.iter().filter(move |filter| filter.key == key).map(|filter| filter.value.as_str())
}

/// What `dangling` asks for. Docker knows only these four values here.
pub fn dangling(filters: &[Filter]) -> Result<Option<bool>> {
    let mut given: Vec<&str> = values(filters, "dangling").collect();
    if given.is_empty() {
        return Ok(None);
    }
    let is = |names: [&str; 2]| given.iter().any(|value| names.contains(value));
    let (yes, no) = (is(["1", "true"]), is(["0", "false"]));
    if yes == no {
        given.sort_unstable();
        given.dedup();
        bail!("invalid filter 'dangling=[{}]'", given.join(" "));
    }
    Ok(Some(yes))
}

/// What `all` asks `volume prune` for.
pub fn all(filters: &[Filter]) -> Result<bool> {
    let mut given: Vec<&str> = values(filters, "all").collect();
    given.sort_unstable();
    given.dedup();
    match given.as_slice() {
        [] => Ok(false),
        [one] => match boolean(one) {
            Some(all) => Ok(all),
            None => bail!("invalid filter 'all': strconv.ParseBool: parsing {one:?}: invalid syntax"),
        },
        several => bail!("invalid filter 'all=[{}]': only one value is expected", several.join(" ")),
    }
}

/// Whether a volume has a label: `key`, or `key=value`.
fn has_label(volume: &Listed, label: &str) -> bool {
    let labels = &volume.metadata.labels;
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
        None => labels.contains_key(label),
    }
}

/// Whether the labels of a volume are what `label` and `label!` ask for. Of several `label!` the volume must not have all.
pub fn labels_match(filters: &[Filter], volume: &Listed) -> bool {
    let mut excluded = values(filters, "label!").peekable();
    let excludes = excluded.peek().is_some() && excluded.all(|label| has_label(volume, label));
    !excludes && values(filters, "label").all(|label| has_label(volume, label))
}

/// Whether a volume is in the list of `volume ls`, but for `dangling`: all labels have to be there, one of the drivers, one
/// of the names.
pub fn selects(filters: &[Filter], volume: &Listed) -> bool {
    if !labels_match(filters, volume) {
        return false;
    }
    if values(filters, "driver").next().is_some() && !values(filters, "driver").any(|d| d == volume.metadata.driver) {
        return false;
    }
    let mut named = values(filters, "name").peekable();
    if named.peek().is_none() {
        return true;
    }
    named.any(|pattern| pattern == volume.name || Regex::new(pattern).is_ok_and(|regex| regex.is_match(&volume.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::Metadata;

    fn volume(name: &str, labels: &[(&str, &str)]) -> Listed {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Listed {
            name: name.into(),
            mountpoint: "/v".into(),
            metadata: Metadata::new(None, labels, Default::default(), false),
            users: Vec::new(),
            scope: "local".into(),
            status: Default::default(),
        }
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        let filter = |text: &&str| {
            let (key, value) = text.split_once('=').unwrap();
            Filter { key: key.into(), value: value.into() }
        };
        texts.iter().map(filter).collect()
    }

    #[test]
    fn filters_select_as_dockers_do() {
        let volume = volume("web-data", &[("env", "prod"), ("old", "")]);
        let cases = [
            (&[][..], true),
            (&["label=env"], true),
            (&["label=env=prod", "label=old"], true),
            (&["label=env=prod", "label=new"], false),
            (&["label=env=test"], false),
            (&["label!=env"], false),
            (&["label!=env", "label!=new"], true),
            (&["label!=env", "label!=old"], false),
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
            assert_eq!(selects(&filters(texts), &volume), expected, "{texts:?}");
        }
    }

    #[test]
    fn booleans_are_those_of_each_filter() {
        assert_eq!(dangling(&[]).unwrap(), None);
        assert_eq!(dangling(&filters(&["dangling=1", "dangling=maybe"])).unwrap(), Some(true));
        let message = dangling(&filters(&["dangling=T"])).unwrap_err().to_string();
        assert_eq!(message, "invalid filter 'dangling=[T]'");
        let message = dangling(&filters(&["dangling=1", "dangling=0"])).unwrap_err().to_string();
        assert_eq!(message, "invalid filter 'dangling=[0 1]'");
        assert!(all(&filters(&["all=t"])).unwrap() && !all(&filters(&["all=0"])).unwrap());
        let message = all(&filters(&["all=maybe"])).unwrap_err().to_string();
        assert_eq!(message, "invalid filter 'all': strconv.ParseBool: parsing \"maybe\": invalid syntax");
    }
}
