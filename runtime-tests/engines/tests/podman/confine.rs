//! Limits and privileges with Podman.

use engine_tests::{Check, Session};

fn prints(s: &Session, flags: &str, script: &str, expected: &str) -> Check {
    s.is(&format!("podman run --rm --net=none {flags} box sh -c '{script}'"), expected)
}

pub fn limits(s: &Session) -> Check {
    prints(
        s,
        "--memory 64m --memory-swap 96m --cpus 0.5 --cpu-shares 200 --pids-limit 33 --cpuset-cpus 1",
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus",
        "67108864\n100663296\n50000\n200\n33\n1",
    )
}

pub fn cgroup_parent(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none --cgroup-parent /other box sleep 1000")?;
    s.has("cat /proc/$(podman inspect -f '{{.State.Pid}}' one)/cgroup", "/other/libpod-").map(drop)
}

pub fn capabilities(s: &Session) -> Check {
    s.ok("podman run --rm --net=none --cap-drop all --cap-add net_admin,sys_time box grep ^Cap /proc/self/status")?;
    s.ok("podman run --rm --net=none -u 1000 --cap-add net_raw box grep ^Cap /proc/self/status").map(drop)
}

pub fn security_options(s: &Session) -> Check {
    prints(s, "--security-opt no-new-privileges", "grep ^NoNew /proc/self/status", "NoNewPrivs:\t1")?;
    prints(s, "--security-opt seccomp=unconfined", "grep ^Seccomp: /proc/self/status", "Seccomp:\t0")?;
    prints(
        s,
        "--security-opt mask=/etc/passwd --security-opt unmask=/proc/timer_list",
        "wc -c </etc/passwd; head -c 5 /proc/timer_list",
        "0\nTimer",
    )
}

pub fn read_only(s: &Session) -> Check {
    s.has(
        "podman run --rm --net=none --read-only box sh -c 'touch /tmp/new && touch /new' 2>&1 || true",
        "Read-only file system",
    )
    .map(drop)
}

pub fn devices(s: &Session) -> Check {
    s.has("podman run --rm --net=none --device /dev/fuse:/dev/mine:r box sh -c ': </dev/mine && echo readable; : >>/dev/mine' 2>&1 || true", "readable\nsh: can't create /dev/mine: Operation not permitted")
        .map(drop)
}

pub fn sysctl_ulimit_shm(s: &Session) -> Check {
    prints(
        s,
        "--sysctl net.ipv4.ip_forward=0 --ulimit nofile=100:200 --ulimit nproc=50:60 --shm-size 7m --oom-score-adj 77",
        "cat /proc/sys/net/ipv4/ip_forward; ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1 | awk \"{print \\$2}\"; cat /proc/self/oom_score_adj",
        "0\n100\n200\n7168\n77",
    )
}

pub fn privileged(s: &Session) -> Check {
    prints(
        s,
        "--privileged",
        "mount -t tmpfs none /tmp && echo mounted; grep ^Seccomp: /proc/self/status",
        "mounted\nSeccomp:\t0",
    )
}

pub fn user_namespace(s: &Session) -> Check {
    prints(
        s,
        "--uidmap 0:400000:65536 --gidmap 0:400000:65536",
        "cat /proc/self/uid_map | tr -s \" \"; touch /new; stat -c %u /new",
        " 0 400000 65536\n0",
    )
}

pub fn user_namespace_auto(s: &Session) -> Check {
    prints(s, "--userns=auto", "cat /proc/self/uid_map | tr -s \" \"", " 0 300000 1024")
}

pub fn exec_in_a_user_namespace(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none --uidmap 0:400000:65536 box sleep 1000")?;
    s.is("podman exec one sh -c 'id -u; touch /new; stat -c %u /new'", "0\n0")?;
    s.is("podman exec -u user one id -u", "1000")
}

pub fn annotations(s: &Session) -> Check {
    // crun's; runc passes them over.
    s.is("podman run --rm --net=none --annotation run.oci.keep_original_groups=1 --annotation run.oci.hooks.stdout=/dev/null box echo hello", "hello")
}
