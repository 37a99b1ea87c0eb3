//! Pods and `play kube`.

use engine_tests::{Check, Session};

pub fn shared_namespaces(s: &Session) -> Check {
    s.aside("podman pod create --name pod")?;
    s.aside("podman run -d --pod pod --name web box httpd -f -h /var/www")?;
    s.is("podman run --rm --pod pod box wget -qO- http://127.0.0.1/", "page")?;
    s.is("podman run --rm --pod pod box hostname", "pod")?;
    s.is("podman pod inspect -f '{{.State}} {{.NumContainers}}' pod", "Running 2")
}

pub fn life(s: &Session) -> Check {
    s.aside("podman pod create --name pod --share net,ipc,uts,pid")?;
    s.aside("podman run -d --pod pod --name one box sleep 1000")?;
    s.aside("podman pod pause pod")?;
    s.is("podman inspect -f '{{.State.Status}}' one", "paused")?;
    s.aside("podman pod unpause pod")?;
    s.aside("podman pod stop -t 0 pod")?;
    s.is("podman inspect -f '{{.State.Status}}' one", "exited")?;
    s.aside("podman pod start pod")?;
    s.is("podman exec one echo again", "again")?;
    s.aside("podman pod rm -f -t 0 pod")?;
    s.is("podman pod ls -q; podman ps -aq", "")
}

const KUBE: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  restartPolicy: Never
  volumes:
  - name: shared
    emptyDir: {}
  - name: claim
    persistentVolumeClaim: { claimName: claimed }
  containers:
  - name: writer
    image: localhost/box:latest
    command: ["sh", "-c", "echo written >/shared/file; echo kept >/claim/file; sleep 1000"]
    resources: { limits: { memory: 64Mi } }
    volumeMounts:
    - { name: shared, mountPath: /shared }
    - { name: claim, mountPath: /claim }
  - name: reader
    image: localhost/box:latest
    command: ["sleep", "1000"]
    securityContext: { runAsUser: 1000, readOnlyRootFilesystem: true }
    volumeMounts:
    - { name: shared, mountPath: /shared, readOnly: true }
"#;

pub fn play_kube(s: &Session) -> Check {
    s.write("pod.yaml", KUBE)?;
    s.aside("podman play kube pod.yaml")?;
    s.becomes("podman exec kube-reader cat /shared/file", "written")?;
    s.is("podman exec kube-reader sh -c 'id -u; touch /shared/new 2>/dev/null || echo ro'", "1000\nro")?;
    s.is("podman exec kube-writer cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864")?;
    s.is("cat $(podman volume inspect -f '{{.Mountpoint}}' claimed)/file", "kept")?;
    s.aside("podman play kube --down pod.yaml")?;
    s.is("podman pod ls -q", "")
}
