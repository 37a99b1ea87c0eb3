//! `podman run` and `podman exec`.

use engine_tests::{Check, Session};

pub fn prints(s: &Session) -> Check {
    s.is("podman run --rm box echo hello", "hello")
}

pub fn exit_codes(s: &Session) -> Check {
    s.fails("podman run --rm box sh -c 'exit 7'", 7, "")?;
    s.fails("podman run --rm --init box sh -c 'kill -9 $$'", 137, "").map(drop)
}

pub fn standard_streams(s: &Session) -> Check {
    s.is("echo typed | podman run --rm -i box cat", "typed")?;
    s.is("podman run --rm box sh -c 'echo wrong >&2' 2>&1 >/dev/null", "wrong")
}

pub fn terminal(s: &Session) -> Check {
    // Podman may lose the last words of a container that ends at once: it ends when they have been seen.
    s.is("terminal 'podman run --rm -it box sh -c \"tty; read line\"'", "/dev/pts/0")
}

pub fn missing_program(s: &Session) -> Check {
    s.fails("podman run --rm box nosuch", 127, "executable file").map(drop)
}

pub fn missing_path(s: &Session) -> Check {
    s.fails("podman run --rm box /no/such", 127, "no such file or directory").map(drop)
}

pub fn not_executable(s: &Session) -> Check {
    s.fails("podman run --rm box /etc/passwd", 126, "ermission denied").map(drop)
}

pub fn user_and_environment(s: &Session) -> Check {
    s.is(
        "podman run --rm -u user --group-add 77 box id",
        "uid=1000(user) gid=1000(user) groups=77,1000(user),2000(more)",
    )?;
    s.is("podman run --rm -e A=1 -w /var/www -h name box sh -c 'echo $A $HOSTNAME; pwd'", "1 name\n/var/www")
}

pub fn networks(s: &Session) -> Check {
    s.is("podman run --rm --net=none box ls /sys/class/net", "lo")?;
    s.is("podman run --rm --net=host --uts=host box hostname", "engine-test")
}

pub fn bridge_and_published_port(s: &Session) -> Check {
    s.aside("podman run -d --name web -p 8099:80 box httpd -f -h /var/www")?;
    s.becomes("wget -qO- --timeout=3 --tries=1 http://127.0.0.1:8099/ || curl -s http://127.0.0.1:8099/", "page")?;
    s.is("podman run --rm --net container:web box wget -qO- http://127.0.0.1/", "page")
}

pub fn namespaces(s: &Session) -> Check {
    s.is("podman run --rm --pid=host --net=none box sh -c 'cat /proc/1/cmdline | tr \"\\0\" \" \" | cut -c1-3'", "sh ")
        .or_else(|_| s.ok("podman run --rm --pid=host --net=none box sh -c 'cat /proc/1/comm'").map(drop))?;
    s.is("podman run --rm --ipc=private --net=none box ls /dev/shm", "")?;
    s.aside("podman run -d --name one --net=none --ipc=shareable box sleep 1234")?;
    s.is("podman run --rm --pid container:one --ipc container:one --net=none box cat /proc/1/comm", "sleep")?;
    s.ok("podman run --rm --net=none --cgroupns=private box cat /proc/self/cgroup").map(drop)
}

pub fn what_the_process_gets(s: &Session) -> Check {
    s.ok("podman run --rm --net=none box sh -c 'grep -E \"^(Cap|NoNew|Seccomp|Sig[BIC]|Groups|Uid)\" /proc/self/status; cat /proc/self/oom_score_adj; umask; ulimit -a | grep -v pending; env | sort'").map(drop)
}

pub fn init(s: &Session) -> Check {
    s.is("podman run --rm --init --net=none box cat /proc/1/comm", "catatonit")
        .or_else(|_| s.ok("podman run --rm --init --net=none box cat /proc/1/comm").map(drop))
}

pub fn preserved_descriptors(s: &Session) -> Check {
    s.is("echo kept >file; podman run --rm --net=none --preserve-fds 1 box cat /proc/self/fd/3 3<file", "kept")
}

pub fn exec(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none -e A=1 box sleep 1000")?;
    s.is("podman exec one sh -c 'echo $A; pwd'", "1\n/")?;
    s.fails("podman exec one sh -c 'exit 9'", 9, "")?;
    s.is("echo typed | podman exec -i one cat", "typed")?;
    s.is(
        "podman exec -u user -w /etc -e B=2 one sh -c 'id; pwd; echo $A $B'",
        "uid=1000(user) gid=1000(user) groups=2000(more)\n/etc\n1 2",
    )?;
    s.is("podman exec one sh -c 'diff /proc/1/cgroup /proc/self/cgroup && echo same'", "same")
}

pub fn exec_with_a_terminal(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none box sleep 1000")?;
    s.is("terminal 'podman exec -it one sh -c \"tty; read line\"'", "/dev/pts/0")
}

pub fn exec_detached(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none box sleep 1000")?;
    s.aside("podman exec -d one sh -c 'echo done >/note; sleep 1000'")?;
    s.becomes("podman exec one cat /note", "done")
}

pub fn exec_of_what_cannot_run(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none box sleep 1000")?;
    s.fails("podman exec one nosuch", 127, "executable file")?;
    s.fails("podman exec one /no/such", 127, "no such file or directory")?;
    s.fails("podman exec one /etc/passwd", 126, "ermission denied").map(drop)
}

pub fn exec_preserved_descriptors(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none box sleep 1000")?;
    s.is("echo kept >file; podman exec --preserve-fds 1 one cat /proc/self/fd/3 3<file", "kept")
}

/// With the native capabilities of the machine's root.
pub fn exec_privileged(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none box sleep 1000")?;
    s.is("podman exec --privileged one sh -c 'mount -t tmpfs none /tmp && echo mounted'", "mounted")
}

/// With containers.conf as docs/podman.md has it.
pub fn configured_as_in_the_manual(s: &Session) -> Check {
    let manual = include_str!("../../../../docs/podman.md");
    let block = manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let text = block.ok_or("docs/podman.md has no toml")?.replace("/usr/local/bin/rvol-runc", "/run/eng/bin/runc");
    let text = text.replacen("[engine]\n", "[engine]\nevents_logger = \"file\"\n", 1);
    s.write("manual.conf", &format!("{text}[containers]\nlog_driver = \"k8s-file\"\n"))?;
    let podman = "CONTAINERS_CONF=$PWD/manual.conf /usr/bin/podman --cgroup-manager cgroupfs run --rm --net=none";
    s.is(&format!("{podman} --cgroups=disabled box echo here"), "here")?;
    let said = s.fails(&format!("{podman} box /no/such"), 127, "Error: rvol: create")?;
    if said.contains("rvol-runc: ") { Err(format!("names the program twice: {said}")) } else { Ok(()) }
}
