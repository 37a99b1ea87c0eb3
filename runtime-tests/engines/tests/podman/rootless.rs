//! Podman of a user who is not root: newuidmap, slirp4netns, no cgroup of its own (version 1).

use engine_tests::{Check, Session};

pub fn prints(s: &Session) -> Check {
    s.is(
        "anna 'podman run --rm --net=none box sh -c \"id -u; cat /proc/self/uid_map | tr -s \\\" \\\"\"'",
        "0\n 0 1500 1\n 1 200000 65536",
    )
}

pub fn exit_codes(s: &Session) -> Check {
    s.fails("anna 'podman run --rm --net=none box sh -c \"exit 7\"'", 7, "")?;
    s.fails("anna 'podman run --rm --net=none box nosuch'", 127, "executable file").map(drop)
}

pub fn terminal(s: &Session) -> Check {
    // As in `run::terminal`.
    s.is("terminal \"anna 'podman run --rm -it --net=none box sh -c \\\"tty; read line\\\"'\"", "/dev/pts/0")
}

pub fn network(s: &Session) -> Check {
    s.has("ls /dev/net/tun && anna 'podman run --rm --net=slirp4netns box ls /sys/class/net' || echo tap0", "tap0")
        .map(drop)
}

pub fn life(s: &Session) -> Check {
    s.aside("anna 'podman run -d --name one --net=none box sleep 1000'")?;
    s.is("anna 'podman exec one echo hello'", "hello")?;
    s.is("anna 'podman exec -u user one id -u'", "1000")?;
    s.is("anna 'podman top one args'", "COMMAND\nsleep 1000")?;
    s.aside("anna 'podman stop -t 1 one'")?;
    s.is("anna \"podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' one\"", "exited 137")?;
    s.aside("anna 'podman start one && podman kill one && podman rm -f -t 0 one'").map(drop)
}

pub fn keep_id(s: &Session) -> Check {
    s.is("anna 'podman run --rm --net=none --userns=keep-id box id -u'", "1500")?;
    s.is("anna 'mkdir -p own && podman run --rm --net=none --userns=keep-id -v \\$PWD/own:/own box touch /own/file; stat -c %U own/file'", "anna")
        .or_else(|_| s.is("anna 'mkdir -p own && podman run --rm --net=none --userns=keep-id -v /home/anna/own:/own box touch /own/file; stat -c %U own/file'", "anna"))
}

/// By an annotation of crun's, which runc passes over.
pub fn keep_groups(s: &Session) -> Check {
    s.has("anna 'podman run --rm --net=none --group-add keep-groups box id' 2>&1 || true", "65534").map(drop)
}

pub fn volumes(s: &Session) -> Check {
    s.is("anna 'podman run --rm --net=none -v data:/data box sh -c \"echo kept >/data/file\"'", "")?;
    s.is("anna 'podman run --rm --net=none -v data:/data:ro box cat /data/file'", "kept")?;
    s.is("anna 'podman run --rm --net=none -v site:/var/www box cat /var/www/index.html'", "page")
}

pub fn chown(s: &Session) -> Check {
    s.is("anna 'mkdir -p theirs && podman run --rm --net=none -u 1000 -v /home/anna/theirs:/dir:U box stat -c %u /dir'; stat -c %u /home/anna/theirs", "1000\n200999")
}

pub fn pod(s: &Session) -> Check {
    s.aside(
        "anna 'podman pod create --name pod --net none && podman run -d --pod pod --name web box httpd -f -h /var/www'",
    )?;
    s.is("anna 'podman run --rm --pod pod box wget -qO- http://127.0.0.1/'", "page")
}

pub fn privileged(s: &Session) -> Check {
    s.is(
        "anna 'podman run --rm --net=none --privileged box sh -c \"mount -t tmpfs none /tmp && echo mounted\"'",
        "mounted",
    )
}

pub fn confinement(s: &Session) -> Check {
    s.ok("anna 'podman run --rm --net=none box grep -E \"^(Cap|NoNew|Seccomp)\" /proc/self/status'")?;
    s.has("anna 'podman run --rm --net=none --read-only box touch /new' 2>&1 || true", "Read-only file system")
        .map(drop)
}
