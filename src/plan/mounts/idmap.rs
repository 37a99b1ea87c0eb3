//! The id mapping of a mount: `idmap`, `ridmap`, `uidMappings` and `gidMappings`.

use super::MountIdMap;
use super::entry::{Entry, Scene};
use crate::plan::Problem;
use crate::plan::namespaces::{IdMap, IdRange, Namespace, check_ranges, to_host};
use oci_spec::runtime::LinuxIdMapping;

/// The mapping that the entry asks for, if it asks for one that can be had.
pub(super) fn plan(scene: &Scene, entry: &Entry, problems: &mut Vec<Problem>) -> Option<MountIdMap> {
    let option = entry.options.idmap.as_ref();
    let uid = entry.mount.uid_mappings().as_deref().filter(|m| !m.is_empty());
    let gid = entry.mount.gid_mappings().as_deref().filter(|m| !m.is_empty());
    let recursive = option.is_some_and(|option| option.recursive);
    let container = scene.namespaces.id_map.as_ref();
    let map = match (uid, gid, option) {
        (None, None, None) => return None,
        (Some(uid), Some(gid), _) => MountIdMap {
            uid: ranges(entry, "uidMappings", uid, problems),
            gid: ranges(entry, "gidMappings", gid, problems),
            recursive,
            of_container: false,
        },
        (Some(_), None, _) => {
            problems.push(entry.problem("uidMappings", "needs gidMappings beside it"));
            return None;
        }
        (None, Some(_), _) => {
            problems.push(entry.problem("gidMappings", "needs uidMappings beside it"));
            return None;
        }
        (None, None, Some(option)) => match &option.ranges {
            Some(text) => match parse(text, container) {
                Ok((uid, gid)) => MountIdMap { uid, gid, recursive, of_container: false },
                Err(message) => {
                    problems.push(entry.option_problem(option.index, &message));
                    return None;
                }
            },
            None if scene.namespaces.user == Namespace::Inherit => {
                let message = "an id-mapped mount needs uidMappings and gidMappings, or a user namespace whose \
                               mappings it can use";
                problems.push(entry.option_problem(option.index, message));
                return None;
            }
            None => MountIdMap {
                uid: container.map(|map| map.uid.clone()).unwrap_or_default(),
                gid: container.map(|map| map.gid.clone()).unwrap_or_default(),
                recursive,
                of_container: true,
            },
        },
    };
    Some(share(map, container, &scene.namespaces.user))
}

/// A mapping that is the same as the container's needs no user namespace of its own.
fn share(map: MountIdMap, container: Option<&IdMap>, user: &Namespace) -> MountIdMap {
    let same = *user == Namespace::New && container.is_some_and(|c| c.uid == map.uid && c.gid == map.gid);
    MountIdMap { of_container: map.of_container || same, ..map }
}

fn ranges(entry: &Entry, field: &str, mappings: &[LinuxIdMapping], problems: &mut Vec<Problem>) -> Vec<IdRange> {
    let range = |m: &LinuxIdMapping| IdRange { container: m.container_id(), host: m.host_id(), size: m.size() };
    let ranges: Vec<_> = mappings.iter().map(range).collect();
    check_ranges(&format!("{}.{field}", entry.place), &ranges, problems);
    ranges
}

/// crun's form: `uids=0-1000-1#1-2000-10;gids=…`, each triple being the id on the filesystem, the id on the mount and
/// the size. An `@` before the triple says that the id on the mount is one of the container.
fn parse(text: &str, container: Option<&IdMap>) -> Result<(Vec<IdRange>, Vec<IdRange>), String> {
    let (mut uid, mut gid) = (Vec::new(), Vec::new());
    for part in text.split(';') {
        let (list, triples, map) = match part.split_once('=') {
            Some(("uids", triples)) => (&mut uid, triples, container.map(|c| c.uid.as_slice())),
            Some(("gids", triples)) => (&mut gid, triples, container.map(|c| c.gid.as_slice())),
            _ => return Err(format!("`{part}` is neither `uids=…` nor `gids=…`")),
        };
        for triple in triples.split('#') {
            list.push(parse_triple(triple, map).map_err(|message| format!("in `{triple}`, {message}"))?);
        }
    }
    if uid.is_empty() || gid.is_empty() {
        return Err("needs both `uids=` and `gids=`".into());
    }
    let mut problems = Vec::new();
    check_ranges("uids", &uid, &mut problems);
    check_ranges("gids", &gid, &mut problems);
    match problems.first() {
        Some(problem) => Err(problem.to_string()),
        None => Ok((uid, gid)),
    }
}

fn parse_triple(text: &str, map: Option<&[IdRange]>) -> Result<IdRange, String> {
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let numbers: Option<Vec<u32>> = numbers.split('-').map(number).collect();
    let Some(&[container, host, size]) = numbers.as_deref() else {
        return Err("there is no ID-ID-SIZE".into());
    };
    let host = match (relative, map) {
        (false, _) => host,
        (true, map) => to_host(map.unwrap_or_default(), host)
            .ok_or_else(|| format!("the container's user namespace does not map {host}"))?,
    };
    Ok(IdRange { container, host, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::namespaces::IdMapWriter;

    fn range(container: u32, host: u32, size: u32) -> IdRange {
        IdRange { container, host, size }
    }

    fn container() -> IdMap {
        IdMap {
            uid: vec![range(0, 1000, 1), range(1, 100_000, 65536)],
            gid: vec![range(0, 2000, 10)],
            writer: IdMapWriter::Runtime,
        }
    }

    #[test]
    fn ranges_as_crun_takes_them() {
        let map = container();
        for (text, uid, gid) in [
            ("uids=0-1000-1;gids=0-2000-1", vec![range(0, 1000, 1)], vec![range(0, 2000, 1)]),
            ("gids=0-5-1;uids=0-1-10#10-11-10", vec![range(0, 1, 10), range(10, 11, 10)], vec![range(0, 5, 1)]),
            ("uids=@7-2-3#@0-0-1;gids=@0-3-2", vec![range(7, 100_001, 3), range(0, 1000, 1)], vec![range(0, 2003, 2)]),
        ] {
            assert_eq!(parse(text, Some(&map)), Ok((uid, gid)), "{text}");
        }
    }

    #[test]
    fn ranges_that_are_none() {
        let map = container();
        for text in [
            "",
            "uids=0-0-1",
            "uids=0-0-1;gids=",
            "uids=0-0;gids=0-0-1",
            "uids=0-0-1-1;gids=0-0-1",
            "uids=0-x-1;gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "uids=4294967295-0-1;gids=0-0-1",
            "uids=0-0-4294967295;gids=0-0-4294967295x",
            "uids=@0-70000-1;gids=0-0-1",
            "users=0-0-1",
        ] {
            assert!(parse(text, Some(&map)).is_err(), "{text}");
        }
        assert!(parse("uids=@0-0-1;gids=0-0-1", None).is_err());
    }
}
