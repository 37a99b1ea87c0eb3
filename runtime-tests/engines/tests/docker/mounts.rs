//! All kinds of `-v`, `--mount`, `--tmpfs` and `--volumes-from`.

use engine_tests::{Check, Session};

pub fn bind(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.is("docker run --rm -v $PWD/dir:/dir box sh -c 'cat /dir/file; echo container >/dir/back'", "host")?;
    s.is("cat dir/back", "container")
}

pub fn bind_read_only(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.has("docker run --rm -v $PWD/dir:/dir:ro box touch /dir/new 2>&1 || true", "Read-only file system").map(drop)
}

pub fn bind_of_a_file(s: &Session) -> Check {
    s.write("file", "host\n")?;
    s.is("docker run --rm -v $PWD/file:/new/place/file:ro box cat /new/place/file", "host")
}

pub fn bind_that_is_missing(s: &Session) -> Check {
    s.is(
        "docker run --rm -v /home/missing:/dir box ls /dir; ls -d /home/missing; rmdir /home/missing",
        "/home/missing",
    )?;
    s.fails("docker run --rm --mount type=bind,src=/home/missing,dst=/dir box ls /dir", 125, "does not exist").map(drop)
}

pub fn bind_by_mount(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.is("docker run --rm --mount type=bind,src=$PWD/dir,dst=/dir,readonly box cat /dir/file", "host")
}

pub fn recursive_bind(s: &Session) -> Check {
    s.aside("mkdir -p dir/sub && mount -t tmpfs none dir/sub && touch dir/sub/below")?;
    s.is("docker run --rm -v $PWD/dir:/dir box ls /dir/sub", "below")?;
    s.is("docker run --rm --mount type=bind,src=$PWD/dir,dst=/dir,bind-nonrecursive box ls /dir/sub", "")?;
    s.aside("umount dir/sub").map(drop)
}

pub fn propagation(s: &Session) -> Check {
    s.aside("mkdir -p dir && mount --bind dir dir && mount --make-shared dir && mkdir -p dir/in dir/out")?;
    s.aside("docker run -d --name box1 --cap-add sys_admin -v $PWD/dir:/dir:rshared --security-opt apparmor=unconfined box sleep 1000")?;
    s.aside("docker exec box1 mount -t tmpfs inner /dir/in && mount -t tmpfs outer dir/out")?;
    s.is("grep -q \"^inner $PWD/dir/in \" /proc/mounts; echo $?", "0")?;
    s.is("docker exec box1 grep -c '^outer /dir/out ' /proc/mounts", "1")?;
    s.aside("docker rm -f box1")?;
    s.aside("umount dir/in; umount dir/out; umount dir").map(drop)
}

pub fn slave_propagation(s: &Session) -> Check {
    s.aside("mkdir -p dir && mount --bind dir dir && mount --make-shared dir && mkdir -p dir/in dir/out")?;
    s.aside("docker run -d --name box1 --cap-add sys_admin --mount type=bind,src=$PWD/dir,dst=/dir,bind-propagation=rslave box sleep 1000")?;
    s.aside("docker exec box1 mount -t tmpfs inner /dir/in && mount -t tmpfs outer dir/out")?;
    s.is("grep -q \"^inner $PWD/dir/in \" /proc/mounts; echo $?", "1")?;
    s.is("docker exec box1 grep -c '^outer /dir/out ' /proc/mounts", "1")?;
    s.aside("docker rm -f box1")?;
    s.aside("umount dir/out; umount dir").map(drop)
}

pub fn named_volume(s: &Session) -> Check {
    s.is("docker run --rm -v data:/data box sh -c 'echo kept >/data/file'", "")?;
    s.is("docker run --rm -v data:/data:ro box cat /data/file", "kept")?;
    s.is("cat $(docker volume inspect -f '{{.Mountpoint}}' data)/file", "kept")
}

pub fn volume_by_mount(s: &Session) -> Check {
    s.is("docker run --rm --mount src=data,dst=/data box sh -c 'echo kept >/data/file'", "")?;
    s.has("docker run --rm --mount type=volume,src=data,dst=/data,readonly box sh -c 'cat /data/file; touch /data/new' 2>&1 || true", "Read-only file system")
        .map(drop)
}

pub fn copy_up(s: &Session) -> Check {
    s.is("docker run --rm -v site:/var/www box cat /var/www/index.html", "page")?;
    s.is("docker run --rm -v bare:/var/www:nocopy box ls /var/www", "")
}

pub fn anonymous_volume(s: &Session) -> Check {
    s.aside("docker run -d --name box1 -v /test box sleep 1000")?;
    s.is("docker volume ls -q", "<id>").or_else(|_| s.ok("docker volume ls -q").map(drop))?;
    s.aside("docker rm -fv box1")?;
    s.is("docker volume ls -q", "")
}

pub fn volume_with_options(s: &Session) -> Check {
    s.aside("docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=5m,uid=1000 mem")?;
    s.is(
        "docker run --rm -v mem:/mem box sh -c 'df -k /mem | tail -1 | awk \"{print \\$2}\"; stat -c %u /mem'",
        "5120\n1000",
    )
}

pub fn volumes_from(s: &Session) -> Check {
    s.aside("docker create --name first -v data:/data -v /anonymous -v $PWD:/work:ro box true")?;
    s.is(
        "docker run --rm --volumes-from first box sh -c 'echo one >/data/file; echo two >/anonymous/file; ls -d /work'",
        "/work",
    )?;
    s.is("docker run --rm --volumes-from first:ro box cat /data/file /anonymous/file", "one\ntwo")?;
    s.has("docker run --rm --volumes-from first:ro box touch /data/new 2>&1 || true", "Read-only file system").map(drop)
}

pub fn tmpfs(s: &Session) -> Check {
    s.is(
        "docker run --rm --tmpfs /fast box sh -c 'grep \" /fast \" /proc/mounts | cut -d\" \" -f1-4'",
        "tmpfs /fast tmpfs rw,nosuid,nodev,noexec,relatime",
    )
    .or_else(|_| s.ok("docker run --rm --tmpfs /fast box grep ' /fast ' /proc/mounts").map(drop))?;
    s.is("docker run --rm --tmpfs /fast:size=3m,mode=1770,exec box sh -c 'df -k /fast | tail -1 | awk \"{print \\$2}\"; stat -c %a /fast'", "3072\n1770")?;
    s.is("docker run --rm --mount type=tmpfs,dst=/fast,tmpfs-size=2m,tmpfs-mode=700 box sh -c 'df -k /fast | tail -1 | awk \"{print \\$2}\"; stat -c %a /fast'", "2048\n700")
}

pub fn nested(s: &Session) -> Check {
    s.aside("mkdir -p outer/inner deep && echo inner >deep/file")?;
    s.is("docker run --rm -v $PWD/deep:/outer/inner -v $PWD/outer:/outer:ro box sh -c 'cat /outer/inner/file; touch /outer/inner/ok; touch /outer/no 2>/dev/null || echo ro'", "inner\nro")
}

pub fn socket_and_device(s: &Session) -> Check {
    s.is(
        "docker run --rm -v /var/run/docker.sock:/docker.sock box sh -c 'test -S /docker.sock && echo socket'",
        "socket",
    )?;
    s.is("docker run --rm -v /dev/zero:/dev/mine box sh -c 'test -c /dev/mine && echo device'", "device")
}

pub fn over_what_the_engine_mounts(s: &Session) -> Check {
    s.write("hosts", "1.2.3.4 elsewhere\n")?;
    s.is("docker run --rm -v $PWD/hosts:/etc/hosts:ro box cat /etc/hosts", "1.2.3.4 elsewhere")?;
    s.is("docker run --rm -v /dev/shm:/dev/shm --tmpfs /run box sh -c 'ls -d /dev/shm /run'", "/dev/shm\n/run")
}

pub fn same_destination_twice(s: &Session) -> Check {
    s.fails("docker run --rm -v one:/data -v two:/data box true", 125, "Duplicate mount point").map(drop)
}
