//! Example command lines, for help and for the man pages.

/// Command, and lines that show what it takes.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "create",
        &[
            "rvol-runc create --bundle /srv/web web",
            "rvol-runc create -v data:/data --tmpfs /tmp:size=64m web",
            "rvol-runc create --console-socket /tmp/console.sock shell",
        ],
    ),
    ("run", &["rvol-runc run --bundle /srv/web web", "rvol-runc run --detach --pid-file web.pid web"]),
    (
        "exec",
        &[
            "rvol-runc exec -t web sh",
            "rvol-runc exec --user 1000:1000 --env LANG=C web id",
            "rvol-runc exec --process process.json --detach web",
        ],
    ),
    ("kill", &["rvol-runc kill web", "rvol-runc kill --all web KILL"]),
    ("update", &["rvol-runc update --memory 512m --pids-limit 100 web", "rvol-runc update -r limits.json web"]),
    ("ps", &["rvol-runc ps web", "rvol-runc ps --format json web", "rvol-runc ps web -o pid,user,args"]),
    ("events", &["rvol-runc events --stats web", "rvol-runc events --interval 1m30s web"]),
    (
        "checkpoint",
        &[
            "rvol-runc checkpoint --image-path /var/tmp/web web",
            "rvol-runc checkpoint --leave-running --tcp-established web",
        ],
    ),
    ("restore", &["rvol-runc restore --image-path /var/tmp/web --bundle /srv/web --detach web"]),
    ("delete", &["rvol-runc delete web", "rvol-runc delete --force --volumes web"]),
    ("list", &["rvol-runc list", "rvol-runc list --format json"]),
    ("plan", &["rvol-runc plan /srv/web", "rvol-runc plan --format json -v data:/data /srv/web"]),
    (
        "volume create",
        &["rvol-runc volume create data", "rvol-runc volume create --opt type=tmpfs --opt device=tmpfs cache"],
    ),
    ("volume inspect", &["rvol-runc volume inspect data", "rvol-runc volume inspect -f '{{.Mountpoint}}' data"]),
    (
        "volume ls",
        &[
            "rvol-runc volume ls --filter dangling=true --filter label=env=prod",
            "rvol-runc volume ls --format '{{.Name}}'",
        ],
    ),
    ("volume rm", &["rvol-runc volume rm data cache"]),
    ("volume prune", &["rvol-runc volume prune --dry-run", "rvol-runc volume prune --all --force"]),
    (
        "volume export",
        &["rvol-runc volume export data | zstd >data.tar.zst", "rvol-runc volume export -o data.tar data"],
    ),
    (
        "volume import",
        &["rvol-runc volume import data data.tar", "zstd -dc data.tar.zst | rvol-runc volume import data -"],
    ),
    ("volume clone", &["rvol-runc volume clone data data-of-today"]),
    ("volume rename", &["rvol-runc volume rename data archive"]),
    (
        "volume label",
        &["rvol-runc volume label data rvol.shared-with=web:ro", "rvol-runc volume label data rvol.shared-with-"],
    ),
    ("volume df", &["rvol-runc volume df", "rvol-runc volume df --format json"]),
    ("spec", &["rvol-runc spec", "rvol-runc spec --rootless --bundle /srv/web"]),
    ("completion", &["rvol-runc completion bash >/etc/bash_completion.d/rvol-runc", ". <(rvol-runc completion bash)"]),
];

/// The example lines of a command; none for one that explains itself.
pub fn of(command: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, lines)| lines)
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use super::super::args::{Action, Words};
    use super::*;

    /// Lines with a pipe or a redirection are cut there; quotes are taken off.
    #[test]
    fn every_example_is_understood() {
        for (name, lines) in EXAMPLES {
            for line in *lines {
                let called = &line[line.find("rvol-runc ").expect("the program's name") + "rvol-runc ".len()..];
                let called = called.split(['|', '>', ')']).next().unwrap_or_default();
                let words = called.split_whitespace().map(|word| word.trim_matches('\'').into());
                let mut words = Words::new(words, COMMANDS);
                let (_, first) = words.globals().unwrap();
                match words.action(first) {
                    Ok(Action::Run(command, _)) => assert_eq!(command.name, *name, "{line}"),
                    other => panic!("{line}: {other:?}"),
                }
            }
        }
    }
}
