//! `docker volume` and ours to the letter: the same command lines for dockerd with its own store and for our volumes, and
//! both held against the record of Docker 26 (`runtime-tests/tests/data/volume-words.txt`).
//!
//! `RVOL_WORDS_RECORD=FILE` writes the record anew: with Docker 26 its answers, with an older one which of them that one
//! gives otherwise. `RVOL_DOCKER_BIN=DIR` names the directory of another `docker` and `dockerd`.

use engine_tests::{Check, Session, Suite, suite, tests};
use runtime_tests::Case;
use runtime_tests::words::{self, Player, RECORD, Words};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

const SUITE: Suite = Suite {
    name: "volume_words",
    programs: &["dockerd", "docker", "containerd"],
    start,
    clean: "true",
    tests: &[],
    ours: tests![to_the_letter],
};

fn main() -> ExitCode {
    suite::main(&SUITE)
}

/// The version whose words the record has.
const RECORDED: u32 = 26;

fn docker(program: &str) -> String {
    env::var("RVOL_DOCKER_BIN").map_or_else(|_| program.to_owned(), |directory| format!("{directory}/{program}"))
}

fn start(s: &Session) -> Check {
    let daemon = "--bridge=none --iptables=false --ip6tables=false --exec-opt native.cgroupdriver=cgroupfs";
    s.daemon("dockerd", &format!("{} {daemon}", docker("dockerd")), &format!("{} version", docker("docker")))?;
    s.aside(&format!("{} import /run/eng/box.tar box", docker("docker"))).map(drop)
}

fn player() -> Player {
    let directory = Path::new("/run/eng/words");
    let container = format!(
        "name=$1; shift\nid=$(docker create --name $name \"$@\" box true) || exit\necho \"$id $name\" >>{}/ids",
        directory.display()
    );
    let scripts = [
        ("volume", "exec docker volume \"$@\"".to_owned()),
        ("container", container),
        ("remove", "exec docker rm \"$@\" >/dev/null".to_owned()),
        ("mounts", "exec docker inspect -f '{{json .Mounts}}' \"$@\"".to_owned()),
    ];
    Player::new(directory, "docker", "/var/lib/docker/volumes", &scripts)
}

/// No container and no volume.
const CLEAN: &str = "docker rm -fv $(docker ps -aq); docker volume rm -f $(docker volume ls -q); rm -f ../ids";

fn to_the_letter(s: &Session) -> Check {
    let version = s.aside(&format!("{} version -f '{{{{.Server.Version}}}}'", docker("docker")))?;
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).ok_or("no version of Docker")?;
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.write_config();
    let (docker, ours) = (player(), words::ours(&case));
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for words in words::parse(RECORD) {
        if words.section.is_some() {
            docker.run(CLEAN);
            words::clean(&case, &ours);
        }
        let live = answered(&words, &docker);
        let same = answered(&words, &ours);
        // What Docker 20.10 says otherwise is in the record as Docker 26 says it.
        let recorded = words.since && major < RECORDED;
        if !recorded && words.on_purpose.is_none() && live.answer() != words.answer() {
            faults.push(format!("not as recorded:\n{}--- Docker {version}{}", show(&words), show(&live)));
        }
        let expected = if recorded { &words } else { &live };
        if words.on_purpose.is_none() && same.answer() != expected.answer() {
            faults.push(format!("not as Docker:\n{}--- ours\n{}", show(expected), show(&same)));
        }
        lines.push(match env::var_os("RVOL_WORDS_RECORD") {
            Some(_) if major < RECORDED => Words { since: live.answer() != words.answer(), ..words },
            _ => live,
        });
    }
    docker.run(CLEAN);
    words::clean(&case, &ours);
    if let Some(file) = env::var_os("RVOL_WORDS_RECORD") {
        return fs::write(&file, words::print(&lines)).map_err(|e| format!("write the record: {e}"));
    }
    let excluded = lines.iter().filter(|words| words.on_purpose.is_some()).count();
    let equal = format!("{} lines, {excluded} of them different on purpose", lines.len());
    if faults.is_empty() { Ok(()) } else { Err(format!("{equal}; faults:\n{}", faults.join("\n"))) }
}

fn answered(words: &Words, player: &Player) -> Words {
    let (stdout, stderr, code) = player.run(&words.line);
    Words { stdout, stderr, code, ..words.clone() }
}

fn show(words: &Words) -> String {
    words::print(&[Words { section: None, ..words.clone() }])
}
