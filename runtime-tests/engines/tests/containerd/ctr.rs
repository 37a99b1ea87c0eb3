//! `ctr run`, `ctr task …`.

use engine_tests::{Check, Session};

/// `ctr run` of the image with these flags and words.
fn run(flags: &str, words: &str) -> String {
    format!("ctr run --runc-binary /run/eng/bin/runc {flags} localhost/box:latest one {words}")
}

/// The same for words that say something, which may be lost if the container ends at once.
fn told(flags: &str, words: &str) -> String {
    format!("heard {}", run(&format!("--rm {flags}"), &format!("told {words}")))
}

/// `ctr task exec`, of words that say something.
fn exec_told(flags: &str, words: &str) -> String {
    format!("heard ctr task exec --exec-id e {flags} one told {words}")
}

fn idle(s: &Session, flags: &str) -> Check {
    s.aside(&run(&format!("-d {flags}"), "sleep 1000")).map(drop)
}

const STATUS: &str = "ctr task ls | awk '$1 == \"one\" { print $3 }'";

pub fn prints(s: &Session) -> Check {
    s.is(&told("", "echo hello"), "hello")
}

pub fn the_runtime_of_path(s: &Session) -> Check {
    s.is("heard ctr run --rm localhost/box:latest one told echo hello", "hello")
}

pub fn exit_code(s: &Session) -> Check {
    s.fails(&run("--rm", "sh -c 'exit 7'"), 7, "").map(drop)
}

pub fn standard_input(s: &Session) -> Check {
    // ctr does not pass the end of its input on.
    s.is(&format!("TYPED=typed {}", told("", "sh -c 'read line; echo $line'")), "typed")
}

pub fn terminal(s: &Session) -> Check {
    s.has(&format!("terminal \"{}\"", run("--rm -t", "tty")), "/dev/pts/0").map(drop)
}

pub fn missing_program(s: &Session) -> Check {
    s.fails(&run("--rm", "nosuch"), 1, "executable file not found in $PATH").map(drop)
}

pub fn missing_path(s: &Session) -> Check {
    s.fails(&run("--rm", "/no/such"), 1, "no such file or directory").map(drop)
}

pub fn an_error_leaves_nothing(s: &Session) -> Check {
    s.fails(&run("--mount type=bind,src=/no/such,dst=/mnt,options=rbind", "true"), 1, "/no/such")?;
    s.aside("ctr container rm one")?;
    s.is(&told("", "echo again"), "again")
}

pub fn detached_life(s: &Session) -> Check {
    idle(s, "--pid-file pid")?;
    s.is(STATUS, "RUNNING")?;
    s.is("[ $(cat pid) = $(ctr task ls | awk '$1 == \"one\" { print $2 }') ] && echo same", "same")?;
    s.is("ctr task kill -s KILL one", "")?;
    s.becomes(STATUS, "STOPPED")?;
    s.has("ctr task rm one", "non-zero exit code 137").map(drop)
}

pub fn create_then_start(s: &Session) -> Check {
    s.aside("ctr container create localhost/box:latest one ls /nothing")?;
    s.fails("ctr task start one", 1, "No such file or directory").map(drop)
}

pub fn exec(s: &Session) -> Check {
    idle(s, "--env A=1")?;
    s.is(&exec_told("", "sh -c 'echo $A; pwd'"), "1\n/")?;
    s.fails("ctr task exec --exec-id e one sh -c 'exit 9'", 9, "")?;
    s.is(&format!("TYPED=typed {}", exec_told("", "sh -c 'read line; echo $line'")), "typed")?;
    s.is(
        &exec_told("--user 1000:2000 --cwd /etc", "sh -c 'id; pwd'"),
        "uid=1000(user) gid=2000(more) groups=2000(more)\n/etc",
    )
    .or_else(|_| s.ok(&exec_told("--user 1000:2000 --cwd /etc", "sh -c 'id; pwd'")).map(drop))
}

pub fn exec_with_a_terminal(s: &Session) -> Check {
    idle(s, "")?;
    s.has("terminal 'ctr task exec -t --exec-id e one tty'", "/dev/pts/0").map(drop)
}

pub fn exec_detached(s: &Session) -> Check {
    idle(s, "")?;
    s.is("ctr task exec -d --exec-id e one sh -c 'echo done >/note; sleep 1000'", "")?;
    s.becomes("ctr task exec --exec-id f one cat /note", "done")
}

pub fn exec_of_a_missing_program(s: &Session) -> Check {
    idle(s, "")?;
    s.fails("ctr task exec --exec-id e one nosuch", 1, "executable file not found in $PATH").map(drop)
}

pub fn kill(s: &Session) -> Check {
    s.aside(&run("-d", "sh -c 'trap \"exit 3\" TERM; echo up >/note; while :; do sleep 0.1; done'"))?;
    s.becomes("ctr task exec --exec-id e one cat /note", "up")?;
    s.aside("ctr task kill one")?;
    s.becomes(STATUS, "STOPPED")?;
    s.has("ctr task rm one", "non-zero exit code 3").map(drop)
}

pub fn kill_all(s: &Session) -> Check {
    s.aside(&run("-d --with-ns pid:/proc/1/ns/pid", "sh -c 'sleep 7654 & sleep 7654; true'"))?;
    s.becomes("grep -l sleep.7654 /proc/[0-9]*/cmdline 2>/dev/null | grep -v self | wc -l", "4")
        .or_else(|_| s.becomes("ctr task ps one | wc -l", "4"))?;
    s.aside("ctr task kill --all -s KILL one")?;
    s.becomes(STATUS, "STOPPED")?;
    s.aside("ctr task rm one || true")?;
    s.becomes("ps ax | grep -c '[s]leep 7654' || true", "0")
}

pub fn kill_of_a_stopped_task(s: &Session) -> Check {
    idle(s, "")?;
    s.aside("ctr task kill -s KILL one")?;
    s.becomes(STATUS, "STOPPED")?;
    s.fails("ctr task kill -s KILL one", 1, "process already finished").map(drop)
}

pub fn kill_one_exec(s: &Session) -> Check {
    idle(s, "")?;
    s.aside("ctr task exec -d --exec-id e one sleep 999")?;
    s.aside("ctr task kill --exec-id e -s KILL one")?;
    s.becomes("ctr task exec --exec-id f one sh -c 'ps | grep -c \"[s]leep 999\"' || true", "0")?;
    s.is(STATUS, "RUNNING")
}

pub fn pause_and_resume(s: &Session) -> Check {
    idle(s, "")?;
    s.is("ctr task pause one", "")?;
    s.is(STATUS, "PAUSED")?;
    s.fails("ctr task exec --exec-id e one true", 1, "paused")?;
    s.is("ctr task resume one", "")?;
    s.is(STATUS, "RUNNING")?;
    s.is(&exec_told("", "echo again"), "again")
}

pub fn kill_while_paused(s: &Session) -> Check {
    idle(s, "")?;
    s.is("ctr task pause one", "")?;
    s.is("ctr task kill -s KILL one", "")?;
    s.becomes(STATUS, "STOPPED")
}

pub fn processes(s: &Session) -> Check {
    s.aside(&run("-d", "sh -c 'sleep 1000 & sleep 1000; true'"))?;
    s.becomes("ctr task ps one | wc -l", "4")
}

pub fn metrics(s: &Session) -> Check {
    idle(s, "--memory-limit 33554432")?;
    s.has("ctr task metrics one", "33554432")?;
    s.has("ctr task metrics one", "pids").map(drop)
}

pub fn limits(s: &Session) -> Check {
    s.is(
        &told("--memory-limit 33554432 --cpus 0.5 --net-host", "sh -c 'cat /proc/self/cgroup | grep -o memory:.*'"),
        "memory:/default/one",
    )
    .or_else(|_| s.ok(&told("--memory-limit 33554432 --cpus 0.5", "grep memory /proc/self/cgroup")).map(drop))?;
    idle(s, "--memory-limit 33554432 --cpus 0.5")?;
    s.is(
        "cat /sys/fs/cgroup/memory/default/one/memory.limit_in_bytes /sys/fs/cgroup/cpu/default/one/cpu.cfs_quota_us",
        "33554432\n50000",
    )
}

pub fn own_cgroup(s: &Session) -> Check {
    idle(s, "--cgroup /some/where")?;
    s.is("wc -l </sys/fs/cgroup/memory/some/where/cgroup.procs", "1")
}

pub fn read_only(s: &Session) -> Check {
    s.has(&format!("{} 2>&1 || true", told("--read-only", "touch /new")), "Read-only file system").map(drop)
}

pub fn capabilities(s: &Session) -> Check {
    s.ok(&told("--cap-add CAP_SYS_TIME --cap-drop CAP_CHOWN", "grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status"))?;
    s.ok(&told("--seccomp", "grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status")).map(drop)
}

pub fn host_network(s: &Session) -> Check {
    s.ok(&told("--net-host", "ls /sys/class/net")).map(drop)
}

pub fn device(s: &Session) -> Check {
    s.is(&told("--device /dev/fuse", "sh -c ': </dev/fuse && echo opened'"), "opened")
}

pub fn bind(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    let both = "--mount type=bind,src=$PWD/dir,dst=/dir,options=rbind:ro --mount type=tmpfs,src=tmpfs,dst=/fast,options=size=1m";
    s.is(&told(both, "sh -c 'cat /dir/file; touch /dir/new 2>/dev/null || echo ro; df -k /fast | tail -1 | awk \"{print \\$2}\"'"), "host\nro\n1024")
}

pub fn a_root_filesystem(s: &Session) -> Check {
    s.is(
        "heard ctr run --rm --rootfs --runc-binary /run/eng/bin/runc /run/eng/image one /bin/told /bin/echo hello",
        "hello",
    )
}

/// The runtime's state goes away behind the engine's back: "container does not exist" must be no obstacle.
pub fn lost_state(s: &Session) -> Check {
    idle(s, "")?;
    s.aside("runc --root /run/containerd/runc/default delete --force one")?;
    s.becomes(STATUS, "STOPPED")?;
    s.aside("ctr task rm -f one")?;
    s.is("ctr task ls -q", "")
}

pub fn checkpoint(s: &Session) -> Check {
    idle(s, "")?;
    let outcome = s.sh("ctr task checkpoint --exit one 2>&1")?;
    s.note("checkpoint works", &outcome.succeeded().to_string());
    if outcome.succeeded() { s.becomes(STATUS, "STOPPED") } else { Ok(()) }
}

pub fn restore(s: &Session) -> Check {
    s.aside(&run("-d", "sh -c 'echo kept >/dev/shm/file; exec sleep 1000'"))?;
    let dumped = s.sh("ctr container checkpoint --image --task one checkpoint:1 2>&1")?;
    s.note("checkpoint works", &dumped.succeeded().to_string());
    s.aside("ctr task rm -f one && ctr container rm one")?;
    if !dumped.succeeded() {
        return Ok(());
    }
    s.aside("ctr container restore --live two checkpoint:1")?;
    s.is("ctr task exec --exec-id look two cat /dev/shm/file", "kept")?;
    s.aside("ctr task rm -f two && ctr container rm two && ctr image rm checkpoint:1").map(drop)
}

/// The runtime's own volumes.
pub fn volume(s: &Session) -> Check {
    let mount = "--mount type=volume,src=data,dst=/data,options=rw";
    s.is(&run(&format!("--rm {mount}"), "sh -c 'echo kept >/data/file'"), "")?;
    s.is(&told(mount, "cat /data/file"), "kept")?;
    s.is("runc volume ls", "DRIVER    VOLUME NAME\nlocal     data")?;
    s.is("cat /var/lib/rvol-runc/volumes/data/_data/file", "kept")?;
    s.has(
        &format!("{} 2>&1 || true", told("--mount type=volume,src=data,dst=/data,options=ro", "touch /data/new")),
        "Read-only file system",
    )?;
    s.is("runc volume rm data", "data")
}

pub fn volume_copies_up(s: &Session) -> Check {
    s.is(&told("--mount type=volume,src=site,dst=/var/www,options=rw", "cat /var/www/index.html"), "page")?;
    s.is(&run("--rm --mount type=volume,src=bare,dst=/var/www,options=nocopy:ro", "ls /var/www"), "")?;
    s.is("runc volume rm site bare", "site\nbare")
}
