//! Docker with the runtime under test as its default runtime, and as the `runc` of PATH that builds use.

mod build;
mod confine;
mod exec;
mod life;
mod mounts;
mod run;
mod tutorial;

use engine_tests::{Check, Session, Suite, suite, tests};
use std::process::ExitCode;

const SUITE: Suite = Suite {
    name: "docker",
    programs: &["dockerd", "docker", "containerd", "iptables"],
    start,
    clean: "ids=$(docker ps -aq); [ -z \"$ids\" ] || docker rm -fv $ids; docker volume rm -f $(docker volume ls -q)
        docker network prune -f; exit 0",
    tests: tests![
        run::prints,
        run::exit_code,
        run::death_by_signal,
        run::standard_input,
        run::standard_error,
        run::much_output,
        run::terminal,
        run::terminal_size,
        run::missing_program,
        run::missing_path,
        run::not_executable,
        run::a_file_where_a_directory_is,
        run::init,
        run::user_and_groups,
        run::environment,
        run::working_directory,
        run::hostname,
        run::no_network,
        run::host_network,
        run::bridge_and_published_port,
        run::own_network,
        run::network_of_a_container,
        run::host_pid_namespace,
        run::pid_namespace_of_a_container,
        run::ipc_namespaces,
        run::host_uts_namespace,
        run::private_cgroup_namespace,
        run::mounts_of_the_image,
        run::what_proc_and_sys_look_like,
        life::stop_by_term,
        life::stop_by_kill,
        life::stop_signal,
        life::kill,
        life::kill_with_a_signal,
        life::kill_ends_every_process,
        life::pause_and_unpause,
        life::remove_while_paused,
        life::stop_while_paused,
        life::restart,
        life::restart_policy,
        life::start_again,
        life::attach,
        life::top,
        life::stats,
        life::update,
        life::update_of_cpuset,
        life::copy,
        life::logs,
        life::health,
        life::out_of_memory,
        life::diff_and_export,
        life::events,
        life::lost_state,
        life::the_daemon_comes_back,
        exec::output_and_exit_code,
        exec::missing_program,
        exec::missing_path,
        exec::not_executable,
        exec::terminal,
        exec::user,
        exec::environment,
        exec::working_directory,
        exec::detached,
        exec::confinement,
        exec::same_namespaces_and_cgroup,
        exec::many_in_parallel,
        exec::end_with_the_container,
        confine::memory,
        confine::oom_kill_disable,
        confine::oom_score,
        confine::cpus,
        confine::cpuset,
        confine::pids_limit,
        confine::block_io,
        confine::cgroup_parent,
        confine::ulimit,
        confine::capabilities,
        confine::no_new_privileges,
        confine::seccomp,
        confine::read_only,
        confine::device,
        confine::device_rules,
        confine::sysctl,
        confine::shm_size,
        mounts::bind,
        mounts::bind_read_only,
        mounts::bind_of_a_file,
        mounts::bind_that_is_missing,
        mounts::bind_by_mount,
        mounts::recursive_bind,
        mounts::propagation,
        mounts::slave_propagation,
        mounts::named_volume,
        mounts::volume_by_mount,
        mounts::copy_up,
        mounts::anonymous_volume,
        mounts::volume_with_options,
        mounts::volumes_from,
        mounts::tmpfs,
        mounts::nested,
        mounts::socket_and_device,
        mounts::over_what_the_engine_mounts,
        mounts::same_destination_twice,
        build::buildkit,
        build::classic,
        build::buildkit_failure,
        build::classic_failure,
        build::buildkit_mounts,
        tutorial::an_anonymous_volume,
        tutorial::a_directory_of_the_host,
        tutorial::read_only,
        tutorial::commit_without_the_volume,
        tutorial::volumes_from,
        tutorial::volume_in_a_dockerfile,
        tutorial::a_named_volume,
        tutorial::backup_and_restore,
        tutorial::prune,
    ],
    ours: tests![confine::run_privileged, confine::exec_privileged],
};

fn main() -> ExitCode {
    suite::main(&SUITE)
}

/// The five lines of docs/docker.md; the address is one that no machine has.
const DAEMON: &str = r#"{
    "runtimes": { "rvol": { "path": "/run/eng/bin/runc" } },
    "default-runtime": "rvol",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "experimental": true,
    "bip": "172.31.99.1/24"
}"#;

fn start(s: &Session) -> Check {
    s.aside("mkdir -p /etc/docker")?;
    s.write("daemon.json", DAEMON)?;
    s.aside("cp daemon.json /etc/docker/")?;
    s.daemon("dockerd", "dockerd", "docker version")?;
    s.aside(
        "docker import --change 'CMD [\"sh\"]' /run/eng/box.tar box && docker tag box ubuntu && docker tag box debian",
    )?;
    Ok(())
}
