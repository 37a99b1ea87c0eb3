#!/usr/bin/python3
"""A kubelet's calls to the Container Runtime Interface, as far as the tests make them: cri METHOD JSON prints JSON.

gRPC is Debian's; the messages are spelled out here, so that nothing has to be generated.
Each is a dict of field name to (number, kind); kind is a message, or s(tring), i(nteger), m(ap), and [kind] if repeated.
"""
import json
import sys

import grpc

METADATA = {"name": (1, "s"), "uid": (2, "s"), "namespace": (3, "s"), "attempt": (4, "i")}
NAMESPACES = {"network": (1, "i"), "pid": (2, "i"), "ipc": (3, "i"), "target_id": (4, "s")}
NUMBER = {"value": (1, "i")}
RESOURCES = {
    "cpu_period": (1, "i"), "cpu_quota": (2, "i"), "cpu_shares": (3, "i"), "memory_limit_in_bytes": (4, "i"),
    "oom_score_adj": (5, "i"), "cpuset_cpus": (6, "s"), "cpuset_mems": (7, "s"),
}
SANDBOX = {
    "metadata": (1, METADATA), "hostname": (2, "s"), "log_directory": (3, "s"), "labels": (6, "m"), "annotations": (7, "m"),
    "linux": (8, {
        "cgroup_parent": (1, "s"),
        "security_context": (2, {"namespace_options": (1, NAMESPACES), "readonly_rootfs": (4, "i"), "privileged": (6, "i")}),
        "sysctls": (3, "m"),
    }),
}
SECURITY = {
    "capabilities": (1, {"add_capabilities": (1, ["s"]), "drop_capabilities": (2, ["s"])}),
    "privileged": (2, "i"), "namespace_options": (3, NAMESPACES), "run_as_user": (5, NUMBER), "run_as_username": (6, "s"),
    "readonly_rootfs": (7, "i"), "supplemental_groups": (8, ["i"]), "no_new_privs": (11, "i"), "run_as_group": (12, NUMBER),
    "masked_paths": (13, ["s"]), "readonly_paths": (14, ["s"]),
}
CONTAINER = {
    "metadata": (1, {"name": (1, "s"), "attempt": (2, "i")}), "image": (2, {"image": (1, "s")}),
    "command": (3, ["s"]), "args": (4, ["s"]), "working_dir": (5, "s"),
    "envs": (6, [{"key": (1, "s"), "value": (2, "s")}]),
    "mounts": (7, [{"container_path": (1, "s"), "host_path": (2, "s"), "readonly": (3, "i"), "propagation": (5, "i")}]),
    "devices": (8, [{"container_path": (1, "s"), "host_path": (2, "s"), "permissions": (3, "s")}]),
    "labels": (9, "m"), "annotations": (10, "m"), "log_path": (11, "s"), "stdin": (12, "i"), "tty": (14, "i"),
    "linux": (15, {"resources": (1, RESOURCES), "security_context": (2, SECURITY)}),
}
USAGE = {"timestamp": (1, "i"), "usage": (2, NUMBER)}
STATS = {
    "attributes": (1, {"id": (1, "s")}), "cpu": (2, USAGE),
    "memory": (3, {"timestamp": (1, "i"), "working_set_bytes": (2, NUMBER), "usage_bytes": (4, NUMBER)}),
}
ONE_CONTAINER = {"container_id": (1, "s")}
ONE_SANDBOX = {"pod_sandbox_id": (1, "s")}
METHODS = {
    "Version": ({}, {"version": (1, "s"), "runtime_name": (2, "s")}),
    "Status": ({}, {"status": (1, {"conditions": (1, [{"type": (1, "s"), "status": (2, "i")}])})}),
    "RunPodSandbox": ({"config": (1, SANDBOX), "runtime_handler": (2, "s")}, ONE_SANDBOX),
    "StopPodSandbox": (ONE_SANDBOX, {}),
    "RemovePodSandbox": (ONE_SANDBOX, {}),
    "PodSandboxStatus": (ONE_SANDBOX, {"status": (1, {"id": (1, "s"), "metadata": (2, METADATA), "state": (3, "i"), "runtime_handler": (9, "s")})}),
    "ListPodSandbox": ({}, {"items": (1, [{"id": (1, "s")}])}),
    "CreateContainer": ({"pod_sandbox_id": (1, "s"), "config": (2, CONTAINER), "sandbox_config": (3, SANDBOX)}, ONE_CONTAINER),
    "StartContainer": (ONE_CONTAINER, {}),
    "StopContainer": ({"container_id": (1, "s"), "timeout": (2, "i")}, {}),
    "RemoveContainer": (ONE_CONTAINER, {}),
    "ContainerStatus": (ONE_CONTAINER, {"status": (1, {
        "state": (3, "i"), "exit_code": (7, "i"), "reason": (10, "s"), "message": (11, "s"),
    })}),
    "ListContainers": ({}, {"containers": (1, [{"id": (1, "s"), "state": (6, "i")}])}),
    "UpdateContainerResources": ({"container_id": (1, "s"), "linux": (2, RESOURCES)}, {}),
    "ExecSync": ({"container_id": (1, "s"), "cmd": (2, ["s"]), "timeout": (3, "i")}, {"stdout": (1, "s"), "stderr": (2, "s"), "exit_code": (3, "i")}),
    "ContainerStats": (ONE_CONTAINER, {"stats": (1, STATS)}),
}


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def sized(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def encode(schema, value):
    out = b""
    for name, content in value.items():
        number, kind = schema[name]
        repeated = isinstance(kind, list)
        for item in content if repeated else [content]:
            out += encode_one(number, kind[0] if repeated else kind, item)
    return out


def encode_one(number, kind, value):
    if kind == "i":
        return varint(number << 3) + varint(int(value))
    if kind == "s":
        return sized(number, value.encode())
    if kind == "m":
        pair = {"key": (1, "s"), "value": (2, "s")}
        return b"".join(sized(number, encode(pair, {"key": k, "value": v})) for k, v in value.items())
    return sized(number, encode(kind, value))


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def decode(schema, data):
    fields = {number: (name, kind) for name, (number, kind) in schema.items()}
    value, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        content, at = read_varint(data, at)
        if tag & 7 == 2:
            content, at = data[at:at + content], at + content
        name, kind = fields.get(tag >> 3, (None, None))
        if name is None:
            continue
        repeated = isinstance(kind, list)
        kind = kind[0] if repeated else kind
        if isinstance(kind, dict):
            content = decode(kind, content)
        elif kind == "s":
            content = content.decode()
        if repeated:
            value.setdefault(name, []).append(content)
        else:
            value[name] = content
    return value


def main():
    method, text = sys.argv[1], (sys.argv[2:] or ["{}"])[0]
    request, response = METHODS[method]
    with grpc.insecure_channel("unix:///run/containerd/containerd.sock") as channel:
        call = channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda value: encode(request, value),
            response_deserializer=lambda data: decode(response, data),
        )
        try:
            print(json.dumps(call(json.loads(text), timeout=60), sort_keys=True))
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


main()
