//! Volumes and mounts with Podman.

use engine_tests::{Check, Session};

pub fn bind(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.is("podman run --rm --net=none -v $PWD/dir:/dir box sh -c 'cat /dir/file; echo container >/dir/back'; cat dir/back", "host\ncontainer")?;
    // Words that Podman acts upon and leaves in config.json.
    s.is(
        "for word in copy nocopy z Z; do podman run --rm --net=none -v $PWD/dir:/dir:$word box cat /dir/file; done",
        "host\nhost\nhost\nhost",
    )?;
    s.has(
        "podman run --rm --net=none -v $PWD/dir:/dir:ro,noexec box touch /dir/new 2>&1 || true",
        "Read-only file system",
    )
    .map(drop)
}

pub fn named(s: &Session) -> Check {
    s.is("podman run --rm --net=none -v data:/data box sh -c 'echo kept >/data/file'", "")?;
    s.is("podman run --rm --net=none -v data:/data:ro box cat /data/file", "kept")?;
    s.is("podman run --rm --net=none -v data:/data:noexec,nosuid box grep -c ' /data .*nosuid,nodev,noexec' /proc/self/mountinfo", "1")?;
    s.is("podman volume ls -q", "data")
}

pub fn copy_up(s: &Session) -> Check {
    s.is("podman run --rm --net=none -v site:/var/www box cat /var/www/index.html", "page")
}

pub fn anonymous(s: &Session) -> Check {
    s.aside("podman run -d --name one --net=none -v /test box sh -c 'touch /test/file; sleep 1000'")?;
    s.becomes("ls $(podman inspect -f '{{range .Mounts}}{{.Source}}{{end}}' one)", "file")?;
    s.aside("podman rm -f -t 0 -v one")?;
    s.is("podman volume ls -q", "")
}

pub fn from_another_container(s: &Session) -> Check {
    s.aside("podman create --name first --net=none -v data:/data -v /anonymous box true")?;
    s.is("podman run --rm --net=none --volumes-from first box sh -c 'echo one >/data/file; cat /data/file; ls -d /anonymous'", "one\n/anonymous")?;
    s.has(
        "podman run --rm --net=none --volumes-from first:ro box touch /data/new 2>&1 || true",
        "Read-only file system",
    )
    .map(drop)
}

pub fn tmpfs(s: &Session) -> Check {
    s.is("podman run --rm --net=none --tmpfs /fast:size=3m,mode=1770 box sh -c 'df -k /fast | tail -1 | awk \"{print \\$2}\"; stat -c %a /fast'", "3072\n1770")?;
    s.is("podman run --rm --net=none --mount type=tmpfs,dst=/var/www,tmpfs-size=2m box ls /var/www", "index.html")
        .or_else(|_| {
            s.ok("podman run --rm --net=none --mount type=tmpfs,dst=/var/www,tmpfs-size=2m box ls /var/www").map(drop)
        })
}

pub fn chown(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.is("podman run --rm --net=none -u 1000 -v $PWD/dir:/dir:U box sh -c 'stat -c %u /dir /dir/file; touch /dir/new && echo ok'", "1000\n1000\nok")
}

pub fn propagation(s: &Session) -> Check {
    s.aside("mkdir -p prop && mount --bind prop prop && mount --make-shared prop && mkdir -p prop/in")?;
    s.aside("podman run -d --name one --net=none --cap-add sys_admin -v $PWD/prop:/dir:rshared box sleep 1000")?;
    s.aside("podman exec one mount -t tmpfs inner /dir/in")?;
    s.is("grep -q \"^inner $PWD/prop/in \" /proc/mounts; echo $?", "0")?;
    s.aside("podman rm -f -t 0 one; umount prop/in; umount prop").map(drop)
}

pub fn overlay(s: &Session) -> Check {
    s.write("lower/file", "host\n")?;
    s.is(
        "podman run --rm --net=none -v $PWD/lower:/dir:O box sh -c 'cat /dir/file; rm /dir/file; ls /dir'; ls lower/file",
        "host\nlower/file",
    )
}

pub fn image_as_a_mount(s: &Session) -> Check {
    s.is("podman run --rm --net=none --mount type=image,source=localhost/box,destination=/img box cat /img/var/www/index.html", "page")
}

pub fn secret(s: &Session) -> Check {
    s.aside("echo hidden | podman secret create key -")?;
    s.is("podman run --rm --net=none --secret key box cat /run/secrets/key", "hidden")
}

/// The runtime's own volumes, by annotation.
pub fn native(s: &Session) -> Check {
    let run = "podman run --rm --net=none --annotation rvol.volumes=own:/own box";
    s.is(
        &format!("{run} sh -c 'echo kept >/own/file'; {run} cat /own/file; runc volume ls -q; runc volume rm own"),
        "kept
own
own",
    )
}

pub fn native_rootless(s: &Session) -> Check {
    let run = "podman run --rm --net=none --annotation rvol.volumes=own:/own box";
    let data = "/home/anna/.local/share/rvol-runc/volumes/own/_data";
    s.is(
        &format!("anna '{run} sh -c \"echo kept >/own/file\"; {run} cat /own/file'; ls {data}"),
        "kept
file",
    )
}

/// runc 1.1.5 has no idmapped mounts.
pub fn idmapped(s: &Session) -> Check {
    s.aside("mkdir -p ids && echo mine >ids/file")?;
    s.is(
        "podman run --rm --net=none --uidmap 0:400000:65536 --gidmap 0:400000:65536 -v $PWD/ids:/ids:idmap box sh -c 'stat -c %u /ids/file; touch /ids/new'",
        "0",
    )?;
    s.is("stat -c %u ids/new", "0")
}
