//! `docker run`: input, output, exit codes, users, namespaces, network.

use engine_tests::{Check, Session};

pub fn prints(s: &Session) -> Check {
    s.is("docker run --rm box echo hello", "hello")
}

pub fn exit_code(s: &Session) -> Check {
    s.fails("docker run --rm box sh -c 'exit 7'", 7, "").map(drop)
}

pub fn death_by_signal(s: &Session) -> Check {
    s.fails("docker run --rm box sh -c 'kill -9 $$; sleep 9' || exit $?", 137, "").map(drop).or_else(|_| {
        // Process 1 is not killed by itself; its child is.
        s.fails("docker run --rm --init box sh -c 'kill -9 $$'", 137, "").map(drop)
    })
}

pub fn standard_input(s: &Session) -> Check {
    s.is("echo typed | docker run --rm -i box cat", "typed")
}

pub fn standard_error(s: &Session) -> Check {
    s.is("docker run --rm box sh -c 'echo wrong >&2' 2>&1 >/dev/null", "wrong")
}

pub fn much_output(s: &Session) -> Check {
    s.is("docker run --rm box seq 1 100000 | md5sum", "13c2a5a8f7abf5dbb2e2e24e2ae5d3ff  -").or_else(|_| {
        s.is("[ \"$(docker run --rm box seq 1 100000 | md5sum)\" = \"$(seq 1 100000 | md5sum)\" ] && echo same", "same")
    })
}

pub fn terminal(s: &Session) -> Check {
    s.is(
        "terminal 'docker run --rm -it box sh -c \"tty; test -t 0 && test -t 1 && echo terminal\"'",
        "/dev/pts/0\nterminal",
    )
}

pub fn terminal_size(s: &Session) -> Check {
    let shown = "sh -c \"until stty size 2>/dev/null | grep 33; do sleep 0.1; done\"";
    s.is(&format!("terminal 'stty rows 33 cols 99; docker run --rm -it box {shown}'"), "33 99")
}

pub fn missing_program(s: &Session) -> Check {
    s.fails("docker run --rm box nosuch", 127, "executable file not found in $PATH").map(drop)
}

pub fn missing_path(s: &Session) -> Check {
    s.fails("docker run --rm box /no/such", 127, "no such file or directory").map(drop)
}

pub fn not_executable(s: &Session) -> Check {
    s.fails("docker run --rm box /etc/passwd", 126, "permission denied").map(drop)
}

pub fn a_file_where_a_directory_is(s: &Session) -> Check {
    s.aside("touch file")?;
    s.fails("docker run --rm -v $PWD/file:/home box true", 125, "not a directory").map(drop)
}

pub fn init(s: &Session) -> Check {
    s.is("docker run --rm --init box cat /proc/1/comm", "docker-init")
}

pub fn user_and_groups(s: &Session) -> Check {
    s.is(
        "docker run --rm -u user --group-add 77 box id",
        "uid=1000(user) gid=1000(user) groups=77,1000(user),2000(more)",
    )
}

pub fn environment(s: &Session) -> Check {
    s.is(
        "docker run --rm -e A=1 -e B='two words' -h name box sh -c 'echo $A $B $HOSTNAME $HOME'",
        "1 two words name /root",
    )
}

pub fn working_directory(s: &Session) -> Check {
    s.is("docker run --rm -w /new/place box pwd", "/new/place")
}

pub fn hostname(s: &Session) -> Check {
    s.is(
        "docker run --rm -h some --domainname where box sh -c 'hostname; cat /proc/sys/kernel/domainname'",
        "some\nwhere",
    )
}

pub fn no_network(s: &Session) -> Check {
    s.is("docker run --rm --net=none box ls /sys/class/net", "lo")
}

pub fn host_network(s: &Session) -> Check {
    s.is("docker run --rm --net=host box ls /sys/class/net", "docker0\nlo")
}

pub fn bridge_and_published_port(s: &Session) -> Check {
    s.aside("docker run -d --name web -p 8099:80 box httpd -f -h /var/www")?;
    s.becomes("wget -qO- --timeout=3 --tries=1 http://127.0.0.1:8099/ || curl -s http://127.0.0.1:8099/", "page")?;
    s.is("docker run --rm --link web:web box wget -qO- http://web/", "page")
}

pub fn own_network(s: &Session) -> Check {
    s.aside("docker network create --subnet 172.31.98.0/24 side")?;
    s.aside("docker run -d --name web --net side box httpd -f -h /var/www")?;
    s.is("docker run --rm --net side box wget -qO- http://web/", "page")?;
    s.aside("docker run -d --name idle box sleep 1000")?;
    s.aside("docker network connect side idle")?;
    s.is("docker exec idle wget -qO- http://web/", "page")
}

pub fn network_of_a_container(s: &Session) -> Check {
    s.aside("docker run -d --name web box httpd -f -h /var/www")?;
    s.is("docker run --rm --net container:web box wget -qO- http://127.0.0.1/", "page")
}

pub fn host_pid_namespace(s: &Session) -> Check {
    s.is("docker run --rm --pid=host box sh -c 'grep -l ^dockerd /proc/[0-9]*/comm | wc -l'", "1")
}

pub fn pid_namespace_of_a_container(s: &Session) -> Check {
    s.aside("docker run -d --name first box sleep 1234")?;
    s.is("docker run --rm --pid container:first box cat /proc/1/comm", "sleep")
}

pub fn ipc_namespaces(s: &Session) -> Check {
    s.aside("docker run -d --name first --ipc shareable box sh -c 'echo shared >/dev/shm/note; sleep 1000'")?;
    s.becomes("docker exec first cat /dev/shm/note", "shared")?;
    s.is("docker run --rm --ipc container:first box cat /dev/shm/note", "shared")?;
    s.is("docker run --rm --ipc=private box ls /dev/shm", "")?;
    s.is("docker run --rm --ipc=host box sh -c '[ -d /dev/shm ] && echo yes'", "yes")
}

pub fn host_uts_namespace(s: &Session) -> Check {
    s.is("docker run --rm --uts=host box hostname", "engine-test")
}

pub fn private_cgroup_namespace(s: &Session) -> Check {
    s.is(
        "docker run --rm --cgroupns=private box sh -c 'grep :memory: /proc/self/cgroup || grep ^0:: /proc/self/cgroup'",
        "4:memory:/",
    )
    .or_else(|_| s.is("docker run --rm --cgroupns=private box grep -c /docker /proc/self/cgroup || true", "0"))
}

pub fn mounts_of_the_image(s: &Session) -> Check {
    // Every mount with its options, in order. What hides files of /proc and /sys is another mount, and here cgroup
    // mounts are read-only at their top and have the second version of a hybrid machine.
    s.ok("docker run --rm --net=none box sh -c 'cut -d\" \" -f2-4 /proc/mounts' | sed 's/lowerdir=.*//; s/inode64//' | grep -vE '^(/sys/fs/cgroup.*|/proc/(acpi|keys|kcore|timer_list)|/sys/firmware) '").map(drop)
}

pub fn what_proc_and_sys_look_like(s: &Session) -> Check {
    s.ok("docker run --rm --net=none box sh -c 'cat /proc/keys | wc -l; ls /proc/acpi /sys/firmware | wc -l; grep -E \"^(Cap|NoNew|Seccomp|Sig[BIC]|Groups|Uid)\" /proc/self/status; cat /proc/self/oom_score_adj; umask; ulimit -a | grep -v pending; ls -l /dev | grep -v core | sed \"s/[A-Z][a-z][a-z] .[0-9].*:.. //\"; env'").map(drop)
}
