//! Docker's tutorials on volumes, typed word for word.

use engine_tests::{Check, Session};

/// `docker run -v /test`: an anonymous volume, seen on the host.
pub fn an_anonymous_volume(s: &Session) -> Check {
    s.aside("docker run -dit --name test -v /test ubuntu")?;
    s.is("terminal 'docker exec -it test touch test/text.txt'", "")?;
    s.is("docker exec test ls /test", "text.txt")?;
    s.is("docker volume ls | sed 's/[0-9a-f]\\{64\\}/NAME/'", "DRIVER    VOLUME NAME\nlocal     NAME")?;
    s.is(
        "docker inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Driver}} {{.RW}}{{end}}' test",
        "volume /test local true",
    )?;
    s.is("ls $(docker inspect -f '{{range .Mounts}}{{.Source}}{{end}}' test)", "text.txt")?;
    s.is(
        "docker inspect -f '{{range .Mounts}}{{.Source}}{{end}}' test | sed 's/[0-9a-f]\\{64\\}/NAME/'",
        "/var/lib/docker/volumes/NAME/_data",
    )
}

/// `docker run -v /home:/test`: a directory of the host.
pub fn a_directory_of_the_host(s: &Session) -> Check {
    s.aside("docker run -dit --name test -v /home:/test ubuntu")?;
    s.is("terminal 'docker exec -it test touch test/text.txt'", "")?;
    s.is("ls /home", "text.txt")?;
    s.is("echo 'from the host' >/home/text.txt; docker exec test cat /test/text.txt", "from the host")?;
    s.is(
        "docker inspect -f '{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}}{{end}}' test",
        "bind /home /test true",
    )?;
    s.aside("rm /home/text.txt").map(drop)
}

pub fn read_only(s: &Session) -> Check {
    s.aside("docker run -dit --name test -v /home:/test:ro ubuntu")?;
    s.fails("docker exec test touch test/text.txt", 1, "Read-only file system")?;
    s.is("ls /home", "")
}

/// An image made of a container has nothing of its volumes.
pub fn commit_without_the_volume(s: &Session) -> Check {
    s.aside("docker run -dit --name test -v /test ubuntu")?;
    s.is("terminal 'docker exec -it test touch test/text.txt'", "")?;
    s.aside("docker exec test touch /outside")?;
    s.aside("docker commit test committed")?;
    s.is("docker run --rm committed ls /outside /test", "/outside\n\n/test:")?;
    s.is("docker run --rm committed ls -A /test", "")
}

pub fn volumes_from(s: &Session) -> Check {
    s.aside("docker run -dit --name container-test -h CONTAINER -v /data debian /bin/bash")?;
    s.is("docker exec container-test touch /data/test-file", "")?;
    s.is(
        "docker run --rm -h NEWCONTAINER --volumes-from container-test debian /bin/bash -c 'hostname; ls /data'",
        "NEWCONTAINER\ntest-file",
    )?;
    s.aside("docker stop -t 0 container-test")?;
    s.is("docker run --rm --volumes-from container-test debian ls /data", "test-file")
}

/// `VOLUME` in a Dockerfile: what is in the image there comes up in the volume; what RUN does afterwards is lost.
pub fn volume_in_a_dockerfile(s: &Session) -> Check {
    s.write(
        "context/Dockerfile",
        "FROM debian\nRUN mkdir /myvol && echo \"hello world\" > /myvol/greeting\nVOLUME /myvol\n",
    )?;
    s.aside("DOCKER_BUILDKIT=1 docker build -t withvolume context")?;
    s.aside("docker run -dit --name test withvolume")?;
    s.is("docker exec test cat /myvol/greeting", "hello world")?;
    s.is("docker inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}}{{end}}' test", "volume /myvol")?;
    s.is("cat $(docker inspect -f '{{range .Mounts}}{{.Source}}{{end}}' test)/greeting", "hello world")
}

pub fn a_named_volume(s: &Session) -> Check {
    s.is("docker volume create my-vol", "my-vol")?;
    s.is("docker volume ls", "DRIVER    VOLUME NAME\nlocal     my-vol")?;
    s.aside("docker run -d --name devtest -v my-vol:/app debian sleep 1000")?;
    s.is("docker inspect -f '{{range .Mounts}}{{.Name}} {{.Destination}}{{end}}' devtest", "my-vol /app")?;
    s.fails("docker volume rm my-vol", 1, "volume is in use")?;
    s.aside("docker container stop -t 0 devtest && docker container rm devtest")?;
    s.is("docker volume rm my-vol", "my-vol")
}

pub fn backup_and_restore(s: &Session) -> Check {
    s.aside("docker run -v /dbdata --name dbstore ubuntu sh -c 'echo kept >/dbdata/file'")?;
    s.aside("docker run --rm --volumes-from dbstore -v $(pwd):/backup ubuntu tar cvf /backup/backup.tar /dbdata")?;
    s.aside("docker run -v /dbdata --name dbstore2 ubuntu true")?;
    s.aside("docker run --rm --volumes-from dbstore2 -v $(pwd):/backup ubuntu sh -c 'cd /dbdata && tar xvf /backup/backup.tar --strip 1 || tar xf /backup/backup.tar -C /'")?;
    s.is("docker run --rm --volumes-from dbstore2 ubuntu find /dbdata -type f", "/dbdata/file")
}

pub fn prune(s: &Session) -> Check {
    s.aside("docker run --name test -v /test ubuntu true")?;
    s.has("docker volume prune -f", "Total reclaimed space: 0B")?;
    s.aside("docker rm test")?;
    s.has("docker volume prune -f", "Deleted Volumes:")?;
    s.is("docker volume ls -q", "")
}
