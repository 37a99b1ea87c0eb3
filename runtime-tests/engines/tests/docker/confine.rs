//! Limits and privileges: `--memory`, `--cap-add`, `--device`, `--security-opt` …

use engine_tests::{Check, Session};

fn cgroup(s: &Session, flags: &str, files: &str, expected: &str) -> Check {
    s.is(&format!("docker run --rm {flags} box sh -c 'cd /sys/fs/cgroup; cat {files}'"), expected)
}

pub fn memory(s: &Session) -> Check {
    let files = "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.swappiness";
    cgroup(
        s,
        "--memory 64m --memory-swap 96m --memory-reservation 32m --memory-swappiness 10",
        files,
        "67108864\n100663296\n33554432\n10",
    )
}

pub fn oom_kill_disable(s: &Session) -> Check {
    cgroup(s, "--memory 64m --oom-kill-disable", "memory/memory.oom_control | head -1", "oom_kill_disable 1")
}

pub fn oom_score(s: &Session) -> Check {
    s.is("docker run --rm --oom-score-adj 77 box cat /proc/self/oom_score_adj", "77")
}

pub fn cpus(s: &Session) -> Check {
    let files = "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares";
    cgroup(s, "--cpus 0.5 --cpu-shares 200", files, "50000\n100000\n200")
}

pub fn cpuset(s: &Session) -> Check {
    cgroup(s, "--cpuset-cpus 1 --cpuset-mems 0", "cpuset/cpuset.cpus cpuset/cpuset.mems", "1\n0")
}

pub fn pids_limit(s: &Session) -> Check {
    cgroup(s, "--pids-limit 33", "pids/pids.max", "33")
}

pub fn block_io(s: &Session) -> Check {
    cgroup(s, "--device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:77", "blkio/blkio.throttle.read_bps_device blkio/blkio.throttle.write_iops_device", "254:0 1048576\n254:0 77")
        .or_else(|_| s.ok("docker run --rm --device-read-bps /dev/vda:1mb box cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").map(drop))
}

pub fn cgroup_parent(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --cgroup-parent /other box sleep 1000")?;
    s.is(
        "grep -c \"/other/$(docker inspect -f '{{.Id}}' box1)$\" /proc/$(docker inspect -f '{{.State.Pid}}' box1)/cgroup",
        "9",
    )
    .or_else(|_| s.has("cat /proc/$(docker inspect -f '{{.State.Pid}}' box1)/cgroup", "/other/").map(drop))?;
    s.aside("docker rm -f box1")?;
    s.is("find /sys/fs/cgroup/*/other -mindepth 1 -type d 2>/dev/null || true", "")
}

pub fn ulimit(s: &Session) -> Check {
    s.is(
        "docker run --rm --ulimit nofile=100:200 --ulimit core=0 box sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'",
        "100\n200\n0",
    )
}

pub fn capabilities(s: &Session) -> Check {
    s.ok("docker run --rm --cap-drop all --cap-add net_admin --cap-add SYS_TIME box grep ^Cap /proc/self/status")?;
    s.ok("docker run --rm --cap-drop chown box sh -c 'chown 1 /root 2>&1; grep ^Cap /proc/self/status'")?;
    s.ok("docker run --rm -u 1000 --cap-add net_raw box grep ^Cap /proc/self/status").map(drop)
}

pub fn no_new_privileges(s: &Session) -> Check {
    s.is("docker run --rm --security-opt no-new-privileges box grep ^NoNew /proc/self/status", "NoNewPrivs:\t1")
}

pub fn seccomp(s: &Session) -> Check {
    s.is("docker run --rm --security-opt seccomp=unconfined box grep ^Seccomp: /proc/self/status", "Seccomp:\t0")?;
    s.is("docker run --rm box grep ^Seccomp: /proc/self/status", "Seccomp:\t2")?;
    s.write(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )?;
    s.is("docker run --rm --security-opt seccomp=profile.json box mkdir /tmp/new 2>&1", "")
        .err()
        .ok_or("the profile does not hold")?;
    s.has(
        "docker run --rm --security-opt seccomp=profile.json box mkdir /tmp/new 2>&1 || true",
        "Operation not permitted",
    )
    .map(drop)
}

pub fn read_only(s: &Session) -> Check {
    s.has("docker run --rm --read-only box touch /new 2>&1 || true", "Read-only file system")?;
    s.is("docker run --rm --read-only --tmpfs /tmp box sh -c 'touch /tmp/new && echo ok'", "ok")
}

pub fn device(s: &Session) -> Check {
    s.is("docker run --rm --device /dev/zero:/dev/mine box sh -c 'head -c 3 /dev/mine | od -An -tx1; ls -l /dev/mine | cut -c1-10'", "00 00 00\ncrw-rw-rw-")?;
    s.has("docker run --rm --device /dev/fuse:/dev/mine:r box sh -c 'exec 2>&1; : </dev/mine && echo readable; : >>/dev/mine' || true", "readable\nsh: can't create /dev/mine: Operation not permitted")
        .map(drop)
}

pub fn device_rules(s: &Session) -> Check {
    s.has(
        "docker run --rm box sh -c 'mknod /dev/mine c 10 229; : </dev/mine' 2>&1 || true",
        "Operation not permitted",
    )?;
    s.is("docker run --rm --device-cgroup-rule 'c 10:229 rmw' box sh -c 'mknod /dev/mine c 10 229; : </dev/mine && echo opened'", "opened")
}

pub fn sysctl(s: &Session) -> Check {
    s.is("docker run --rm --sysctl net.ipv4.ip_forward=0 --sysctl kernel.shm_rmid_forced=1 box sh -c 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced'", "0\n1")
}

pub fn shm_size(s: &Session) -> Check {
    s.is("docker run --rm --shm-size 7m box sh -c 'df -k /dev/shm | tail -1 | awk \"{print \\$2}\"'", "7168")
}

/// runc 1.1.5 fails where not every capability can be granted.
pub fn run_privileged(s: &Session) -> Check {
    s.is("docker run --rm --privileged box sh -c 'mount -t tmpfs none /tmp && echo mounted; ls /dev/vda; grep -c \"sysfs.*rw\" /proc/mounts; grep ^Seccomp: /proc/self/status'",
        "mounted\n/dev/vda\n1\nSeccomp:\t0")
}

/// The same.
pub fn exec_privileged(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    // The seccomp filter stays that of the container.
    let script = "test $((0x$(grep ^CapEff /proc/self/status | cut -f2) >> 21 & 1)) = 1 && echo admin";
    s.is(&format!("docker exec --privileged box1 sh -c '{script}'"), "admin")
}
