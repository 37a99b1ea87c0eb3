//! The calls that a kubelet makes.

use engine_tests::{Check, Session};
use runtime_tests::{Value, json};

fn call(s: &Session, method: &str, request: &Value) -> Check<Value> {
    // One word for the shell.
    let request = request.to_string().replace('\'', r"'\''");
    let text = s.aside(&format!("cri {method} '{request}'"))?;
    serde_json::from_str(&text).map_err(|e| format!("{method} prints no JSON: {e}: {text}"))
}

fn sandbox_config(host_network: bool) -> Value {
    let network = if host_network { 2 } else { 0 };
    json!({
        "metadata": { "name": "pod", "uid": "pod-uid", "namespace": "default" },
        "hostname": if host_network { "" } else { "pod" },
        "log_directory": "/run/eng/work/pods",
        "linux": { "cgroup_parent": "/kubepods/podone", "security_context": { "namespace_options": { "network": network } } },
    })
}

struct Pod<'a> {
    s: &'a Session,
    config: Value,
    id: String,
}

impl Pod<'_> {
    fn new(s: &Session, config: Value) -> Check<Pod<'_>> {
        let answer = call(s, "RunPodSandbox", &json!({ "config": config, "runtime_handler": "rvol" }))?;
        let id = answer["pod_sandbox_id"].as_str().ok_or("no id of a sandbox")?.to_owned();
        Ok(Pod { s, config, id })
    }

    /// A started container that runs this script, with more of a configuration.
    fn container(&self, script: &str, more: &Value) -> Check<String> {
        let mut config = json!({
            "metadata": { "name": "one" },
            "image": { "image": "localhost/box:latest" },
            "command": ["sh", "-c", script],
            "log_path": "one.log",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let request = json!({ "pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config });
        let answer = call(self.s, "CreateContainer", &request)?;
        let id = answer["container_id"].as_str().ok_or("no id of a container")?.to_owned();
        call(self.s, "StartContainer", &json!({ "container_id": id }))?;
        Ok(id)
    }

    fn exec(&self, container: &str, script: &str) -> Check<Value> {
        call(self.s, "ExecSync", &json!({ "container_id": container, "cmd": ["sh", "-c", script], "timeout": 20 }))
    }

    /// What the script prints in the container.
    fn prints(&self, container: &str, script: &str, expected: &str) -> Check {
        let answer = self.exec(container, script)?;
        let text = answer["stdout"].as_str().unwrap_or_default().trim();
        if text == expected { Ok(()) } else { Err(format!("{script}\nshould print {expected:?}: {answer}")) }
    }

    fn log(&self, expected: &str) -> Check {
        self.s.becomes("cut -d' ' -f2- pods/one.log", expected)
    }

    fn state(&self, container: &str) -> Check<Value> {
        Ok(call(self.s, "ContainerStatus", &json!({ "container_id": container }))?["status"].clone())
    }

    fn becomes(&self, container: &str, state: u32, exit_code: u32) -> Check {
        let code = if exit_code == 0 { String::new() } else { format!("\"exit_code\": {exit_code}, ") };
        let line = format!(
            "cri ContainerStatus '{{\"container_id\":\"{container}\"}}' | grep -c '{code}.*\"state\": {state}'"
        );
        self.s.becomes(&line, "1")
    }
}

pub fn version(s: &Session) -> Check {
    s.has("cri Version", "containerd").map(drop)
}

pub fn sandbox(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let one = json!({ "pod_sandbox_id": pod.id });
    let status = call(s, "PodSandboxStatus", &one)?["status"].clone();
    if status["runtime_handler"] != "rvol" || status.get("state").is_some() {
        return Err(format!("not ready: {status}"));
    }
    call(s, "StopPodSandbox", &one)?;
    call(s, "RemovePodSandbox", &one)?;
    s.is("cri ListPodSandbox", "{}")
}

pub fn container(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("echo out; echo err >&2; exit 3", &json!({}))?;
    pod.becomes(&id, 2, 3)?;
    pod.log("stdout F out\nstderr F err").or_else(|_| pod.log("stderr F err\nstdout F out"))?;
    call(s, "RemoveContainer", &json!({ "container_id": id }))?;
    s.is("cri ListContainers", "{}")
}

pub fn exec_sync(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({ "envs": [{ "key": "A", "value": "1" }], "working_dir": "/etc" }))?;
    pod.prints(&id, "echo $A; pwd; hostname", "1\n/etc\npod")?;
    let failed = pod.exec(&id, "echo wrong >&2; exit 5")?;
    if failed["exit_code"] != 5 || failed["stderr"] != "wrong\n" {
        return Err(format!("exec: {failed}"));
    }
    let request = json!({ "container_id": id, "cmd": ["nosuch"], "timeout": 20 });
    s.fails(&format!("cri ExecSync '{request}'"), 1, "executable file not found in $PATH").map(drop)
}

pub fn exec_sync_times_out(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({}))?;
    let request = json!({ "container_id": id, "cmd": ["sleep", "500"], "timeout": 1 });
    s.has(&format!("cri ExecSync '{request}' 2>&1 || true"), "timeout 1s exceeded")?;
    pod.prints(&id, "ps | grep -c '[s]leep 500' || true", "0")
}

/// What `kubectl exec` and `kubectl attach` do: the answer is an address, where the streams are.
fn streams(s: &Session, method: &str, request: &Value, typed: &str) -> Check<Value> {
    let request = request.to_string().replace('\'', r"'\''");
    let typed = json!(typed).to_string();
    let text = s.aside(&format!("cri {method} '{request}' '{typed}'"))?;
    serde_json::from_str(&text).map_err(|e| format!("{method} prints no JSON: {e}: {text}"))
}

fn same(expected: &Value, came: &Value) -> Check {
    if came == expected { Ok(()) } else { Err(format!("should be {expected}: {came}")) }
}

pub fn exec_stream(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({}))?;
    let command =
        |script: &str| json!({ "container_id": id, "cmd": ["sh", "-c", script], "stdin": 1, "stdout": 1, "stderr": 1 });
    let came = streams(s, "Exec", &command("read line; echo heard $line; echo wrong >&2; exit 4"), "a word\n")?;
    same(&json!({ "stdout": "heard a word\n", "stderr": "wrong\n", "end": "4" }), &came)?;
    let came = streams(s, "Exec", &command("seq 1 20000 | md5sum"), "")?;
    s.note("end", &came["end"].to_string());
    same(&json!("Success"), &came["end"])?;
    let much = streams(s, "Exec", &command("seq 1 20000"), "")?;
    let last = much["stdout"].as_str().is_some_and(|text| text.len() == 108_894 && text.ends_with("\n20000\n"));
    if last { Ok(()) } else { Err("much output is not whole".into()) }
}

pub fn exec_stream_with_a_terminal(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({}))?;
    let script = "tty; read line; until stty size 2>/dev/null | grep 33; do sleep 0.1; done; echo $line";
    let request = json!({ "container_id": id, "cmd": ["sh", "-c", script], "tty": 1, "stdin": 1, "stdout": 1 });
    let came = streams(s, "Exec", &request, "99x33 typed\n")?;
    // What is typed is echoed.
    let lines: std::collections::BTreeSet<&str> = came["stdout"].as_str().unwrap_or_default().lines().collect();
    same(&json!(["/dev/pts/0", "33 99", "typed"]), &json!(lines))?;
    same(&json!("Success"), &came["end"])
}

pub fn exec_stream_of_a_missing_program(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({}))?;
    let request = json!({ "container_id": id, "cmd": ["nosuch"], "stdout": 1, "stderr": 1 });
    let came = streams(s, "Exec", &request, "")?;
    let told = came.to_string().contains("executable file not found in $PATH");
    s.note("told", &told.to_string());
    pod.prints(&id, "echo alive", "alive")
}

pub fn attach(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("read line; echo heard $line; read line; exit 6", &json!({ "stdin": 1 }))?;
    let request = json!({ "container_id": id, "stdin": 1, "stdout": 1, "stderr": 1 });
    let came = streams(s, "Attach", &request, "a word\nenough\n")?;
    same(&json!("heard a word\n"), &came["stdout"])?;
    pod.becomes(&id, 2, 6)
}

pub fn stop(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("trap 'exit 6' TERM; echo up; while :; do sleep 0.1; done", &json!({}))?;
    pod.log("stdout F up")?;
    call(s, "StopContainer", &json!({ "container_id": id, "timeout": 10 }))?;
    pod.becomes(&id, 2, 6)?;
    let id = pod.container("trap '' TERM; while :; do sleep 0.1; done", &json!({ "metadata": { "name": "two" } }))?;
    call(s, "StopContainer", &json!({ "container_id": id, "timeout": 1 }))?;
    pod.becomes(&id, 2, 137)
}

pub fn containers_of_a_pod_share(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    pod.container("httpd -f -h /var/www", &json!({}))?;
    let id = pod.container("sleep 1000", &json!({ "metadata": { "name": "two" } }))?;
    pod.prints(&id, "wget -qO- http://127.0.0.1/", "page")?;
    pod.prints(&id, "echo note >/dev/shm/note; cat /proc/1/comm", "sleep")
}

pub fn pid_namespace_of_the_pod(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    // As the kubelet does for shareProcessNamespace: process 1 is that of the sandbox.
    let id = pod
        .container("sleep 1000", &json!({ "linux": { "security_context": { "namespace_options": { "pid": 0 } } } }))?;
    pod.prints(&id, "cat /proc/1/cmdline | tr '\\0' ' '", "sleep 1000000")
}

pub fn host_namespaces(s: &Session) -> Check {
    let mut config = sandbox_config(true);
    config["linux"]["security_context"]["namespace_options"] = json!({ "network": 2, "pid": 2, "ipc": 2 });
    let pod = Pod::new(s, config)?;
    let namespaces =
        json!({ "linux": { "security_context": { "namespace_options": { "network": 2, "pid": 2, "ipc": 2 } } } });
    let id = pod.container("sleep 1000", &namespaces)?;
    pod.prints(&id, "hostname; grep -l ^containerd$ /proc/[0-9]*/comm | wc -l", "engine-test\n1")
}

pub fn limits_and_update(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let resources = json!({ "memory_limit_in_bytes": 67108864, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 300, "oom_score_adj": 500 });
    let id = pod.container("sleep 1000", &json!({ "linux": { "resources": resources } }))?;
    let group = |file: &str| format!("cat /sys/fs/cgroup/*/kubepods/podone/{id}/{file}");
    s.is(&group("memory.limit_in_bytes"), "67108864")?;
    s.is(&group("cpu.shares"), "300")?;
    pod.prints(&id, "cat /proc/self/oom_score_adj", "500")?;
    let update =
        json!({ "memory_limit_in_bytes": 33554432, "cpu_quota": 20000, "cpu_shares": 100, "cpuset_cpus": "0" });
    call(s, "UpdateContainerResources", &json!({ "container_id": id, "linux": update }))?;
    s.is(&group("memory.limit_in_bytes"), "33554432")?;
    s.is(&group("cpu.cfs_quota_us"), "20000")?;
    s.is(&group("cpu.shares"), "100")?;
    s.is(&group("cpuset.cpus"), "0")
}

pub fn stats(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("sleep 1000", &json!({}))?;
    let stats = call(s, "ContainerStats", &json!({ "container_id": id }))?["stats"].clone();
    let memory = stats["memory"]["working_set_bytes"]["value"].as_u64().unwrap_or(0);
    if memory > 0 { Ok(()) } else { Err(format!("no memory in {stats}")) }
}

pub fn security_context(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let security = json!({
        "run_as_user": { "value": 1000 }, "run_as_group": { "value": 2000 }, "supplemental_groups": [77],
        "readonly_rootfs": 1, "no_new_privs": 1,
        "capabilities": { "drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"] },
        "masked_paths": ["/proc/keys"], "readonly_paths": ["/proc/sys"],
    });
    let id = pod.container("sleep 1000", &json!({ "linux": { "security_context": security } }))?;
    let facts = pod.exec(&id, "id; grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status; touch /new; wc -c </proc/keys; echo x >/proc/sys/kernel/msgmax")?;
    s.note("security context", &facts.to_string());
    if facts["stderr"].as_str().is_some_and(|t| t.contains("Read-only file system")) {
        Ok(())
    } else {
        Err(format!("not read-only: {facts}"))
    }
}

/// runc 1.1.5 fails where not every capability can be granted.
pub fn privileged(s: &Session) -> Check {
    let mut config = sandbox_config(false);
    config["linux"]["security_context"]["privileged"] = json!(1);
    let pod = Pod::new(s, config)?;
    let id = pod.container("sleep 1000", &json!({ "linux": { "security_context": { "privileged": 1 } } }))?;
    pod.prints(&id, "mount -t tmpfs none /mnt || mount -t tmpfs none /tmp && echo mounted", "mounted")
}

pub fn mounts(s: &Session) -> Check {
    s.write("dir/file", "host\n")?;
    let pod = Pod::new(s, sandbox_config(false))?;
    let mounts = json!([
        { "container_path": "/dir", "host_path": "/run/eng/work/dir", "readonly": 1 },
        { "container_path": "/shared", "host_path": "/run/eng/work/dir", "propagation": 2 },
    ]);
    let id = pod.container("sleep 1000", &json!({ "mounts": mounts, "devices": [{ "container_path": "/dev/fuse", "host_path": "/dev/fuse", "permissions": "rw" }] }))?;
    pod.prints(&id, "cat /dir/file; touch /dir/new 2>/dev/null || echo ro; touch /shared/new && ls /dir; test -c /dev/fuse && echo device", "host\nro\nfile\nnew\ndevice")
}

pub fn terminal(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let id = pod.container("tty; sleep 1000", &json!({ "tty": 1, "stdin": 1 }))?;
    s.becomes("cut -d' ' -f2- pods/one.log | tr -d '\\r'", "stdout F /dev/pts/0")?;
    pod.prints(&id, "echo more", "more")
}

pub fn start_of_a_missing_program(s: &Session) -> Check {
    let pod = Pod::new(s, sandbox_config(false))?;
    let error = pod.container("", &json!({ "command": ["nosuch"] })).err().ok_or("should fail")?;
    if !error.contains("executable file not found in $PATH") {
        return Err(error);
    }
    let list = call(s, "ListContainers", &json!({}))?;
    let id = list["containers"][0]["id"].as_str().ok_or("the container is gone")?.to_owned();
    let status = pod.state(&id)?;
    s.note("status", &format!("{} {}", status["exit_code"], status["reason"]));
    Ok(())
}

/// Volumes of the runtime, by the pod's annotation.
pub fn volume(s: &Session) -> Check {
    let mut config = sandbox_config(false);
    config["annotations"] = json!({ "rvol.volumes": "data:/data /anonymous" });
    let pod = Pod::new(s, config)?;
    let id = pod.container("echo kept >/data/file; sleep 1000", &json!({}))?;
    s.becomes("cat /var/lib/rvol-runc/volumes/default_data/_data/file", "kept")?;
    pod.prints(&id, "cat /data/file", "kept")?;
    s.is("runc volume ls -q | grep -x default_data", "default_data")
}

/// A pod of a Kubernetes namespace, with annotations that its author wrote. `handler` is a runtime of the configuration.
fn pod_of<'a>(s: &'a Session, handler: &str, namespace: &str, annotations: &Value) -> Check<Pod<'a>> {
    let mut config = sandbox_config(false);
    config["metadata"] =
        json!({ "name": format!("pod-{namespace}-{handler}"), "uid": namespace, "namespace": namespace });
    config["annotations"] = annotations.clone();
    let answer = call(s, "RunPodSandbox", &json!({ "config": config, "runtime_handler": handler }))?;
    let id = answer["pod_sandbox_id"].as_str().ok_or("no id of a sandbox")?.to_owned();
    Ok(Pod { s, config, id })
}

fn is_refused(pod: &Pod, why: &str) -> Check {
    let error = pod.container("sleep 1000", &json!({})).err().ok_or("the container should be refused")?;
    if error.contains(why) { Ok(()) } else { Err(format!("should say {why:?}: {error}")) }
}

/// Pods of two namespaces, who do not trust each other: their own volumes, whatever their authors write.
pub fn tenants(s: &Session) -> Check {
    let asked = json!({ "rvol.volumes": "kept:/data /anonymous" });
    let web = pod_of(s, "rvol", "web", &asked)?;
    let first = web.container("echo secret >/data/file; sleep 1000", &json!({}))?;
    s.becomes("cat /var/lib/rvol-runc/volumes/web_kept/_data/file", "secret")?;
    let batch = pod_of(s, "rvol", "batch", &asked)?;
    let second = batch.container("sleep 1000", &json!({}))?;
    batch.prints(&second, "ls /data", "")?;
    s.is("runc volume ls -q -f name=_kept", "batch_kept\nweb_kept")?;
    s.is("runc volume inspect -f '{{json .Labels}}' batch_kept", r#"{"rvol.namespace":"batch"}"#)?;
    s.is("ls /var/lib/rvol-runc/volumes/web_kept/refs | wc -l", "1")?;

    // A container of another pod, even with its id.
    let thief = pod_of(s, "open", "batch", &json!({ "rvol.volumes-from": first }))?;
    is_refused(&thief, "only containers of the same sandbox share volumes")?;

    // What is removed takes its volume without a name along; the named one stays.
    call(s, "StopContainer", &json!({ "container_id": first, "timeout": 0 }))?;
    call(s, "RemoveContainer", &json!({ "container_id": first }))?;
    call(s, "StopContainer", &json!({ "container_id": second, "timeout": 0 }))?;
    call(s, "RemoveContainer", &json!({ "container_id": second }))?;
    s.is("runc volume ls -q -f label=rvol.container | wc -l", "0")?;
    s.is("runc volume ls -q -f name=_kept", "batch_kept\nweb_kept")
}

/// Under `pod_annotations = ["*"]` a pod's annotations all reach config.json. containerd writes its own over them.
pub fn forged_namespace(s: &Session) -> Check {
    let web = pod_of(s, "rvol", "web", &json!({ "rvol.volumes": "forged:/data" }))?;
    web.container("echo secret >/data/file; sleep 1000", &json!({}))?;
    s.becomes("cat /var/lib/rvol-runc/volumes/web_forged/_data/file", "secret")?;
    let forged = json!({
        "rvol.volumes": "forged:/data", "io.kubernetes.cri.sandbox-namespace": "web", "io.kubernetes.cri.sandbox-id": web.id,
        "io.kubernetes.cri.container-type": "sandbox",
    });
    let pod = pod_of(s, "open", "other", &forged)?;
    let id = pod.container("sleep 1000", &json!({}))?;
    pod.prints(&id, "ls /data; grep -c ' /data ' /proc/self/mountinfo", "1")?;
    s.is("runc volume ls -q -f name=_forged", "other_forged\nweb_forged")?;
    // Those of another engine are not overwritten, and so the pod is refused.
    let forged = json!({
        "rvol.volumes": "forged:/data", "io.kubernetes.cri-o.SandboxID": web.id,
        "io.kubernetes.cri-o.Labels": r#"{"io.kubernetes.pod.namespace":"web"}"#,
    });
    let pod = pod_of(s, "open", "third", &forged)?;
    is_refused(&pod, "one may be forged")
}
