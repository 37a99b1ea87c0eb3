//! `docker build`: each RUN is a container. Both builders take the program `runc` in PATH.

use engine_tests::{Check, Session};

const DOCKERFILE: &str = r#"FROM box
ARG GREETING=hello
ENV NAME=value
WORKDIR /work
RUN echo $GREETING $NAME > file && id -u >> file && pwd >> file
USER user
RUN id -u > /tmp/who
USER root
COPY added /added
RUN ls -d /sys/class/net/lo > nets
RUN rm /added && touch /last
CMD cat /work/file /tmp/who
"#;

fn build(s: &Session, builder: &str) -> Check {
    s.write("context/Dockerfile", DOCKERFILE)?;
    s.write("context/added", "file\n")?;
    s.aside(&format!(
        "DOCKER_BUILDKIT={builder} docker build --no-cache -t built{builder} --build-arg GREETING=hi context"
    ))?;
    s.is(&format!("docker run --rm built{builder}"), "hi value\n0\n/work\n1000")?;
    s.is(
        &format!("docker run --rm built{builder} ls / /work"),
        "/:\nbin\ndev\netc\nhome\nlast\nproc\nroot\nsys\ntmp\nvar\nwork\n\n/work:\nfile\nnets",
    )
}

pub fn buildkit(s: &Session) -> Check {
    build(s, "1")
}

pub fn classic(s: &Session) -> Check {
    build(s, "0")
}

fn failing(s: &Session, builder: &str) -> Check {
    s.write("context/Dockerfile", "FROM box\nRUN echo before && exit 3\n")?;
    s.fails(
        &format!("DOCKER_BUILDKIT={builder} docker build --no-cache context >/dev/null"),
        1,
        "returned a non-zero code: 3",
    )
    .or_else(|_| {
        s.fails(&format!("DOCKER_BUILDKIT={builder} docker build --no-cache context >/dev/null"), 1, "exit code: 3")
    })
    .map(drop)
}

pub fn buildkit_failure(s: &Session) -> Check {
    failing(s, "1")
}

pub fn classic_failure(s: &Session) -> Check {
    failing(s, "0").or_else(|_| failing_with(s))
}

fn failing_with(s: &Session) -> Check {
    s.fails("DOCKER_BUILDKIT=0 docker build --no-cache context >/dev/null", 3, "returned a non-zero code: 3").map(drop)
}

pub fn buildkit_mounts(s: &Session) -> Check {
    s.write("context/Dockerfile", "FROM box\nRUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/fast --mount=type=secret,id=key cat /run/secrets/key > /got && touch /cache/kept /fast/gone\nRUN --mount=type=cache,target=/cache ls /cache >> /got\nCMD cat /got\n")?;
    s.write("key", "secret\n")?;
    s.aside("DOCKER_BUILDKIT=1 docker build --no-cache --secret id=key,src=key -t mounts context")?;
    s.is("docker run --rm mounts", "secret\nkept")
}
