//! A container's life with Docker: stop, kill, pause, restart, logs, top, stats, update, copying, health.

use engine_tests::{Check, Session};

const STATE: &str = "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' box1";

pub fn stop_by_term(s: &Session) -> Check {
    s.aside(
        "docker run -d --name box1 box sh -c 'trap \"echo bye; exit 3\" TERM; echo up; while :; do sleep 0.1; done'",
    )?;
    s.becomes("docker logs box1", "up")?;
    s.is("docker stop box1", "box1")?;
    s.is("docker logs box1", "up\nbye")?;
    s.is(STATE, "exited 3 false")
}

pub fn stop_by_kill(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'")?;
    s.is("docker stop -t 1 box1", "box1")?;
    s.is(STATE, "exited 137 false")
}

pub fn stop_signal(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --stop-signal USR1 box sh -c 'trap \"exit 10\" USR1; echo up; while :; do sleep 0.1; done'")?;
    s.becomes("docker logs box1", "up")?;
    s.is("docker stop box1", "box1")?;
    s.is(STATE, "exited 10 false")
}

pub fn kill(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is("docker kill box1", "box1")?;
    s.becomes(STATE, "exited 137 false")?;
    s.fails("docker kill box1", 1, "is not running").map(drop)
}

pub fn kill_with_a_signal(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sh -c 'trap \"echo hup\" HUP; echo up; while :; do sleep 0.1; done'")?;
    s.becomes("docker logs box1", "up")?;
    s.is("docker kill -s HUP box1", "box1")?;
    s.becomes("docker logs box1", "up\nhup")?;
    s.is(STATE, "running 0 false")
}

pub fn kill_ends_every_process(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --pid=host box sh -c 'sleep 7654 & sleep 7654; true'")?;
    s.becomes("ps ax -o args | grep -c '^sleep 7654' || true", "2")?;
    s.is("docker kill box1", "box1")?;
    s.becomes("ps ax -o args | grep -c '^sleep 7654' || true", "0")
}

pub fn pause_and_unpause(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sh -c 'while :; do sleep 0.1; done'")?;
    s.is("docker pause box1", "box1")?;
    s.is(STATE, "paused 0 false")?;
    s.fails("docker exec box1 true", 1, "is paused")?;
    s.fails("docker pause box1", 1, "already paused")?;
    s.is("docker unpause box1", "box1")?;
    s.is(STATE, "running 0 false")?;
    s.is("docker exec box1 echo again", "again")?;
    s.fails("docker unpause box1", 1, "is not paused").map(drop)
}

pub fn remove_while_paused(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is("docker pause box1", "box1")?;
    s.is("docker rm -f box1", "box1")
}

pub fn stop_while_paused(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is("docker pause box1", "box1")?;
    s.is("docker stop -t 1 box1", "box1")?;
    s.is(STATE, "exited 137 false")
}

pub fn restart(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sh -c 'echo up; ls /mark; touch /mark; sleep 1000'")?;
    s.becomes("docker logs box1 2>/dev/null", "up")?;
    s.becomes("docker exec box1 ls /mark", "/mark")?;
    s.is("docker restart -t 0 box1", "box1")?;
    s.becomes(
        "docker logs box1 2>/dev/null",
        "up
up
/mark",
    )
}

pub fn restart_policy(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --restart on-failure:2 box sh -c 'echo try; exit 5'")?;
    s.becomes("docker logs box1", "try\ntry\ntry")?;
    s.becomes("docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' box1", "2 exited 5")
}

pub fn start_again(s: &Session) -> Check {
    s.aside("docker create --name box1 box echo once")?;
    s.is("docker start -a box1", "once")?;
    s.is("docker start -a box1", "once")?;
    s.is("docker wait box1", "0")
}

pub fn attach(s: &Session) -> Check {
    s.aside("docker create -i --name box1 box sh -c 'read line; echo got $line'")?;
    s.is("echo word | docker start -ai box1", "got word")
}

pub fn top(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sh -c 'sleep 1111 & sleep 2222; true'")?;
    s.becomes(
        "docker top box1 -o pid,args | sed 1d | awk '{$1 = \"\"; print $0}' | sort",
        "sh -c sleep 1111 & sleep 2222; true\n sleep 1111\n sleep 2222",
    )
}

pub fn stats(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --memory 64m box sleep 1000")?;
    s.has("docker stats --no-stream --format '{{.MemUsage}}' box1", "64MiB")?;
    s.is("docker stats --no-stream --format '{{.Name}} {{.PIDs}}' box1", "box1 1")
}

pub fn update(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --memory 64m --cpus 1 box sleep 1000")?;
    s.is("docker update --memory 32m --memory-swap 64m --cpus 0.5 --cpu-shares 300 --pids-limit 44 box1", "box1")?;
    s.is(
        "docker exec box1 sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max'",
        "33554432\n50000\n300\n44",
    )
}

pub fn update_of_cpuset(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is("docker update --cpuset-cpus 0 --cpuset-mems 0 box1", "box1")?;
    s.is("docker exec box1 cat /sys/fs/cgroup/cpuset/cpuset.cpus", "0")?;
    s.is("docker exec box1 grep Cpus_allowed_list /proc/1/status", "Cpus_allowed_list:\t0")
}

pub fn copy(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.aside("echo there >file && docker cp file box1:/root/")?;
    s.is("docker exec box1 cat /root/file", "there")?;
    s.is("docker cp box1:/etc/passwd - | tar xO | head -1", "root:x:0:0:root:/root:/bin/sh")
}

pub fn logs(s: &Session) -> Check {
    s.aside("docker run --name box1 box sh -c 'echo out; echo err >&2'")?;
    s.is("docker logs box1 2>/dev/null", "out")?;
    s.is("docker logs box1 2>&1 >/dev/null", "err")
}

pub fn health(s: &Session) -> Check {
    s.aside(
        "docker run -d --name box1 --health-interval 200ms --health-retries 2 --health-cmd 'test -e /well' box \
         sh -c 'touch /well; sleep 1000'",
    )?;
    let status = "docker inspect -f '{{.State.Health.Status}}' box1";
    s.becomes(status, "healthy")?;
    s.aside("docker exec box1 rm /well")?;
    s.becomes(status, "unhealthy")
}

pub fn out_of_memory(s: &Session) -> Check {
    // The shell outlives what is killed: of a container that ends at the same moment the engine may hear of the end first,
    // and then forgets why.
    let killed = "docker run --name box1 --memory 16m --memory-swap 16m box sh -c 'tail /dev/zero; code=$?; sleep 1; exit $code'";
    s.fails(killed, 137, "").map(drop).or_else(
        // The shell may have been killed as well.
        |_| s.has("docker inspect -f '{{.State.ExitCode}}' box1", "137").map(drop),
    )?;
    s.becomes(STATE, "exited 137 true")
}

pub fn diff_and_export(s: &Session) -> Check {
    s.aside("docker run --name box1 box sh -c 'touch /new; rm /etc/group'")?;
    s.is("docker diff box1 | sort", "A /new\nC /etc\nD /etc/group")?;
    s.is("docker export box1 | tar t | grep -c '^new$'", "1")
}

pub fn events(s: &Session) -> Check {
    s.aside("docker run --rm --name eventful box true")?;
    s.becomes("docker events --since 60s --until 0s --filter container=eventful --filter type=container --format '{{.Action}}' | tail -6 | sort -u | paste -sd' '",
        "attach create destroy die start",
    )
}

/// The runtime's state goes away behind the engine's back: "container does not exist" must be no obstacle.
pub fn lost_state(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.aside("runc --root /run/docker/runtime-runc/moby delete --force $(docker inspect -f '{{.Id}}' box1)")?;
    s.is("docker rm -f box1; docker ps -aq", "box1")
}

pub fn the_daemon_comes_back(s: &Session) -> Check {
    // Containers of a daemon that was killed are found again: it asks the shim, which asks the runtime.
    s.aside("docker run -d --name box1 --restart always box sleep 1000")?;
    s.is("docker ps --format '{{.Names}} {{.State}}'", "box1 running")
}
