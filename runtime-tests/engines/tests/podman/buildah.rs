//! `buildah run` and `buildah bud`.

use engine_tests::{Check, Session};

const RUN: &str = "buildah run --runtime /run/eng/bin/runc --isolation oci --net none";

pub fn from_scratch(s: &Session) -> Check {
    s.aside("c=$(buildah from --name built scratch) && buildah copy $c /run/eng/image / && buildah config --env PATH=/bin $c")?;
    s.is(&format!("{RUN} built -- sh -c 'echo made >/file; id -u'"), "0")?;
    s.is(&format!("{RUN} --user 1000 built -- id -u"), "1000")?;
    s.aside("buildah commit built localhost/built && buildah rm built")?;
    s.is("podman run --rm --net=none localhost/built cat /file", "made")
}

pub fn exit_code_and_errors(s: &Session) -> Check {
    s.aside("buildah from --name failing localhost/box")?;
    s.fails(&format!("{RUN} failing -- sh -c 'exit 3'"), 3, "")?;
    s.fails(&format!("{RUN} failing -- nosuch"), 1, "executable file not found in $PATH")
        .or_else(|_| s.fails(&format!("{RUN} failing -- nosuch"), 127, "executable file not found in $PATH"))?;
    s.aside("buildah rm failing").map(drop)
}

pub fn terminal_and_input(s: &Session) -> Check {
    s.aside("buildah from --name typing localhost/box")?;
    s.is(&format!("echo typed | {RUN} typing -- cat"), "typed")?;
    // buildah's ambient capabilities cannot be granted, which has to be said.
    s.is(&format!("terminal '{RUN} -t typing -- tty' | grep -v warning:"), "/dev/pts/0")?;
    s.aside("buildah rm typing").map(drop)
}

pub fn volume(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    s.aside("buildah from --name mounted localhost/box")?;
    s.is(
        &format!("{RUN} -v $PWD/dir:/dir:ro mounted -- sh -c 'cat /dir/file; touch /dir/new 2>/dev/null || echo ro'"),
        "host\nro",
    )?;
    s.aside("buildah rm mounted").map(drop)
}

pub fn bud(s: &Session) -> Check {
    s.write("context/Dockerfile", "FROM scratch\nCOPY image /\nENV PATH=/bin\nRUN [\"/bin/sh\", \"-c\", \"echo built >/file\"]\nCMD [\"cat\", \"/file\"]\n")?;
    s.aside("cp -a /run/eng/image context/ && buildah bud --runtime /run/eng/bin/runc --isolation oci --net none -t localhost/bud context")?;
    s.is("podman run --rm --net=none localhost/bud", "built")
}
