//! `docker exec`.

use engine_tests::{Check, Session};

fn idle(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000").map(drop)
}

pub fn output_and_exit_code(s: &Session) -> Check {
    idle(s)?;
    s.is("docker exec box1 echo hello", "hello")?;
    s.fails("docker exec box1 sh -c 'exit 9'", 9, "")?;
    s.is("echo typed | docker exec -i box1 cat", "typed")?;
    s.is("docker exec box1 sh -c 'echo wrong >&2' 2>&1 >/dev/null", "wrong")
}

pub fn missing_program(s: &Session) -> Check {
    idle(s)?;
    s.fails("docker exec box1 nosuch", 126, "executable file not found in $PATH").map(drop)
}

pub fn missing_path(s: &Session) -> Check {
    idle(s)?;
    s.fails("docker exec box1 /no/such", 126, "no such file or directory").map(drop)
}

pub fn not_executable(s: &Session) -> Check {
    idle(s)?;
    s.fails("docker exec box1 /etc/passwd", 126, "permission denied").map(drop)
}

pub fn terminal(s: &Session) -> Check {
    idle(s)?;
    s.is("terminal 'docker exec -it box1 tty'", "/dev/pts/0")?;
    s.is(
        "terminal 'stty rows 33 cols 99; docker exec -it box1 sh -c \"until stty size 2>/dev/null | grep 33; do sleep 0.1; done\"'",
        "33 99",
    )
}

pub fn user(s: &Session) -> Check {
    idle(s)?;
    s.is("docker exec -u user box1 id", "uid=1000(user) gid=1000(user) groups=1000(user),2000(more)")?;
    s.is("docker exec -u 5:6 box1 id", "uid=5 gid=6 groups=6")
}

pub fn environment(s: &Session) -> Check {
    s.aside("docker run -d --name box1 -e A=1 box sleep 1000")?;
    s.is("docker exec -e B=2 box1 sh -c 'echo $A $B $HOME'", "1 2 /root")
}

pub fn working_directory(s: &Session) -> Check {
    idle(s)?;
    s.is("docker exec -w /etc box1 pwd", "/etc")?;
    s.fails("docker exec -w /no/such box1 pwd", 126, "o such file or directory").map(drop)
}

pub fn detached(s: &Session) -> Check {
    idle(s)?;
    s.is("docker exec -d box1 sh -c 'echo done >/note; sleep 1000'", "")?;
    s.becomes("docker exec box1 cat /note", "done")
}

pub fn confinement(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --cap-drop all --cap-add kill --security-opt no-new-privileges --ulimit nofile=77:88 box sleep 1000")?;
    let facts = "sh -c 'grep -E \"^(Cap|NoNew|Seccomp)\" /proc/self/status; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj'";
    s.ok(&format!("docker exec box1 {facts}"))?;
    s.ok(&format!("docker exec -u user box1 {facts}")).map(drop)
}

pub fn same_namespaces_and_cgroup(s: &Session) -> Check {
    idle(s)?;
    s.is("docker exec box1 sh -c 'for n in cgroup ipc mnt net pid uts; do [ \"$(readlink /proc/1/ns/$n)\" = \"$(readlink /proc/self/ns/$n)\" ] && echo $n; done; diff /proc/1/cgroup /proc/self/cgroup && echo same'",
        "cgroup\nipc\nmnt\nnet\npid\nuts\nsame")
}

pub fn many_in_parallel(s: &Session) -> Check {
    idle(s)?;
    s.is("for i in $(seq 8); do docker exec box1 echo $i & done | sort | paste -sd' '; wait", "1 2 3 4 5 6 7 8")
}

pub fn end_with_the_container(s: &Session) -> Check {
    idle(s)?;
    let kill = "(until docker top box1 | grep -q 'sleep 500'; do sleep 0.1; done; docker kill box1 >/dev/null)";
    s.fails(&format!("{kill} & docker exec box1 sleep 500; code=$?; wait; exit $code"), 137, "").map(drop)
}
