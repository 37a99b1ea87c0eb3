//! Docker with `userns-remap`: every container's root is another user of the host.

use engine_tests::{Check, Session, Suite, suite, tests};
use std::process::ExitCode;

const SUITE: Suite = Suite {
    name: "docker_userns",
    programs: &["dockerd", "docker", "containerd", "iptables"],
    start,
    clean: "ids=$(docker ps -aq); [ -z \"$ids\" ] || docker rm -fv $ids; docker volume rm -f $(docker volume ls -q); exit 0",
    tests: tests![
        root_is_another_user,
        files_of_the_root,
        volume,
        bind,
        exec,
        life,
        limits,
        terminal,
        network,
        confinement,
        host_user_namespace,
        devices,
        build,
    ],
    ours: tests![],
};

fn main() -> ExitCode {
    suite::main(&SUITE)
}

const DAEMON: &str = r#"{
    "runtimes": { "rvol": { "path": "/run/eng/bin/runc" } },
    "default-runtime": "rvol",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "userns-remap": "remapped",
    "bip": "172.31.99.1/24"
}"#;

fn start(s: &Session) -> Check {
    s.write("daemon.json", DAEMON)?;
    s.aside("mkdir -p /etc/docker && cp daemon.json /etc/docker/ && useradd -u 1700 remapped && echo remapped:500000:65536 >/etc/subuid && echo remapped:500000:65536 >/etc/subgid")?;
    s.daemon("dockerd", "dockerd", "docker version")?;
    s.aside("docker import --change 'CMD [\"sh\"]' /run/eng/box.tar box").map(drop)
}

fn root_is_another_user(s: &Session) -> Check {
    s.is("docker run --rm box sh -c 'id -u; tr -s \" \" </proc/self/uid_map'", "0\n 0 500000 65536")
}

fn files_of_the_root(s: &Session) -> Check {
    s.is("docker run --rm box sh -c 'stat -c %u /bin/busybox /etc/passwd; touch /new; stat -c %u /new; chown 1000 /new; stat -c %u /new'", "0\n0\n0\n1000")
}

fn volume(s: &Session) -> Check {
    s.is("docker run --rm -v site:/var/www box sh -c 'cat /var/www/index.html; touch /var/www/new; stat -c %u /var/www/new'", "page\n0")?;
    s.is("stat -c %u $(docker volume inspect -f '{{.Mountpoint}}' site)/new", "500000")?;
    s.has("docker run --rm -v site:/var/www:ro box touch /var/www/newer 2>&1 || true", "Read-only file system")
        .map(drop)
}

fn bind(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.is("docker run --rm -v $PWD/dir:/dir box sh -c 'cat /dir/file; touch /dir/new 2>/dev/null || echo refused; stat -c %u /dir'", "host\nrefused\n65534")?;
    // Of a mount with locked flags.
    s.aside("mkdir -p locked && mount -t tmpfs -o nosuid,nodev,noexec tmpfs locked && echo in >locked/file")?;
    let check = s.is("docker run --rm -v $PWD/locked:/dir:ro box cat /dir/file", "in");
    s.aside("umount locked")?;
    check
}

fn exec(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is(
        "docker exec box1 sh -c 'id -u; tr -s \" \" </proc/self/uid_map; touch /new && stat -c %u /new'",
        "0\n 0 500000 65536\n0",
    )?;
    s.is("docker exec -u user box1 id -u", "1000")?;
    s.is(
        "docker exec box1 sh -c '[ $(readlink /proc/1/ns/user) = $(readlink /proc/self/ns/user) ] && echo same'",
        "same",
    )
}

fn life(s: &Session) -> Check {
    s.aside("docker run -d --name box1 box sleep 1000")?;
    s.is(
        "docker pause box1; docker unpause box1; docker stop -t 1 box1; docker start box1; docker kill box1",
        "box1\nbox1\nbox1\nbox1\nbox1",
    )
}

fn limits(s: &Session) -> Check {
    s.aside("docker run -d --name box1 --memory 64m --pids-limit 33 --cpus 0.5 box sleep 1000")?;
    s.aside("docker update --memory 32m --memory-swap 64m box1")?;
    s.is("docker exec box1 sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max'", "33554432\n33")
}

fn terminal(s: &Session) -> Check {
    s.is("terminal 'docker run --rm -it box sh -c \"tty; stat -c %u /dev/pts/0\"'", "/dev/pts/0\n0")
}

fn network(s: &Session) -> Check {
    s.aside("docker run -d --name web box httpd -f -h /var/www")?;
    s.is("docker run --rm --link web:web box wget -qO- http://web/", "page")?;
    s.is("docker run --rm --net=container:web box wget -qO- http://127.0.0.1/", "page")
}

fn confinement(s: &Session) -> Check {
    s.ok("docker run --rm box grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status")?;
    s.ok("docker run --rm --cap-drop all --cap-add sys_admin --security-opt seccomp=unconfined box sh -c 'grep ^Cap /proc/self/status; mount -t tmpfs none /tmp && echo mounted'")?;
    s.has("docker run --rm --read-only box touch /new 2>&1 || true", "Read-only file system").map(drop)
}

fn host_user_namespace(s: &Session) -> Check {
    s.is("docker run --rm --userns=host box sh -c 'tr -s \" \" </proc/self/uid_map'", " 0 0 4294967295")
}

fn devices(s: &Session) -> Check {
    s.is(
        "docker run --rm --device /dev/fuse box sh -c 'test -c /dev/fuse && echo there; echo x >/dev/null && echo ok'",
        "there
ok",
    )
}

fn build(s: &Session) -> Check {
    s.write("context/Dockerfile", "FROM box\nRUN id -u >file && stat -c %u file >>file\nCMD cat /file\n")?;
    s.aside("DOCKER_BUILDKIT=1 docker build --no-cache -t built context")?;
    s.is("docker run --rm built", "0\n0")
}
