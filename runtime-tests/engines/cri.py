#!/usr/bin/python3
"""A kubelet's calls to the Container Runtime Interface, as far as the tests make them: cri METHOD JSON prints JSON.

Exec and Attach answer with an address. With a third word they are carried on there, and what came is printed as JSON. The
word is a JSON string that is typed into the stream, its second and later lines one each time that something has come; if it
begins with COLUMNSxROWS and a blank, the terminal first gets that size, as soon as something has come from it.

gRPC is Debian's; the messages are spelled out here, so that nothing has to be generated.
Each is a dict of field name to (number, kind); kind is a message, or s(tring), i(nteger), m(ap), and [kind] if repeated.
"""
import base64
import json
import os
import socket
import struct
import sys
import urllib.parse

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
    "Exec": ({
        "container_id": (1, "s"), "cmd": (2, ["s"]), "tty": (3, "i"), "stdin": (4, "i"), "stdout": (5, "i"), "stderr": (6, "i"),
    }, {"url": (1, "s")}),
    "Attach": ({
        "container_id": (1, "s"), "stdin": (2, "i"), "tty": (3, "i"), "stdout": (4, "i"), "stderr": (5, "i"),
    }, {"url": (1, "s")}),
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


def read_exactly(stream, length):
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def frame(channel, data):
    """A masked binary frame of a WebSocket (RFC 6455); the mask is zero."""
    data = bytes([channel]) + data
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return b"\x82" + size + bytes(4) + data


def stream(url, typed):
    """Kubernetes' remote commands: channel 0 is standard input, 1 and 2 are the outputs, 3 is the end, 4 the size."""
    parts = urllib.parse.urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), 30)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall((
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n").encode())
    answers = connection.makefile("rb")
    head = answers.readline()
    if b" 101 " not in head:
        sys.exit(f"{url}: {head!r}")
    while answers.readline() not in (b"\r\n", b""):
        pass
    size, blank, rest = typed.partition(" ")
    sized = blank and size.replace("x", "", 1).isdigit()
    lines = (rest if sized else typed).splitlines(keepends=True)
    if lines and not sized:
        connection.sendall(frame(0, lines.pop(0).encode()))
    came = {1: b"", 2: b"", 3: b""}
    try:
        while True:
            kind, length = read_exactly(answers, 2)
            if length == 126:
                length = struct.unpack(">H", read_exactly(answers, 2))[0]
            elif length == 127:
                length = struct.unpack(">Q", read_exactly(answers, 8))[0]
            data = read_exactly(answers, length)
            if kind & 15 == 8:
                break
            if kind & 15 not in (0, 1, 2) or not data:
                continue
            came[data[0]] += data[1:]
            if data[0] not in (1, 2) or len(data) == 1:
                continue
            if sized:
                # The terminal is there now; before, its size would be lost.
                columns, rows = (int(number) for number in size.split("x"))
                connection.sendall(frame(4, json.dumps({"Width": columns, "Height": rows}).encode()))
                sized = False
            if lines:
                connection.sendall(frame(0, lines.pop(0).encode()))
    except EOFError:
        pass
    status = json.loads(came[3] or b"{}")
    end = [cause["message"] for cause in status.get("details", {}).get("causes", [])] or [status.get("status", "")]
    return {"stdout": came[1].decode(), "stderr": came[2].decode(), "end": end[0]}


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
            answer = call(json.loads(text), timeout=60)
            if len(sys.argv) > 3:
                answer = stream(answer["url"], json.loads(sys.argv[3]))
            print(json.dumps(answer, sort_keys=True))
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


main()
