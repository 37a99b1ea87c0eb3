//! containerd: `ctr`, and the CRI plugin as a kubelet uses it.

mod cri;
mod ctr;

use engine_tests::{Check, Session, Suite, suite, tests};
use std::process::ExitCode;

const SUITE: Suite = Suite {
    name: "containerd",
    programs: &["containerd", "ctr", "umoci", "python3"],
    start,
    clean: "cri ListPodSandbox | grep -o '[0-9a-f]\\{64\\}' | while read -r id; do
            cri StopPodSandbox \"{\\\"pod_sandbox_id\\\":\\\"$id\\\"}\"; cri RemovePodSandbox \"{\\\"pod_sandbox_id\\\":\\\"$id\\\"}\"; done
        rm -rf pods
        for id in $(ctr task ls -q); do ctr task kill -a -s KILL $id; ctr task rm -f $id; done
        for id in $(ctr container ls -q); do ctr container rm $id; done",
    tests: tests![
        ctr::prints,
        ctr::the_runtime_of_path,
        ctr::exit_code,
        ctr::standard_input,
        ctr::terminal,
        ctr::missing_program,
        ctr::missing_path,
        ctr::an_error_leaves_nothing,
        ctr::detached_life,
        ctr::create_then_start,
        ctr::exec,
        ctr::exec_with_a_terminal,
        ctr::exec_detached,
        ctr::exec_of_a_missing_program,
        ctr::kill,
        ctr::kill_all,
        ctr::kill_of_a_stopped_task,
        ctr::kill_one_exec,
        ctr::pause_and_resume,
        ctr::kill_while_paused,
        ctr::processes,
        ctr::metrics,
        ctr::limits,
        ctr::own_cgroup,
        ctr::read_only,
        ctr::capabilities,
        ctr::host_network,
        ctr::device,
        ctr::bind,
        ctr::a_root_filesystem,
        ctr::lost_state,
        ctr::checkpoint,
        ctr::restore,
        cri::version,
        cri::sandbox,
        cri::container,
        cri::exec_sync,
        cri::exec_sync_times_out,
        cri::exec_stream,
        cri::exec_stream_with_a_terminal,
        cri::exec_stream_of_a_missing_program,
        cri::attach,
        cri::stop,
        cri::containers_of_a_pod_share,
        cri::pid_namespace_of_the_pod,
        cri::host_namespaces,
        cri::limits_and_update,
        cri::stats,
        cri::security_context,
        cri::mounts,
        cri::terminal,
        cri::start_of_a_missing_program,
    ],
    ours: tests![ctr::volume, ctr::volume_copies_up, cri::privileged, cri::volume, cri::tenants, cri::forged_namespace],
};

fn main() -> ExitCode {
    suite::main(&SUITE)
}

/// The lines of docs/containerd.md and docs/kubernetes.md.
const CONFIG: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  # For a machine whose root has no CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  sandbox_image = "localhost/box:latest"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "rvol"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rvol]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["rvol.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rvol.options]
      BinaryName = "/run/eng/bin/runc"
  # A node whose pods' annotations are all handed on.
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.open]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.open.options]
      BinaryName = "/run/eng/bin/runc"
"#;

/// One address for each pod, from a bridge of the sandbox.
const NETWORK: &str = r#"{
    "cniVersion": "0.4.0", "name": "pods",
    "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.99.0.0/24" }]] }
    }, { "type": "portmap", "capabilities": { "portMappings": true } }]
}"#;

fn start(s: &Session) -> Check {
    s.write("config.toml", CONFIG)?;
    s.write("pods.conflist", NETWORK)?;
    s.write("cri", include_str!("../../cri.py"))?;
    s.aside("install cri /run/eng/bin/cri; mkdir -p /etc/containerd /etc/cni/net.d; cp config.toml /etc/containerd; cp pods.conflist /etc/cni/net.d")?;
    s.daemon("containerd", "containerd", "ctr version")?;
    s.aside(
        "umoci init --layout layout && umoci new --image layout:latest && umoci insert --image layout:latest /run/eng/image / &&
        umoci config --image layout:latest --config.env PATH=/bin --config.entrypoint sleep --config.cmd 1000000 &&
        tar -C layout -cf image.tar . &&
        for namespace in default k8s.io; do ctr -n $namespace image import --base-name localhost/box image.tar; done",
    )?;
    s.aside("ctr image ls -q | grep -x localhost/box:latest").map(drop)
}
