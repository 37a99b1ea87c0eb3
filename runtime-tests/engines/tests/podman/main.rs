//! Podman and buildah, as root and as a user, with cgroupfs. (systemd as cgroup manager is tested in a virtual machine.)

mod buildah;
mod confine;
mod life;
mod pods;
mod rootless;
mod run;
mod volumes;

use engine_tests::{Check, Session, Suite, suite, tests};
use std::process::ExitCode;

const SUITE: Suite = Suite {
    name: "podman",
    programs: &["podman", "conmon", "buildah", "newuidmap", "slirp4netns", "catatonit"],
    start,
    clean: "podman pod rm -af -t 0; podman rm -af -t 0 -v; podman volume prune -f; podman secret rm -a
        anna 'podman pod rm -af -t 0; podman rm -af -t 0 -v; podman volume prune -f; podman system migrate'; exit 0",
    tests: tests![
        run::prints,
        run::exit_codes,
        run::standard_streams,
        run::terminal,
        run::missing_program,
        run::missing_path,
        run::not_executable,
        run::user_and_environment,
        run::networks,
        run::bridge_and_published_port,
        run::namespaces,
        run::what_the_process_gets,
        run::init,
        run::preserved_descriptors,
        run::exec,
        run::exec_with_a_terminal,
        run::exec_detached,
        run::exec_of_what_cannot_run,
        run::exec_preserved_descriptors,
        run::exec_privileged,
        life::stop,
        life::stop_by_kill,
        life::kill,
        life::kill_with_a_signal,
        life::pause_and_unpause,
        life::remove_while_paused,
        life::restart,
        life::start_and_attach,
        life::top,
        life::stats,
        life::update,
        life::health,
        life::copy_diff_commit,
        life::out_of_memory,
        life::an_error_leaves_nothing,
        life::lost_state,
        life::build,
        life::failing_build,
        life::checkpoint,
        confine::limits,
        confine::cgroup_parent,
        confine::capabilities,
        confine::security_options,
        confine::read_only,
        confine::devices,
        confine::sysctl_ulimit_shm,
        confine::privileged,
        confine::user_namespace,
        confine::user_namespace_auto,
        confine::exec_in_a_user_namespace,
        confine::annotations,
        volumes::bind,
        volumes::named,
        volumes::copy_up,
        volumes::anonymous,
        volumes::from_another_container,
        volumes::tmpfs,
        volumes::chown,
        volumes::propagation,
        volumes::overlay,
        volumes::image_as_a_mount,
        volumes::secret,
        pods::shared_namespaces,
        pods::life,
        pods::play_kube,
        buildah::from_scratch,
        buildah::exit_code_and_errors,
        buildah::terminal_and_input,
        buildah::volume,
        buildah::bud,
        rootless::prints,
        rootless::exit_codes,
        rootless::terminal,
        rootless::network,
        rootless::life,
        rootless::keep_id,
        rootless::volumes,
        rootless::chown,
        rootless::pod,
        rootless::privileged,
        rootless::confinement,
    ],
    ours: tests![
        run::configured_as_in_the_manual,
        volumes::idmapped,
        volumes::native,
        volumes::native_rootless,
        rootless::keep_groups
    ],
};

fn main() -> ExitCode {
    suite::main(&SUITE)
}

/// The engine with the runtime and the cgroup manager named, and a user.
const PROGRAMS: &str = r#"
set -eu
cat >/run/eng/bin/podman <<'END'
#!/bin/sh
exec /usr/bin/podman --runtime /run/eng/bin/runc --cgroup-manager cgroupfs "$@"
END
cat >/run/eng/bin/anna <<'END'
#!/bin/sh
cd /home/anna
exec setpriv --reuid anna --regid anna --init-groups env HOME=/home/anna USER=anna XDG_RUNTIME_DIR=/run/user/anna sh -c "$1"
END
chmod 755 /run/eng/bin/podman /run/eng/bin/anna
useradd -u 1500 -m -d /home/anna -s /bin/sh anna
groupadd -g 1600 choir
usermod -a -G choir anna
sed -i /anna/d /etc/subuid /etc/subgid
echo anna:200000:65536 | tee -a /etc/subuid >>/etc/subgid
echo containers:300000:6553600 | tee -a /etc/subuid >>/etc/subgid
install -d -o anna -g anna -m 700 /run/user/anna
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
printf '[engine]\nevents_logger = "file"\n[containers]\nlog_driver = "k8s-file"\n' >/etc/containers/containers.conf
"#;

fn start(s: &Session) -> Check {
    s.aside(PROGRAMS)?;
    s.aside("podman import --change 'CMD [\"sh\"]' --change ENV=PATH=/bin /run/eng/box.tar localhost/box")?;
    s.aside("anna 'podman import --change ENV=PATH=/bin /run/eng/box.tar localhost/box'").map(drop)
}
